"""Nothing is written outside of the folder, by any command, whatever a marker, a key or a message says."""

import json
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from local.standins import FakeS3, fake_stack
from tests.helpers.deployed import Deployed
from tests.helpers.results import files_of, marker, put, put_bytes
from trainq.client.results import FetchError, checked, fetch
from trainq.protocol import layout, names
from trainq.protocol.markers import MarkerError, read
from trainq.worker.records import Record
from trainq.worker.task_queue import Delivery

A, B = "a" * 32, "b" * 32
KEY = layout.result("j", 0)
DEEP = "[" * 100_000


def file(path: Any, size: Any = 1) -> dict[str, Any]:
    return {"path": path, "bytes": size}


def test_what_a_worker_writes_is_let_through() -> None:
    names = ["a", "b/c", "b/d/e", "results/0.json", "ü ö", "..a", "a b.", "-rf", "~"]
    good = marker(files=[file(name) for name in names])
    assert checked(good, KEY) is good
    assert checked(marker(7), layout.result("j", 7))
    assert checked(marker(job="job.1-x_"), layout.result("job.1-x_", 0))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (marker("/home/u/.ssh"), "field 'task' is '/home/u/.ssh'"),
        (marker(".."), "field 'task' is '..'"),
        (marker(1), "field 'task' is 1: allowed at this key is 0"),
        (marker(False), "field 'task' is False"),
        (marker("0"), "field 'task' is '0'"),
        (marker(0.0), "field 'task' is 0.0"),
        (marker(job="k"), "field 'job_id' is 'k'"),
        (marker(job=None), "field 'job_id' is None"),
        (marker(attempt="../../x"), "field 'attempt' is '../../x'"),
        (marker(attempt="A" * 32), "field 'attempt' is 'AAA"),
        (marker(attempt="a" * 31), "field 'attempt'"),
        (marker(attempt=A + "\n"), "field 'attempt'"),
        (marker(attempt=["a"] * 32), "field 'attempt'"),
        (marker(output="datasets/"), "field 'output' is 'datasets/'"),
        (marker(output=f"runs/j/attempts/0/{B}/"), "field 'output'"),
        (marker(output=f"runs/j/attempts/0/{A}"), "field 'output'"),
        ({}, "field 'attempt' is None"),
        (marker(files=["x"]), "'x' is no file"),
        (marker() | {"files": None}, "None is no list"),
        (marker() | {"files": {"path": "x", "bytes": 1}}, "is no list"),
        (marker(files=[file("x", "1")]), "is no file"),
        (marker(files=[file("x", True)]), "is no file"),
        (marker(files=[file("x", -1)]), "is no file"),
        (marker(files=[file(None)]), "is no file"),
        (marker(files=[file("a/" * 600 + "a")]), "is no file"),
        (marker(files=[file("/etc/passwd")]), "'/etc/passwd' is not a name"),
        (marker(files=[file("../0/x")]), "'../0/x' is not a name"),
        (marker(files=[file("a/../../x")]), "is not a name"),
        (marker(files=[file("a/..")]), "is not a name"),
        (marker(files=[file("")]), "'' is not a name"),
        (marker(files=[file(".")]), "'.' is not a name"),
        (marker(files=[file("a//b")]), "is not a name"),
        (marker(files=[file("a/")]), "is not a name"),
        (marker(files=[file("a\0b")]), "is not a name"),
        (marker(files=[file("\ud800")]), "is not a name"),
        (marker(files=[file("a"), file("b"), file("a")]), "'a' is there twice"),
        (marker(files=[file("a/b"), file("a")]), "'a' is both a file and a folder"),
        (marker(files=[file("a"), file("a/b/c")]), "'a' is both a file and a folder"),
    ],
)
def test_a_marker_that_does_not_fit_its_key_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(MarkerError) as raised:
        checked(wrong, KEY)
    text = str(raised.value)
    assert text.startswith(f"{KEY!r}: field ")
    assert named in text
    assert len(text) < 500
    assert text.isprintable()


@pytest.mark.parametrize("key", ["runs/j/results/00.json", "runs/j/results/0/0.json", "runs/j/x/results/0.json", "x"])
def test_what_is_at_another_key_is_no_result(key: str) -> None:
    with pytest.raises(MarkerError, match="is no key of a result"):
        checked(marker(), key)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", DEEP.encode(), b"[]", b"null", b"1", b"1" * 5_000])
def test_what_is_no_json_object_is_no_marker(body: bytes) -> None:
    with pytest.raises(MarkerError, match=rf"'{KEY}' (cannot be read as JSON|is no JSON object)"):
        read(FakeS3({KEY: body}), "b", KEY)


@pytest.mark.parametrize("name", ["..\\..\\x", "a\\b", "C:x", "C:\\x", "a:b", "\\\\host\\share\\x", "a/..\\..\\..\\x"])
def test_a_name_is_divided_as_the_system_divides_it(name: str) -> None:
    """On Windows a backslash leads out; elsewhere it is a character like others, which a result may have in a name."""
    windows: Any = PureWindowsPath("C:/results/0")
    with pytest.raises(ValueError, match="is not a name within"):
        names.below(windows, name)
    assert names.below(windows, "a/b") == windows / "a" / "b"
    if ".." not in name.split("/"):
        assert names.below(Path("/results/0"), name).parent.as_posix().startswith("/results/0")


@pytest.mark.parametrize("folder", ["/x/shards", "shards", "."])
@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "", "/", "a/", "a\0", "\ud800"])
def test_no_name_leads_out_of_a_folder(folder: str, name: str) -> None:
    """Results' files, shards and checkpoints all become paths here."""
    with pytest.raises(ValueError, match="is not a name within"):
        names.below(Path(folder), name)


def test_a_worker_does_not_take_an_unfit_marker_for_its_tasks_result() -> None:
    """The task would count as done, and its result could not be fetched."""
    task: Any = type("Task", (), {"job_id": "j", "task": 0})
    delivery: Any = Delivery("m", "h", "", 1, 0, 0.0, again=True)
    s3 = FakeS3({KEY: json.dumps(marker(1)).encode()})
    with pytest.raises(MarkerError, match="field 'task' is 1"):
        Record(s3, "b", "w", task, delivery).result()


@pytest.fixture
def results(deployed: Deployed) -> Deployed:
    """Job j of two tasks that are done, each with a file `deep/x`."""
    put(deployed, "runs/j/plan.json", {"tasks": 2, "shards": 2})
    for task in (0, 1):
        put(deployed, layout.result("j", task), marker(task, files=[file("deep/x")]))
        put_bytes(deployed, f"runs/j/attempts/{task}/{A}/deep/x", b"%d" % task)
    return deployed


def contents(folder: Path) -> dict[str, str]:
    """What is below a folder, links as they are."""
    return {
        str(path): str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def test_fetch_takes_the_good_results_and_refuses_the_others_by_name(results: Deployed, tmp_path: Path) -> None:
    """The issue's: a task that is a folder elsewhere; then what is no marker at all."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "results"
    elsewhere.mkdir()
    evil = marker(str(elsewhere), files=[file("authorized_keys")])
    put_bytes(results, f"{evil['output']}authorized_keys", b"!")
    for body in (json.dumps(evil).encode(), DEEP.encode(), b"null", json.dumps(marker(files=[file("../x")])).encode()):
        put_bytes(results, KEY, body)
        said = results.trainq("fetch", "j", str(folder), status=1)
        assert f"refused: {KEY!r}" in said.stderr
        assert "1 results are not what a worker writes" in said.stderr
        assert "Traceback" not in said.stderr
        assert said.stdout == f"1 of 2 results fetched: {folder}\n"
        assert files_of(folder) == ["1/deep/x", "results.jsonl"]
        assert [json.loads(line)["task"] for line in (folder / "results.jsonl").read_text().splitlines()] == [1]
        assert not files_of(elsewhere)


def test_keys_that_no_worker_writes_break_no_command(results: Deployed) -> None:
    """Who may write below a prefix may write other names there, too."""
    for key in ("results/x", "results/0/0.json", "results/01.json", "results/.json", f"failures/{A}.json"):
        put(results, f"runs/j/{key}", {})
    for key in ("failures/0/cancelled.json", "failures/plan/x.json", f"interruptions/0/x/{A}.json"):
        put(results, f"runs/j/{key}", {"failures_before": 99})
    for command in ("status j", "jobs"):
        assert "2 of 2 tasks done" in results.trainq(*command.split()).stdout


@pytest.mark.parametrize("link", ["0", "0/deep", "0/deep/x", "results.jsonl"])
@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_fetch_follows_no_link_out_of_its_folder(tmp_path: Path, link: str, target: str) -> None:
    """Whether it leads somewhere or is broken; nothing at all is written then."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "results"
    elsewhere.mkdir()
    if target == "there" and link.endswith(("x", "jsonl")):
        (elsewhere / target).write_text("[]")
    elif target == "there":
        (elsewhere / target).mkdir()
    (folder / link).parent.mkdir(parents=True)
    (folder / link).symlink_to(elsewhere / target)
    before = contents(tmp_path)
    with pytest.raises(FetchError) as raised:
        fetch(fake_stack(FakeS3({}), None), "j", [marker(files=[file("deep/x")])], folder, lambda path: None)
    assert str(raised.value).startswith(f"{str(folder / link)!r} is a link")
    assert contents(tmp_path) == before


def test_the_folder_itself_may_be_a_link(results: Deployed, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    results.trainq("fetch", "j", str(tmp_path / "results"))
    assert files_of(tmp_path / "disk") == ["0/deep/x", "1/deep/x", "results.jsonl"]
