"""Names of files and keys: the same rule for an upload, the function's plan, a worker, its output and a fetch."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.standins import PAGE, FakeS3, FakeSqs, fake_stack
from tests.helpers.dispatching import JOB, dispatcher
from tests.helpers.messages import TASK, refusal
from tests.helpers.results import files_of, marker
from tests.unit.test_fetch import bucket, run
from trainq import Options, testing
from trainq.client import jobs
from trainq.client.upload import DatasetError, plan_upload
from trainq.protocol import layout
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import MessageError, Task
from trainq.protocol.names import SortedPaths, files_below
from trainq.protocol.result_marker import checked
from trainq.worker.outcome import Outcome
from trainq.worker.training import TrainingTask

GOOD = [
    "録\u3000音.txt",
    "Screenshot 10.15.00\u202fPM.png",
    "no\u00a0break",
    "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}.txt",
    "نمی\N{ZERO WIDTH NON-JOINER}دانم",
    "line\u2028separator",
    "x" * 255,
    "é" * 127,
    "日/月/" + "火" * 85,
]
BAD = ["a\nb", "a\tb", "\x1b[2J", "a\x7f", "a\x85b", "\udcff", "x" * 256, "é" * 128]


def planned(*names: str) -> list[str]:
    """The shards of the tasks that the function sends for a dataset with such objects."""
    sqs = FakeSqs()
    dispatcher(FakeS3({f"datasets/d/{name}": b"x" for name in names}), sqs).dispatch(JOB)
    return sorted(key for body in sqs.bodies for key in Task.from_json(body).shards)


def copy(task: TrainingTask) -> None:
    """Each shard becomes a file of the output, under its own name."""
    for path in files_below(task.shards / "d").values():
        target = task.output / path.relative_to(task.shards / "d")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


@pytest.mark.parametrize("name", GOOD)
def test_a_name_of_any_writing_goes_all_the_way_from_the_upload_to_the_fetched_result(
    name: str, tmp_path: Path
) -> None:
    """Some of them were refused five times, after the training, though they had been taken as shards."""
    file = tmp_path / "up" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    ((_, key),) = plan_upload(fake_stack(FakeS3({}), None), tmp_path / "up", "d").to_send
    assert planned(name) == [key] == [f"datasets/d/{name}"]
    result = testing.run(copy, shards={f"d/{name}": b"x"})
    assert (result.failure, result.output) == (None, {name: b"x"})
    checked(marker(files=[{"path": name, "bytes": 1}]), layout.result("j", 0))
    run(bucket(**{name: b"x"}), tmp_path / "results")
    assert files_of(tmp_path / "results") == sorted([f"0/{name}", "results.jsonl"])


@pytest.mark.parametrize("name", BAD)
def test_a_name_with_control_characters_or_that_is_too_long_is_refused_before_any_training(
    name: str, tmp_path: Path
) -> None:
    """A newline in a key would make two lines of TRAINQ_SHARD_LIST."""
    with pytest.raises(MessageError) as raised:
        planned("0", name)
    assert repr(f"datasets/d/{name}") in str(raised.value)
    assert "allowed are keys of UTF-8 without control characters" in str(raised.value)
    assert "field 'shards' is" in str(refusal(Task, json.dumps(TASK | {"shards": [f"datasets/d/{name}"]})))
    with pytest.raises(MarkerError, match="is not a name within"):
        checked(marker(files=[{"path": name, "bytes": 1}]), layout.result("j", 0))


@pytest.mark.parametrize("name", [name for name in BAD if len(name) < 100])
def test_a_file_with_such_a_name_is_refused_by_the_upload_and_as_output(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DatasetError) as raised:
        plan_upload(fake_stack(FakeS3({}), None), tmp_path, "d")
    assert f"{name!r} is not a name that can be stored: allowed is UTF-8" in str(raised.value)
    result = testing.run(lambda task: (task.output / name).write_bytes(b"x"), shards={"d/0": b"x"})  # ty: ignore[invalid-argument-type]
    assert result.outcome is Outcome.FAILED
    assert repr(name) in str(result.failure)


@pytest.mark.parametrize("between", [[], ["a-b", "a.txt"], [f"a-{number:06}" for number in range(2 * PAGE)]])
def test_objects_that_cannot_be_files_together_are_refused_with_their_keys(between: list[str]) -> None:
    """Other keys, or whole pages of them, may come between the two in a listing."""
    with pytest.raises(MessageError) as raised:
        planned("a", *between, "a/b")
    assert "the dataset has the objects 'datasets/d/a' and 'datasets/d/a/b'" in str(raised.value)


def test_a_task_whose_shards_cannot_be_files_together_is_refused() -> None:
    shards = [f"datasets/d/{name}" for name in ("a/b/c", "a-b", "a/b")]
    assert "'datasets/d/a/b' and 'datasets/d/a/b/c'" in str(refusal(Task, json.dumps(TASK | {"shards": shards})))


@given(st.lists(st.text("ab-/\u3000", min_size=1, max_size=6), unique=True))
def test_a_clash_is_found_if_there_is_one(paths: list[str]) -> None:
    found = SortedPaths()
    clashes = any(found.folder_of(path) for path in sorted(paths))
    assert clashes == any(one.startswith(f"{other}/") for one in paths for other in paths)


def test_what_is_remembered_of_a_million_keys_does_not_grow_with_them() -> None:
    def most(count: int) -> int:
        found = SortedPaths()
        tracemalloc.start()
        for number in range(count):
            assert not found.folder_of(f"datasets/d/part-{number:07}")
            assert not found.folder_of(f"datasets/d/part-{number:07}.txt")
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    # To keep 40,000 keys would take more than two million bytes; other threads allocate, too.
    assert most(20_000) < most(100) + 100_000


FOLDERS = ["", *(f"0/{number:04}/" for number in range(2 * PAGE))]


def test_folder_objects_are_no_shards_however_many_come_first() -> None:
    """Consoles, rclone and mounts make them: empty objects whose keys end in '/'."""
    assert planned(*FOLDERS, "1", "1/") == ["datasets/d/1"]
    objects = {f"datasets/d/{name}": b"" for name in FOLDERS}
    for check in (lambda: planned(*FOLDERS), lambda: jobs.check(fake_stack(FakeS3(objects), None), JOB)):
        with pytest.raises(MessageError, match="there is no object under"):
            check()
    jobs.check(fake_stack(FakeS3(objects | {"datasets/d/1": b"x"}), None), JOB)


def test_a_workers_name_follows_the_same_rule() -> None:
    assert Options(name="node\u3000\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}")
    for name in ("", "a/b", "..", "a\nb", "\udcff", "x" * 256):
        with pytest.raises(ValueError, match="allowed is one segment of UTF-8"):
            Options(name=name)
