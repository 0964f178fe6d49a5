"""A checkpoint that fails and a full disk: what a worker does then, and what `trainq status` shows of it."""

import errno
import json
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from local.standins import FakeS3, fake_stack
from tests.helpers.attempts import World, ending, raising
from tests.helpers.records import NOW, B, C, record, time
from trainq.cli.status import _described
from trainq.client.status import JobStatus, status
from trainq.protocol import layout
from trainq.stack import QueueSettings, Stack
from trainq.worker.outcome import Outcome
from trainq.worker.training import TrainingTask

FULL = [OSError(errno.ENOSPC, "No space left on device", "/work/x"), OSError(errno.EDQUOT, "Disk quota exceeded")]


def fail(error: Exception) -> Callable[..., Any]:
    def failing(*asked: Any, **more: Any) -> Any:
        raise error

    return failing


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize("failures", [0, 4])
def test_a_full_disk_during_a_download_costs_no_attempt_and_the_worker_waits(
    world: Callable[..., World], error: OSError, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The last of five failures would be the dead letter queue, for what the machine has done."""
    one = world(failures=failures)
    caplog.set_level("INFO")
    one.store.download = fail(error)
    one.run(lambda task: pytest.fail("begun"))
    assert (one.attempt.outcome, one.queue.done) == (Outcome.DISK_FULL, [("release", False)])
    assert one.settlement.failures_in_a_row == 1
    assert not one.failures
    (interruption,) = one.records(layout.interruptions("j"))
    assert (interruption["why"], interruption["problem"]) == ("full", str(error))
    assert f"the worker's disk is full: {error}" in caplog.text


@pytest.mark.parametrize("error", FULL)
def test_a_full_disk_during_training_costs_no_failure(world: Callable[..., World], error: OSError) -> None:
    """Half an output and half a checkpoint may be there: neither is kept."""
    one = world(failures=4)
    one.run(raising(error))
    assert (one.attempt.outcome, one.queue.done) == (Outcome.DISK_FULL, [("release", True)])
    assert (one.whys, one.failures) == (["full"], [])
    assert not one.records(layout.all_checkpoints("j"))


def test_another_error_of_the_system_is_a_failure(world: Callable[..., World]) -> None:
    one = world()
    one.run(raising(OSError(errno.EIO, "Input/output error")))
    assert one.queue.done == [("retry",)]
    assert one.failures == ["OSError: [Errno 5] Input/output error"]


@pytest.mark.parametrize("outcome", [Outcome.SHUTDOWN, Outcome.HOLD_LIMIT])
def test_a_checkpoint_that_fails_is_named_in_the_interruption_record(
    world: Callable[..., World], outcome: Outcome
) -> None:
    one = world()
    one.store.upload = fail(FULL[0])
    one.run(ending(one, outcome))
    (interruption,) = one.records(layout.interruptions("j"))
    assert interruption["problem"] == f"the checkpoint could not be saved: {FULL[0]}"


def test_a_running_tasks_report_names_what_is_wrong_with_its_checkpoint(world: Callable[..., World]) -> None:
    """Until a checkpoint is saved whole."""
    one = world()
    reported: list[str | None] = []

    def report() -> None:
        one.attempt.look(report=True)
        (found,) = one.records(layout.workers("j"))
        reported.append(found.get("problem"))

    def train(task: TrainingTask) -> None:
        (task.checkpoint / "state").write_text("far")
        report()
        (task.checkpoint / "latest").symlink_to("gone")
        one.attempt._checkpoints.save(task.checkpoint)
        report()
        (task.checkpoint / "latest").unlink()
        (task.checkpoint / "state").write_text("further")
        one.attempt._checkpoints.save(task.checkpoint)
        report()

    one.run(train)
    assert one.attempt.outcome is Outcome.COMPLETED
    odd = "left out of the checkpoint: 'latest' is a link to 'gone', which does not exist"
    assert reported == [None, odd, None]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Job j of 20 tasks; task 0 is done, and each task but the last has been interrupted with a problem."""
    monkeypatch.setattr(Stack, "training_queue_settings", lambda self: QueueSettings(180, 5))
    objects: dict[str, Any] = {layout.plan("j"): {"tasks": 20, "shards": 20}, layout.dispatched("j"): {"tasks": 20}}
    objects[layout.result("j", 0)] = record()
    for task in range(19):
        objects[layout.interruption("j", task, B)] = record(task, B, why="stop", problem="the disk\x1b[2J is full")
    objects[layout.interruption("j", 19, B)] = record(19, B, why="stop")
    objects[layout.report("j", "w", C)] = record(19, C, heartbeat=time(0), problem="no checkpoint")
    return fake_stack(Dated({key: json.dumps(value).encode() for key, value in objects.items()}), None)


class Dated(FakeS3):
    """Lists objects with the times at which they were stored: later tasks later. S3's clock stands still."""

    def paginate(self, Bucket: str, Prefix: str, **other: Any) -> Any:
        for page in super().paginate(Bucket, Prefix, **other):
            for number, each in enumerate(page.get("Contents", ())):
                each["LastModified"] = NOW + timedelta(minutes=number)
            yield page | {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(NOW)}}}


def test_status_shows_what_hinders_tasks_and_reads_no_more_records_than_it_shows(stack: Stack) -> None:
    found = status(stack, "j", reasons=3)
    assert isinstance(found, JobStatus)
    assert [each["task"] for each in found.hindered] == [9, 8, 7], "the newest, as S3 lists them"
    assert 0 not in {each["task"] for each in found.hindered}, "it is done"
    said = _described(found).splitlines()
    assert "    no checkpoint" in said
    assert sum("interrupted on w: the disk\N{REPLACEMENT CHARACTER}[2J is full" in line for line in said) == 3
    quick = status(stack, "j", reasons=0)
    assert isinstance(quick, JobStatus)
    assert quick.hindered == []


def test_what_shows_a_problem_that_is_no_text_is_left_out(stack: Stack) -> None:
    left_out: list[Any] = []
    key = layout.report("j", "w", C)
    stack.s3.objects[key] = json.dumps(record(19, C, heartbeat=time(0), problem=["x"])).encode()
    status(stack, "j", on_left_out=left_out.append)
    assert [str(each) for each in left_out] == [f"{key!r}: field 'problem' is [\"x\"]: allowed is a text, or none"]
