"""Workers in the deployed system: killed, interrupted, slow, failing, and beaten to it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.deploy import deploy
from local.emulator import Emulator
from local.program import ROOT
from local.workers import WorkerProcess, parent_of, running
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


def test_a_task_that_always_fails_is_tried_five_times_and_then_put_aside(deployed: Deployed, worker) -> None:
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_worker_gives_its_task_back_at_once(
    emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest, number: signal.Signals
) -> None:
    """Under a visibility timeout of ten minutes the task is there again in seconds; the command is ended first."""
    outputs = deploy(emulator, tmp_path / "stack.json", model_training_visibility_timeout=600)
    deployed = Deployed(emulator, outputs, tmp_path)
    dispatch(deployed, shards=2)
    # A command that starts others, as `torchrun` does, and notes that it was told to end.
    script = f"trap 'echo told > {tmp_path}/told; exit 1' TERM; sleep 600 & sleep 600 & wait"
    process = deployed.worker("w1", "sh", "-c", script)
    request.addfinalizer(process.kill)
    mark = f"TRAINQ_OUTPUT={tmp_path}"
    eventually(lambda: len(running(mark)) == 3, "the command and its two children run")
    process.process.send_signal(number)
    assert process.process.wait(20) == 0, process.log.read_text()
    assert (tmp_path / "told").exists()
    assert not running(mark)
    assert not list(tmp_path.glob("trainq-*"))
    eventually(lambda: deployed.waiting("model_training_queue_url") == 2, "both tasks can be received", seconds=5)
    process.follow()
    assert [event.what for event in process.events] == ["started", "released"]
    assert not deployed.keys("runs/j/failures/"), "an interruption is no failure"


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


def test_a_message_that_is_no_task_is_put_aside_with_the_reason(deployed: Deployed) -> None:
    """At once: it can never succeed."""
    dispatch(deployed)
    deployed.stack.sqs.send_message(QueueUrl=deployed.stack.model_training_queue_url, MessageBody='{"task": 1}')
    deployed.run_worker("w1", "true", options=("--max-tasks", "2"))
    assert deployed.keys(layout.results("j"))
    (dead,) = deployed.receive_all("dead_letter_queue_url")
    assert dead["Body"] == '{"task": 1}'
    assert "field 'job_id' is missing" in dead["MessageAttributes"]["reason"]["StringValue"]
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0


def test_a_command_that_does_not_exist_is_found_before_the_first_task(deployed: Deployed, worker) -> None:
    """Or a typo would send a whole job to the dead letter queue."""
    process = worker("w1", "no-such-program")
    assert process.process.wait(30) == 2
    assert "there is no program 'no-such-program'" in process.log.read_text()


def test_outputs_may_have_any_name(deployed: Deployed) -> None:
    """Also those that markers have elsewhere: the bucket's policy must tell them apart."""
    dispatch(deployed)
    names = ["results/0.json", "plan.json", "dispatched.json", "a b/ü.txt"]
    script = "".join(
        f'mkdir -p "$TRAINQ_OUTPUT/{Path(name).parent}"; echo x > "$TRAINQ_OUTPUT/{name}"; ' for name in names
    )
    deployed.run_worker("w1", "sh", "-c", script, options=("--max-tasks", "1"))
    assert [each["path"] for each in deployed.read(layout.result("j", 0))["files"]] == sorted(names)


# A process in a session of its own, as PyTorch's elastic launcher starts it; and one whose parent ends, as a daemon's.
LEAVES = (
    "import os, subprocess as s, sys; "
    "s.Popen(['sleep', '301']); s.Popen(['sleep', '302'], start_new_session=True); "
    "os.fork() or (os.setsid(), s.Popen(['sleep', '303'], start_new_session=True), os._exit(0)); "
)


def left_running(deployed: Deployed) -> list[bytes]:
    """The command lines of what belongs to this test's attempts."""
    found = []
    for pid in running(f"TRAINQ_OUTPUT={deployed.folder}"):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def test_what_a_command_leaves_behind_ends_with_its_attempt(deployed: Deployed) -> None:
    """In its group, in a session of its own, or orphaned; before the next task begins."""
    dispatch(deployed)
    command = (sys.executable, "-c", LEAVES + "os.wait()")
    deployed.run_worker("w1", *command, options=("--max-tasks", "1"))
    assert not left_running(deployed)
    assert deployed.keys(layout.results("j"))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "the command is killed", "the guard is killed"])
def test_what_has_a_session_of_its_own_ends_however_the_attempt_does(deployed: Deployed, worker, how: str) -> None:
    """The survivor would keep the GPU's memory, and the next tasks fail."""
    dispatch(deployed)
    process = worker("w1", sys.executable, "-c", LEAVES + "import time; time.sleep(600)")
    ours = {b"sleep\x00301\x00", b"sleep\x00302\x00", b"sleep\x00303\x00"}
    eventually(lambda: ours <= set(left_running(deployed)), "the command and what it has started run")
    (command,) = (pid for pid in running(f"TRAINQ_OUTPUT={deployed.folder}") if is_python(pid))
    if how == "the command is killed":
        os.kill(command, signal.SIGKILL)
    elif how == "the guard is killed":
        os.kill(guard_of(process), signal.SIGKILL)
    else:
        process.process.send_signal(signal.Signals[how])
    eventually(lambda: not left_running(deployed), "nothing of it runs any more")


def is_python(pid: int) -> bool:
    return b"time.sleep(600)" in Path(f"/proc/{pid}/cmdline").read_bytes()


def guard_of(worker: WorkerProcess) -> int:
    (guard,) = (pid for pid in running("guard_process.py") if parent_of(pid) == worker.process.pid)
    return guard


def test_a_signal_that_reaches_worker_and_command_together_is_an_interruption(deployed: Deployed, worker) -> None:
    """As systemd sends it, to everything in the unit: the command's end must not count as a failure."""
    dispatch(deployed)
    process = worker("w1", "sleep", "600")
    mark = f"TRAINQ_OUTPUT={deployed.folder}"
    (command,) = eventually(lambda: running(mark), "the command runs")
    os.kill(command, signal.SIGTERM)
    assert process.end() == 0
    process.follow()
    assert [event.what for event in process.events] == ["started", "released"]
    assert not deployed.keys(layout.failures("j"))


def test_a_worker_whose_guard_is_gone_ends_and_gives_its_task_back(deployed: Deployed, worker) -> None:
    process = worker("w1", "true")
    eventually(lambda: "waiting for tasks" in process.log.read_text(), "the worker polls")
    os.kill(guard_of(process), signal.SIGKILL)
    dispatch(deployed)
    assert process.process.wait(30) == 1
    assert process.log.read_text().splitlines()[-1] == "Error: this worker's guard process is gone"
    eventually(lambda: deployed.waiting("model_training_queue_url") == 1, "the task is given back", seconds=4)


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


# Through the Python API, where a test can stand in the middle of an attempt.


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


# A worker's side of a guard in a process of its own, which then ends as it is told.
GUARDED = """
import os, sys, time
from pathlib import Path
from trainq.machine.guard import Guard
guard = Guard(Path(sys.argv[1]))
guard.start(["sh", "-c", "setsid sleep 600 & sleep 600"], dict(os.environ), 1)
print("started", flush=True)
time.sleep(600)
"""


def test_a_guard_without_a_worker_ends_what_it_has_started_and_removes_the_folder(tmp_path: Path) -> None:
    """However the worker ended: here it is killed. Nobody else is told of it."""
    folder = tmp_path / "work"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", GUARDED, folder], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"started\n"
        process.kill()
        # The pipe is open for as long as one of them runs.
        assert process.stdout.read() == b""
    eventually(lambda: not folder.exists(), "the folder is removed")


def test_nothing_is_left_of_tasks_that_are_done(deployed: Deployed, worker) -> None:
    """Neither in the worker's folder while it goes on, nor the folder itself when it has ended."""
    dispatch(deployed, shards=3)
    process = worker("w1", "true")
    eventually(lambda: len(deployed.keys(layout.results("j"))) == 3, "the tasks are done")
    eventually(lambda: not list(deployed.folder.glob("trainq-*/*")), "the attempts' folders are removed")
    assert list(deployed.folder.glob("trainq-*"))
    process.end()
    assert not list(deployed.folder.glob("trainq-*"))
