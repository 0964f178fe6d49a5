"""Machines that disappear: lost leases, cancelled jobs, counts of failures."""

import json
import signal
from typing import Any

import pytest

from local.workers import running
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, run_here, started, write
from trainq.client.jobs import cancel
from trainq.protocol import layout
from trainq.worker.outcome import Outcome
from trainq.worker.signals import Interrupted
from trainq.worker.task_queue import TaskQueue
from trainq.worker.training import TaskFailed, TrainingTask


def test_a_stopped_worker_that_comes_back_late_replaces_nothing_and_says_so(deployed: Deployed, worker: Any) -> None:
    """SIGSTOP past the visibility timeout, as a suspended laptop; another worker takes over meanwhile."""
    dispatch(deployed)
    late = worker("late", "sh", "-c", "sleep 2; echo late > $TRAINQ_OUTPUT/model")
    eventually(lambda: started(late), "it trains")
    late.process.send_signal(signal.SIGSTOP)
    script = "echo quick > $TRAINQ_OUTPUT/model"
    deployed.run_worker("quick", "sh", "-c", script, options=("--max-tasks", "1"))
    before = deployed.read(layout.result("j", 0))
    assert before["worker"] == "quick"
    late.process.send_signal(signal.SIGCONT)
    eventually(lambda: late.follow() or not late.current, "it notices")
    assert deployed.read(layout.result("j", 0)) == before
    said = late.log.read_text()
    assert "worker quick was first" in said or "not this worker's any more" in said
    assert late.end() == 0


def test_a_worker_that_lost_its_lease_ends_its_command(deployed: Deployed, worker: Any) -> None:
    """It would work for nothing, on a GPU that another task could have."""
    dispatch(deployed)
    process = worker("late", "sleep", "600")
    mark = f"TRAINQ_OUTPUT={deployed.folder}"
    eventually(lambda: running(mark), "the command runs")
    process.process.send_signal(signal.SIGSTOP)
    deployed.run_worker("quick", "true", options=("--max-tasks", "1"))
    process.process.send_signal(signal.SIGCONT)
    eventually(lambda: not running(mark), "the command is ended")
    eventually(lambda: process.follow() or process.events[-1].what == "left", "it leaves the message")
    assert '"event": "lease.lost"' in process.log.read_text()


@pytest.mark.parametrize("prefetch", ["1", "6"])
def test_a_cancelled_jobs_running_task_is_ended_and_the_others_are_never_started(
    deployed: Deployed, worker: Any, prefetch: str
) -> None:
    dispatch(deployed, shards=6)
    process = worker("w1", "sleep", "600", options=("--prefetch", prefetch))
    eventually(lambda: started(process), "a task runs")
    cancel(deployed.stack, "j", "test")
    eventually(
        lambda: deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0,
        "the queue is drained",
    )
    process.end()
    process.follow()
    assert sum(event.what == "started" for event in process.events) == 1
    assert not deployed.keys(layout.results("j"))
    assert not deployed.keys(layout.failures("j"))
    assert deployed.waiting("dead_letter_queue_url") == 0


def test_a_job_that_is_cancelled_before_it_is_dispatched_sends_nothing(deployed: Deployed) -> None:
    deployed.put_dataset("d", {"1": b"x"})
    cancel(deployed.stack, "j", "test")
    deployed.submit(job_id="j", dataset="datasets/d/")
    eventually(lambda: deployed.keys(layout.plan("j")), "the message is handled")
    eventually(lambda: deployed.in_flight("message_queue_url") == 0, "the message is done with")
    assert deployed.waiting("model_training_queue_url") == 0


def test_an_interruption_between_failures_does_not_reset_their_count(deployed: Deployed) -> None:
    """Five failures in all, whatever came in between; SQS itself would begin to count again with each copy."""
    dispatch(deployed)
    counted = []

    def train(task: TrainingTask) -> None:
        counted.append(len(counted))
        if len(counted) in (3, 4):
            raise Interrupted(Outcome.HOLD_LIMIT)
        raise TaskFailed("broken")

    for _ in range(7):
        run_here(deployed, train, backoff=0)
    assert len(counted) == 7
    assert deployed.waiting("dead_letter_queue_url") == 1
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0
    before = sorted(deployed.read(key)["failures_before"] for key in deployed.keys(layout.failures("j")))
    assert before == [0, 1, 2, 3, 4]


def test_a_crash_between_the_copy_and_the_delete_gives_one_result(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is on the queue twice. Both are handled; the second finds the first's result."""
    dispatch(deployed)

    def interrupted(task: TrainingTask) -> None:
        raise Interrupted(Outcome.SHUTDOWN)

    with monkeypatch.context() as dying:
        dying.setattr(TaskQueue, "delete", lambda self, delivery: None)
        run_here(deployed, interrupted)
    trained = []

    def train(task: TrainingTask) -> None:
        trained.append(task.task)
        write("model")(task)

    for _ in range(2):
        run_here(deployed, train)
    assert trained == [0]
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0


@pytest.mark.parametrize(
    ("script", "said", "out_of_memory"),
    [
        ("echo 'torch.OutOfMemoryError: CUDA out of memory.'; exit 1", "exit status 1, out of memory", True),
        ("kill -SEGV $$", "signal SIGSEGV", False),
        ("echo oh no; exit 3", "exit status 3", False),
    ],
)
def test_how_a_command_failed_is_told_apart(deployed: Deployed, script: str, said: str, out_of_memory: bool) -> None:
    dispatch(deployed)
    deployed.run_worker("w1", "sh", "-c", script, options=("--max-tasks", "1"))
    (key,) = deployed.keys(layout.failures("j"))
    failure = deployed.read(key)
    assert failure["reason"].endswith(said)
    assert failure["out_of_memory"] is out_of_memory
    assert json.dumps(failure["worker"]) == '"w1"'


def test_a_worker_goes_on_after_failures_in_a_row_and_a_cancelled_job(deployed: Deployed, worker: Any) -> None:
    """What ended the last task must not end the pause after it, and with it the worker."""
    dispatch(deployed)
    process = worker("w1", "sh", "-c", "test $TRAINQ_JOB_ID = j || exit 1; sleep 600", options=("--backoff", "0"))
    eventually(lambda: started(process), "it trains")
    deployed.put_dataset("e", {"1": b"x", "2": b"y", "3": b"z"})
    cancel(deployed.stack, "j", "test")
    deployed.submit(job_id="k", dataset="datasets/e/")
    eventually(lambda: "waiting 1 s" in process.log.read_text(), "three failures in a row")
    assert process.process.poll() is None
    eventually(lambda: deployed.waiting("dead_letter_queue_url") >= 1, "it goes on", seconds=120)
