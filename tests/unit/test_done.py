"""TRAINQ_DONE: which command that was asked to end has completed its task, and which has not."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.helpers.waiting import eventually
from trainq.machine.command import Command
from trainq.machine.guard import Guard
from trainq.worker.outcome import Outcome
from trainq.worker.signals import Interrupted, Interruption
from trainq.worker.training import TaskFailed, TrainingTask


@pytest.fixture
def task(tmp_path: Path) -> TrainingTask:
    return TrainingTask("j", 0, 1, {}, tmp_path / "attempt")


def asked_to_end(guard: Guard, task: TrainingTask, then: str, *who: str, require_done: bool = False) -> None:
    """Run a command that does this on SIGTERM; once it runs, the signal goes to these, or the job is cancelled."""
    script = f"trap '{then}' TERM; echo $$ > $TRAINQ_OUTPUT/pid; sleep 600 & wait"
    pid = task.place / "output" / "pid"

    def ask() -> None:
        eventually(lambda: pid.exists() and pid.read_text(), "the command runs")
        for each in who:
            if each == "cancelled":
                interruption.interrupt(Outcome.CANCELLED, task)
            else:
                os.kill(int(pid.read_text()) if each == "command" else os.getpid(), signal.SIGTERM)

    with Interruption() as interruption:
        interruption.begin_task(task)
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            interruption.allow(Command(["sh", "-c", script], guard, interruption, require_done=require_done), task)
        finally:
            asking.join()


def test_a_command_that_has_completed_its_task_when_it_is_asked_to_end_is_not_interrupted(
    guard: Guard, task: TrainingTask
) -> None:
    asked_to_end(guard, task, "echo all of it; touch $TRAINQ_DONE; exit 0", "worker")
    assert task.notes["output_tail"] == "all of it\n"


@pytest.mark.parametrize("then", ["exit 0", "touch $TRAINQ_DONE; exit 3"])
def test_without_the_file_and_status_0_it_is(guard: Guard, task: TrainingTask, then: str) -> None:
    with pytest.raises(Interrupted):
        asked_to_end(guard, task, then, "worker")


def test_what_a_cancelled_jobs_command_has_completed_is_not_wanted(guard: Guard, task: TrainingTask) -> None:
    with pytest.raises(Interrupted) as raised:
        asked_to_end(guard, task, "touch $TRAINQ_DONE; exit 0", "cancelled")
    assert raised.value.outcome is Outcome.CANCELLED


def test_half_an_output_of_a_command_that_was_signalled_before_its_worker_is_no_result(
    guard: Guard, task: TrainingTask
) -> None:
    """By `pkill train.py`, or a manager that signals every process: some commands then end with status 0."""
    with pytest.raises(TaskFailed, match=r"it has not made the file \$TRAINQ_DONE"):
        asked_to_end(guard, task, "exit 0", "command", require_done=True)


def test_nor_is_it_a_failure_if_the_worker_is_asked_to_end_a_moment_later(guard: Guard, task: TrainingTask) -> None:
    with pytest.raises(Interrupted):
        asked_to_end(guard, task, "exit 0", "command", "worker", require_done=True)


def test_required_and_made_it_is_done(guard: Guard, task: TrainingTask) -> None:
    with Interruption() as interruption:
        command = Command(["sh", "-c", "touch $TRAINQ_DONE"], guard, interruption, require_done=True)
        interruption.allow(command, task)
    assert task.notes["output_tail"] == ""
