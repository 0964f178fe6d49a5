"""Markers and records are read through one function, which takes only what fits."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from local.standins import FakeS3, error, fake_stack
from tests.helpers.records import CANCELLED, A, B, record, time
from tests.helpers.results import marker
from trainq.cli.shared import to_json
from trainq.client import jobs, timeline
from trainq.client.attempt_records import INTERRUPTIONS, checked
from trainq.protocol import layout, markers
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import Job
from trainq.worker.job_cache import CANCELLED_SECONDS, JobCache, is_cancelled

ODD = [b"", b"x", b"[]", b"{}", b"null", b"0", b'{"by":1,"at":{}}', b"[" * 100_000]


class Large(FakeS3):
    """Says of every object that it has 5 GB, and fails the test if somebody reads it."""

    def get_object(self, Bucket: str, Key: str, **other: Any) -> dict[str, Any]:
        class Unreadable(io.BytesIO):
            def read(self, *size: Any) -> bytes:
                raise AssertionError(f"{Key} is read")

        return super().get_object(Bucket, Key) | {"Body": Unreadable(), "ContentLength": 5 * 10**9}


@pytest.mark.parametrize("body", ODD)
def test_any_object_at_its_key_cancels_a_job(body: bytes) -> None:
    """Of a marker whose content nobody needs it is the existence that counts: {} is no less than what trainq writes."""
    s3 = FakeS3({CANCELLED: body})
    assert markers.exists(s3, "b", CANCELLED)
    assert not markers.exists(s3, "b", layout.cancelled("k"))
    assert JobCache(fake_stack(s3, None), is_cancelled, CANCELLED_SECONDS).get("j")


def test_a_bucket_that_is_not_there_is_no_job_that_is_not_cancelled() -> None:
    def fault(operation: str, key: str) -> None:
        raise error(404, "NoSuchBucket")

    for look in (markers.exists, markers.read):
        with pytest.raises(Exception, match="NoSuchBucket"):
            look(FakeS3({}, fault), "b", CANCELLED)


def test_an_object_of_5_gb_is_refused_by_name_before_it_is_read() -> None:
    records = [layout.failure("j", 0, A), layout.report("j", "w", A), layout.former_report("j", "w")]
    keys = [CANCELLED, layout.result("j", 0), layout.plan("j"), *records]
    s3 = Large(dict.fromkeys(keys, b""))
    assert markers.exists(s3, "b", CANCELLED)
    for key in keys:
        with pytest.raises(MarkerError) as raised:
            markers.read(s3, "b", key)
        allowed = markers.MAX_BYTES if "result" in key or "plan" in key else markers.MAX_RECORD_BYTES
        assert str(raised.value) == f"{key!r} has 5,000,000,000 bytes: allowed are at most {allowed:,}"


@pytest.mark.parametrize("key", [layout.result("j", 0), layout.failure("j", 0, A)])
def test_what_is_written_can_be_read(key: str) -> None:
    """At the limit; and what is above it is refused before it is written, since nobody could read it."""
    s3 = FakeS3({})
    room = markers.max_bytes(key) - len(json.dumps({"x": ""}))
    with pytest.raises(MarkerError, match=f"would have {markers.max_bytes(key) + 1:,} bytes"):
        markers.commit(s3, "b", key, {"x": "x" * (room + 1)})
    assert not s3.objects
    markers.commit(s3, "b", key, {"x": "x" * room})
    assert markers.read(s3, "b", key) == {"x": "x" * room}


def test_the_largest_message_and_sixty_thousand_files_fit_into_a_result() -> None:
    files = [{"path": f"{number:0100}", "bytes": 10**12} for number in range(60_000)]
    about = marker(files=files) | {"shards": [], "parameters": {"x": "\x7f" * 1024 * 1024}}
    assert len(json.dumps(about)) < markers.max_bytes(layout.result("j", 0))


def test_an_empty_marker_is_one() -> None:
    s3 = FakeS3({CANCELLED: b"{}"})
    assert markers.commit(s3, "b", CANCELLED, {"id": A}) == {}


def test_what_is_read_can_be_written_as_strict_json() -> None:
    """Python writes NaN, which no other parser reads, and reads 1e999 as infinite."""
    s3 = FakeS3({"k": b'{"a": NaN, "b": [-Infinity, 1e999, 1.5], "c": "\\ud800"}'})
    read = markers.read(s3, "b", "k")
    assert read == {"a": None, "b": [None, None, 1.5], "c": "\ud800"}
    assert json.loads(to_json(read)) == read
    with pytest.raises(ValueError, match="Out of range float"):
        to_json({"a": float("nan")})


def test_what_is_nested_too_deeply_is_no_marker() -> None:
    text = '{"a":' * 201 + "{}" + "}" * 201
    with pytest.raises(MarkerError, match="'k' is JSON nested too deeply: allowed are 200 levels"):
        markers.read(FakeS3({"k": text.encode()}), "b", "k")


RECORDS = {
    layout.failure("j", 0, A): record(reason="bad luck", output_tail="x"),
    layout.interruption("j", 0, A): record(why="stop"),
    layout.former_report("j", "w"): record(heartbeat=time()),
    layout.result("j", 0): record(notes={"output_tail": "x", "loss": None}),
}


@pytest.mark.parametrize("key", RECORDS)
def test_the_record_of_a_worker_is_let_through(key: str) -> None:
    assert checked(RECORDS[key], key) is RECORDS[key]


@pytest.mark.parametrize("key", RECORDS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"job_id": "k"},
        {"job_id": "j/workers/x"},
        {"job_id": None},
        {"task": "0"},
        {"task": False},
        {"task": -1},
        {"task": 10**600},
        {"attempt": "../x"},
        {"attempt": A + "\n"},
        {"attempt_number": 1.5},
        {"worker": "a/b"},
        {"worker": ["w"]},
        {"started": "2026"},
        {"started": "2026-01-01"},
        {"started": "0001-01-01T00:00:00+00:00"},
        {"started": "9999-12-31T23:59:59-23:59:59.9x"},
        {"finished": None},
        {"finished": 1.0},
    ],
)
def test_a_record_that_no_worker_writes_is_refused_by_name(key: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(MarkerError) as raised:
        checked(RECORDS[key] | wrong, key)
    assert str(raised.value).startswith(f"{key!r}: field")
    assert next(iter(wrong)) in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        (layout.failure("j", 0, A), {"failures_before": "4"}),
        (layout.failure("j", 0, A), {"reason": None}),
        (layout.failure("j", 0, A), {"output_tail": ["x"]}),
        (layout.failure("j", 1, A), {}),
        (layout.failure("j", 0, B), {}),
        (layout.failure("k", 0, A), {}),
        (layout.interruption("j", 0, A), {"why": "?"}),
        (layout.interruption("j", 0, A), {"why": []}),
        (layout.former_report("j", "w"), {"heartbeat": "2026"}),
        (layout.former_report("j", "w"), {"heartbeat": None}),
        (layout.former_report("j", "v"), {}),
        (layout.result("j", 0), {"notes": []}),
        (layout.result("j", 0), {"notes": {"output_tail": 1}}),
        (layout.result("j", 1), {}),
    ],
)
def test_a_record_has_what_its_kind_needs_and_fits_its_key(key: str, wrong: dict[str, Any]) -> None:
    kind = key.split("/")[2]
    (good,) = (each for other, each in RECORDS.items() if other.split("/")[2] == kind)
    with pytest.raises(MarkerError, match=f"^'{key}': field"):
        checked(good | wrong, key)


def test_a_worker_of_any_name_is_drawn(tmp_path: Path) -> None:
    """Between two '$' Matplotlib would look for a formula; XML allows no control characters."""
    names = ["$\\frac{$", "a\x1b[2J", "<b>&", "n" * 900, "\ud800", "ü"]
    found = [record(worker=name, how="done", attempt=f"{number:032}") for number, name in enumerate(names)]
    for ending in ("svg", "png"):
        timeline.draw("j", found, tmp_path / f"x.{ending}")
    said = {each.text for each in ElementTree.parse(tmp_path / "x.svg").iter("{http://www.w3.org/2000/svg}text")}
    assert {"$\\frac{$", "a\N{REPLACEMENT CHARACTER}[2J", "<b>&", "n" * 37 + "...", "\N{REPLACEMENT CHARACTER}"} < said


def test_a_picture_of_many_workers_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine that comes and goes has a name of its own; Matplotlib refuses a PNG of more than 2**16 pixels."""
    monkeypatch.setattr(timeline, "MAX_INCHES", 4)
    found = [record(worker=f"w{number}", how="done") for number in range(20)]
    timeline.draw("j", found, tmp_path / "x.png")
    header = (tmp_path / "x.png").read_bytes()[16:24]
    assert int.from_bytes(header[4:]) == 400, "the height in pixels"


@pytest.mark.parametrize("body", [b"{}", b'{"job": []}', b"[]"])
def test_a_job_whose_plan_is_odd_is_not_submitted_again(body: bytes) -> None:
    class Listed(FakeS3):
        def paginate(self, Bucket: str, Prefix: str, **paging: Any) -> Iterator[dict[str, Any]]:
            return super().paginate(Bucket, Prefix)

    s3 = Listed({layout.plan("j"): body, "datasets/d/1": b"x"})
    with pytest.raises(MarkerError, match=r"^'runs/j/plan\.json'"):
        jobs.check(fake_stack(s3, None), Job(job_id="j", dataset="datasets/d/"))


def test_every_way_to_be_interrupted_is_known() -> None:
    """Workers write these into records, where they must not change."""
    assert set(INTERRUPTIONS) == {"stop", "wall", "full", "lost", "cancelled", "beaten"}
    assert set(INTERRUPTIONS.values()) <= set(timeline.COLOURS)
