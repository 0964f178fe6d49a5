"""Workers in the deployed system: killed, interrupted, slow, failing, and beaten to it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.program import ROOT
from local.workers import WorkerProcess, running
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, insist, run_here, send_again, started, write
from trainq.protocol import layout
from trainq.worker.training import TrainingTask

SLEEP = "sleep 60; touch $TRAINQ_OUTPUT/done"


def test_a_killed_workers_task_is_done_by_another(deployed: Deployed, worker) -> None:
    """It comes back within one visibility timeout; the command and the files of the killed one are gone."""
    dispatch(deployed)
    killed = worker("killed", "sh", "-c", SLEEP)
    eventually(lambda: started(killed), "the worker trains")
    mark = f"TRAINQ_OUTPUT={deployed.folder}"
    eventually(lambda: running(mark), "the command runs")
    killed.kill()
    eventually(lambda: not running(mark), "its command is ended by the guard")
    eventually(lambda: not list(deployed.folder.glob("trainq-*")), "its files are removed by the guard")
    other = deployed.run_worker("other", "sh", "-c", "touch $TRAINQ_OUTPUT/done", options=("--max-tasks", "1"))
    assert [event.what for event in other.events] == ["started", "done"]
    marker = deployed.read(layout.result("j", 0))
    assert (marker["worker"], marker["attempt_number"]) == ("other", 2)
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0


def test_a_task_longer_than_the_visibility_timeout_is_delivered_once(deployed: Deployed, worker) -> None:
    """The heartbeat keeps it; a second worker waits for it all the while."""
    dispatch(deployed)
    workers = [worker(name, "sh", "-c", "sleep 8; touch $TRAINQ_OUTPUT/done") for name in ("w1", "w2")]
    eventually(lambda: deployed.keys(layout.results("j")), "the task is done")
    eventually(lambda: deployed.in_flight("model_training_queue_url") == 0, "the message is deleted")
    for each in workers:
        each.end()
        each.follow()
    assert sorted(event.what for each in workers for event in each.events) == ["done", "started"]
    assert deployed.read(layout.result("j", 0))["attempt_number"] == 1


def test_a_task_that_always_fails_is_tried_five_times_and_then_dead_lettered(deployed: Deployed, worker) -> None:
    """Exactly five; each failure is kept with its exit status and the end of its output; its neighbours get through."""
    dispatch(deployed, shards=3)
    script = 'test $TRAINQ_TASK != 1 || { echo "loss is nan"; exit 7; }'
    process = worker("w1", "sh", "-c", script)
    eventually(lambda: deployed.waiting("dead_letter_queue_url") == 1, "the task is on the dead letter queue")
    process.end()
    process.follow()
    assert [event.attempt for event in process.events if (event.task, event.what) == (1, "started")] == [1, 2, 3, 4, 5]
    failures = [deployed.read(key) for key in deployed.keys(layout.failures("j"))]
    assert sorted(each["attempt_number"] for each in failures) == [1, 2, 3, 4, 5]
    assert {(each["task"], each["exit_code"], each["output_tail"]) for each in failures} == {(1, 7, "loss is nan\n")}
    dead = deployed.receive_all("dead_letter_queue_url")
    assert [json.loads(each["Body"])["task"] for each in dead] == [1]
    reason = dead[0]["MessageAttributes"]["reason"]["StringValue"]
    assert reason.startswith("failed 5 times, the last time on w1: sh -c")
    assert reason.endswith("exit status 7")
    assert sorted(deployed.keys(layout.results("j"))) == [layout.result("j", task) for task in (0, 2)]
    said = deployed.trainq("status", "j", status=4).stdout
    assert "given up, 2 of 3 tasks done" in said
    assert "task 1: given up, the last on w1: sh -c" in said
    assert "exit status 7" in said
    assert "loss is nan" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_worker_gives_its_task_back_at_once(
    slow: Deployed, tmp_path: Path, request: pytest.FixtureRequest, number: signal.Signals
) -> None:
    """Under a visibility timeout of ten minutes the task is there again in seconds; the command is ended first."""
    dispatch(slow, shards=2)
    # A command that starts others, as `torchrun` does, and notes that it was told to end.
    script = f"trap 'echo told > {tmp_path}/told; exit 1' TERM; sleep 600 & sleep 600 & wait"
    process = slow.worker("w1", "sh", "-c", script)
    request.addfinalizer(process.kill)
    mark = f"TRAINQ_OUTPUT={tmp_path}"
    eventually(lambda: len(running(mark)) == 3, "the command and its two children run")
    process.process.send_signal(number)
    assert process.process.wait(20) == 0, process.log.read_text()
    assert (tmp_path / "told").exists()
    assert not running(mark)
    assert not list(tmp_path.glob("trainq-*"))
    eventually(lambda: slow.waiting("model_training_queue_url") == 2, "both tasks can be received", seconds=5)
    process.follow()
    assert [event.what for event in process.events] == ["started", "released"]
    assert not slow.keys("runs/j/failures/"), "an interruption is no failure"


def test_an_idle_worker_that_is_interrupted_takes_no_task_with_it(deployed: Deployed, worker) -> None:
    """A receive that is cut off may be answered with a task that nobody then knows of: it is waited for."""
    process = worker("w1", "true", options=("--poll", "3"))
    eventually(lambda: "waiting for tasks" in process.log.read_text(), "the worker polls")
    process.process.terminate()
    dispatch(deployed)
    assert process.process.wait(15) == 0
    (message,) = eventually(lambda: deployed.receive_all("model_training_queue_url"), "the task is there", seconds=4)
    assert int(message["Attributes"]["ApproximateReceiveCount"]) <= 2
    assert not deployed.in_flight("model_training_queue_url") - 1


def test_an_idle_worker_ends_at_once_when_it_is_told_twice(deployed: Deployed, worker) -> None:
    process = worker("w1", "true", options=("--poll", "20"))
    eventually(lambda: "waiting for tasks" in process.log.read_text(), "the worker polls")
    insist(process)


def test_a_message_that_is_no_task_is_dead_lettered_with_the_reason(deployed: Deployed) -> None:
    """At once: it can never succeed."""
    dispatch(deployed)
    deployed.stack.sqs.send_message(QueueUrl=deployed.stack.model_training_queue_url, MessageBody='{"task": 1}')
    deployed.run_worker("w1", "true", options=("--max-tasks", "2"))
    assert deployed.keys(layout.results("j"))
    (dead,) = deployed.receive_all("dead_letter_queue_url")
    assert dead["Body"] == '{"task": 1}'
    assert "field 'job_id' is missing" in dead["MessageAttributes"]["reason"]["StringValue"]
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0


def test_a_worker_on_which_everything_fails_slows_down(deployed: Deployed, worker) -> None:
    """A full disk on one machine must not send all tasks to the dead letter queue."""
    dispatch(deployed, shards=10)
    process = worker("w1", "false")
    eventually(lambda: "waiting 2 s" in process.log.read_text(), "it waits longer each time")
    process.end()
    process.follow()
    assert sum(event.what == "started" for event in process.events) <= 5


def test_a_worker_that_may_not_receive_ends_and_says_why_in_one_line(deployed: Deployed) -> None:
    """Waiting would never help; a fleet of idle GPUs that say nothing is the worst case."""
    process = WorkerProcess.start(
        "w1", deployed.stack_file, ["true"], deployed.environment(deployed.submitter_credentials), deployed.folder
    )
    assert process.process.wait(30) == 1
    said = process.log.read_text().splitlines()
    assert said[-1].startswith("Error: An error occurred (AccessDenied")
    assert "ReceiveMessage" in said[-1]
    assert "Traceback" not in process.log.read_text()
    assert not list(deployed.folder.glob("trainq-*"))


def test_of_two_attempts_at_a_task_the_first_to_commit_wins(deployed: Deployed) -> None:
    """The slower one had lost its lease without knowing. Its result is thrown away: the marker names one attempt."""
    dispatch(deployed)

    def overtaken(training: TrainingTask) -> None:
        write("slow")(training)
        send_again(deployed)
        run_here(deployed, write("quick"), name="quick")

    run_here(deployed, overtaken, name="slow")
    marker = deployed.read(layout.result("j", 0))
    assert marker["worker"] == "quick"
    (beaten,) = (deployed.read(key) for key in deployed.keys(layout.interruptions("j")))
    assert (beaten["worker"], beaten["why"]) == ("slow", "beaten")
    deployed.trainq("fetch", "j", str(deployed.folder / "results"))
    assert (deployed.folder / "results" / "0" / "model").read_text() == "quick"


# A worker in a process of its own, that is killed when it is about to delete.
KILLED_BEFORE_DELETE = """
import os, pathlib, signal, sys
from trainq.stack import Stack
from trainq.worker.task_queue import TaskQueue
from trainq.worker.worker import Options, Worker
TaskQueue.acknowledge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
def train(task):
    (task.output / "model").write_text("killed")
options = Options(name="killed", folder=pathlib.Path(sys.argv[2]), prefetch=int(sys.argv[3]), max_tasks=3)
Worker(Stack.load(sys.argv[1]), train, options).run()
"""


@pytest.mark.parametrize("prefetch", [1, 10])
def test_a_worker_that_dies_between_commit_and_delete_causes_no_second_training(
    deployed: Deployed, prefetch: int
) -> None:
    """The messages come back, the markers are found, the messages are deleted."""
    dispatch(deployed, shards=3)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_DELETE, str(deployed.stack_file), str(deployed.folder), str(prefetch)],
        cwd=ROOT,
        env=os.environ | deployed.environment(deployed.worker_credentials),
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    committed = len(deployed.keys(layout.results("j")))
    assert committed == (1 if prefetch == 1 else 3)
    trained = []
    run_here(deployed, lambda task: trained.append(task.task), max_tasks=None, idle_exit=8, poll=4, prefetch=prefetch)
    assert len(trained) == 3 - committed
    markers = [deployed.read(key) for key in deployed.keys(layout.results("j"))]
    assert sorted(each["worker"] for each in markers) == ["killed"] * committed + ["w1"] * (3 - committed)
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0


def test_what_a_python_function_raises_is_kept_as_the_failures_reason(deployed: Deployed) -> None:
    dispatch(deployed)

    def train(task: TrainingTask) -> None:
        raise ValueError("loss is nan")

    run_here(deployed, train)
    (key,) = deployed.keys(layout.failures("j"))
    assert deployed.read(key)["reason"] == "ValueError: loss is nan"
    assert deployed.in_flight("model_training_queue_url") == 1, "the message is not deleted"
    assert not list(deployed.folder.glob("trainq-attempt-*"))


def test_a_shard_that_is_gone_is_a_failure_with_a_reason(deployed: Deployed) -> None:
    dispatch(deployed)
    deployed.stack.s3.delete_object(Bucket=deployed.stack.bucket_name, Key="datasets/d/000")
    run_here(deployed, write("x"))
    (key,) = deployed.keys(layout.failures("j"))
    assert "NoSuchKey" in deployed.read(key)["reason"]
    assert not deployed.keys(layout.results("j"))
