"""Machines that disappear: interruptions, checkpoints, the 12-hour wall, lost leases, cancelled jobs."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from local.deploy import deploy
from local.emulator import Emulator
from local.standins import error
from local.workers import running
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, insist, run_here, started, write
from trainq.client.jobs import cancel
from trainq.protocol import layout
from trainq.transfers import TransferPool
from trainq.worker import leases as lease_module
from trainq.worker import signals as interruption_module
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.leases import Lease, Leases, now
from trainq.worker.outcome import Outcome
from trainq.worker.signals import Interrupted, Interruption, StopRequests
from trainq.worker.task_queue import TaskQueue
from trainq.worker.training import TaskFailed, TrainingTask

# Counts to TRAINQ_TEST_STEPS, a tenth of a second each, from where its checkpoint is; saves it when told to end. Notes
# each start, with the step it begins at.
STEPS = """
import os, pathlib, signal, sys, time
checkpoint, output = (pathlib.Path(os.environ[name]) for name in ("TRAINQ_CHECKPOINT", "TRAINQ_OUTPUT"))
step = int((checkpoint / "step").read_text()) if (checkpoint / "step").exists() else 0
with open(os.environ["TRAINQ_TEST_LOG"], "a") as log:
    log.write(f"{step}\\n")
def save(*_):
    (checkpoint / "step.new").write_text(str(step))
    (checkpoint / "step.new").rename(checkpoint / "step")
def end(*_):
    save()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while step < int(os.environ["TRAINQ_TEST_STEPS"]):
    time.sleep(0.1)
    step += 1
    if os.environ.get("TRAINQ_TEST_SAVE") == str(step):
        save()
        pathlib.Path(os.environ["TRAINQ_CHECKPOINT_NOW"]).touch()
(output / "steps").write_text(str(step))
"""


def steps(folder: Path, count: int, save: int = 0) -> list[str]:
    """The command that counts, with its environment."""
    program = folder / "steps.py"
    program.write_text(STEPS)
    log = folder / "steps.log"
    log.touch()
    settings = [f"TRAINQ_TEST_STEPS={count}", f"TRAINQ_TEST_LOG={log}", f"TRAINQ_TEST_SAVE={save}"]
    return ["env", *settings, "python3", str(program)]


def starts(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "steps.log").read_text().splitlines()]


@pytest.fixture
def slow(emulator: Emulator, tmp_path: Path) -> Deployed:
    """A stack in which nothing comes back by itself for ten minutes."""
    return Deployed(
        emulator, deploy(emulator, tmp_path / "stack.json", model_training_visibility_timeout=600), tmp_path
    )


def test_an_interrupted_task_goes_on_elsewhere_from_its_checkpoint(slow: Deployed, request: Any) -> None:
    """Within seconds, under a visibility timeout of minutes; and the interruption counts as no failure."""
    dispatch(slow)
    command = steps(slow.folder, 30)
    first = slow.worker("first", *command)
    request.addfinalizer(first.kill)
    eventually(lambda: starts(slow.folder), "the command runs")
    time.sleep(0.5)
    first.process.terminate()
    assert first.process.wait(20) == 0
    ended = time.monotonic()
    second = slow.worker("second", *command)
    request.addfinalizer(second.kill)
    eventually(lambda: len(starts(slow.folder)) == 2, "the task runs on the other worker")
    assert time.monotonic() - ended < 5
    eventually(lambda: slow.keys(layout.results("j")), "the task is done")
    assert starts(slow.folder)[1] > 0, "it went on from the checkpoint"
    result = slow.read(layout.result("j", 0))
    assert (result["attempt_number"], result["failures_before"], result["worker"]) == (2, 0, "second")
    eventually(lambda: slow.in_flight("model_training_queue_url") == 0, "the message is deleted")
    (ended_early,) = (slow.read(key) for key in slow.keys(layout.interruptions("j")))
    assert (ended_early["why"], ended_early["worker"]) == ("stop", "first")
    assert not slow.keys(layout.failures("j"))


def test_a_task_longer_than_sqs_hides_a_message_completes_across_several(deployed: Deployed, worker: Any) -> None:
    """The 12-hour wall, at 3 s (60 s of work and a wall of 15 s in `make chaos`)."""
    total, wall = (600, 15) if os.environ.get("TRAINQ_LONG") else (100, 3)
    dispatch(deployed)
    process = worker("w1", *steps(deployed.folder, total), options=("--max-hold", str(wall)))
    eventually(lambda: deployed.keys(layout.results("j")), "the task is done", seconds=120)
    process.end()
    begun = starts(deployed.folder)
    assert len(begun) >= 4, "it was carried across at least three messages"
    assert begun == sorted(set(begun)), "each time from further on"
    result = deployed.read(layout.result("j", 0))
    assert result["attempt_number"] == len(begun)
    assert result["failures_before"] == 0
    whys = {deployed.read(key)["why"] for key in deployed.keys(layout.interruptions("j"))}
    assert whys == {"wall"}
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0


def test_a_checkpoint_saved_on_request_survives_a_kill(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed)
    first = worker("first", *steps(deployed.folder, 300, save=5))
    key = layout.checkpoints("j", 0)
    eventually(lambda: any(each.endswith(".json") for each in deployed.keys(key)), "the checkpoint is saved")
    first.kill()
    deployed.run_worker("second", *steps(deployed.folder, 8), options=("--max-tasks", "1"))
    assert starts(deployed.folder)[-1] == 5
    assert deployed.keys(layout.results("j"))


def test_checkpoints_are_saved_at_intervals(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed)
    script = "cd $TRAINQ_CHECKPOINT; while :; do date +%N > new; mv new state; sleep 0.2; done"
    worker("w1", "sh", "-c", script, options=("--checkpoint-every", "1"))

    def complete() -> list[str]:
        return [key for key in deployed.keys(layout.checkpoints("j", 0)) if key.count("/") == 4]

    eventually(lambda: len(complete()) >= 2, "two checkpoints are saved")


def test_when_training_has_ended_no_checkpoint_is_being_saved(tmp_path: Path) -> None:
    """What is under way comes to its end first: its files are about to be removed."""
    saves: list[str] = []
    begun = threading.Event()

    class Slow:
        saved = 1

        def save(self, folder: Path) -> bool:
            begun.set()
            time.sleep(0.3)
            saves.append(folder.name)
            return True

    slow: Any = Slow()
    task = TrainingTask("j", 0, 1, {}, tmp_path)
    saver = CheckpointSaver(None)
    with saver.saving(slow, task):
        task.checkpoint_now.touch()
        assert begun.wait(10), "it is asked for"
    assert saves == ["checkpoint"]
    saver.close()


def checkpoints(deployed: Deployed, number: int, attempt: str) -> Checkpoints:
    pool = TransferPool(deployed.stack.s3, deployed.stack.bucket_name)
    return Checkpoints(pool, "j", 0, number, attempt * 32)


def test_the_newest_complete_checkpoint_is_the_latest_attempts(deployed: Deployed, tmp_path: Path) -> None:
    """Not the one that was written last: a worker that had lost its task may come back with an old state. One whose
    marker is missing does not count."""
    folders = {name: tmp_path / name for name in ("old", "new", "late", "restored")}
    for name, folder in folders.items():
        folder.mkdir()
        if name != "restored":
            (folder / "deep").mkdir()
            (folder / "deep" / "state").write_text(name)
    old = checkpoints(deployed, 1, "a")
    assert not old.save(folders["old"]), "what has not been restored to the end is not worth keeping"
    old.restored = True
    assert old.save(folders["old"])
    assert not old.save(folders["old"]), "nothing has changed"
    new = checkpoints(deployed, 2, "b")
    new.restored = True
    assert new.save(folders["new"])
    assert old.save(folders["late"])
    broken = layout.checkpoints("j", 0) + f"000009-000001-{'c' * 32}/state"
    deployed.stack.s3.put_object(Bucket=deployed.stack.bucket_name, Key=broken, Body=b"half")
    third = checkpoints(deployed, 3, "d")
    assert third.restore(folders["restored"]) == f"000002-000001-{'b' * 32}"
    assert (folders["restored"] / "deep" / "state").read_text() == "new"
    assert not third.save(folders["restored"]), "what was restored is stored already"
    redriven = checkpoints(deployed, 1, "e")
    shutil.rmtree(folders["restored"])
    folders["restored"].mkdir()
    assert redriven.restore(folders["restored"])
    assert redriven.attempt_number == 3, "it counts from 1 again, and must not stand behind what is there"
    (folders["restored"] / "temporary").symlink_to("gone")
    with pytest.raises(ValueError, match="temporary"):
        redriven.save(folders["restored"])
    (folders["restored"] / "temporary").unlink()
    (folders["restored"] / "more").write_text("x")
    assert redriven.save(folders["restored"]), "one that failed does not stand in the way of the next"


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


def test_a_second_signal_does_not_wait_for_the_grace_period(slow: Deployed, request: Any) -> None:
    dispatch(slow)
    process = slow.worker("w1", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    request.addfinalizer(process.kill)
    mark = f"TRAINQ_OUTPUT={slow.folder}"
    eventually(lambda: len(running(mark)) == 2, "the command runs, and ignores SIGTERM")
    insist(process)
    assert "the command has up to 90 s to end" in process.log.read_text()
    assert not running(mark)
    assert slow.waiting("model_training_queue_url") == 1


# Takes a second to save its checkpoint, which a second request to stop would not let it have.
SAVES = """
trap 'sleep 1; echo saved > $TRAINQ_CHECKPOINT/state; exit 1' TERM
touch $TRAINQ_CHECKPOINT/ready
sleep 600 & wait
"""


@pytest.mark.parametrize("gap", [0.0, 0.0003, 0.02])
@pytest.mark.parametrize("first", ["the fleet", "its workers"])
def test_a_stop_that_reaches_fleet_and_workers_alike_is_one_request(
    slow: Deployed, request: Any, first: str, gap: float
) -> None:
    """A service manager signals every process of its unit, and the fleet passes on what it has heard."""
    dispatch(slow, shards=2)
    fleet = slow.worker("fleet", "sh", "-c", SAVES, options=("--concurrency", "2"))
    request.addfinalizer(fleet.kill)
    eventually(lambda: len(list(slow.folder.glob("trainq-*/*/checkpoint/ready"))) == 2, "both tasks run")
    everyone = fleet.fleet if first == "the fleet" else fleet.fleet[::-1]
    assert len(everyone) == 3
    for pid in everyone:
        os.kill(pid, signal.SIGTERM)
        time.sleep(gap)
    assert fleet.process.wait(30) == 0, fleet.log.read_text()
    saved = [key for task in (0, 1) for key in slow.keys(layout.checkpoints("j", task)) if key.endswith("/state")]
    assert len(saved) == 2, fleet.log.read_text()
    eventually(lambda: slow.waiting("model_training_queue_url") == 2, "both tasks are given back", seconds=5)


def test_an_impatient_person_ends_a_fleets_commands_at_once(slow: Deployed, request: Any) -> None:
    """Each worker hears of the second request from the fleet alone."""
    dispatch(slow, shards=2)
    fleet = slow.worker("fleet", "sh", "-c", "trap '' TERM; while :; do sleep 1; done", options=("--concurrency", "2"))
    request.addfinalizer(fleet.kill)
    mark = f"TRAINQ_OUTPUT={slow.folder}"
    eventually(lambda: len(running(mark)) >= 4, "both commands run, and ignore SIGTERM")
    insist(fleet)
    assert not running(mark)
    assert slow.waiting("model_training_queue_url") == 2


def test_a_second_request_is_one_that_comes_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the first one came from."""
    clock = [100.0]
    monkeypatch.setattr(interruption_module.time, "monotonic", lambda: clock[0])
    for begin in (StopRequests.ask, lambda stop: stop.hear(1)):
        stop = StopRequests()
        levels = []
        begin(stop)
        for seconds in (0.0, 0.001, 0.9, 0.2):
            clock[0] += seconds
            stop.ask()
            levels.append(stop.level)
        assert levels == [1, 1, 1, 2]
    stop = StopRequests()
    stop.hear(2)
    stop.hear(1)
    assert stop.level == 2


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


# The lease alone, with an SQS that fails.


class Heartbeats:
    """Answers what it is told to: raises an error, or refuses the messages that are named, with a code."""

    def __init__(self, *answers: Exception | dict[str, str] | None) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, int]] = []

    @property
    def calls(self) -> list[int]:
        """The timeouts, where there is but one message."""
        return [timeout for request in self.requests for timeout in request.values()]

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.requests.append({each["ReceiptHandle"]: each["VisibilityTimeout"] for each in Entries})
        assert len(Entries) <= 10
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        failed = (
            [
                {"Id": each["Id"], "Code": answer[each["ReceiptHandle"]]}
                for each in Entries
                if each["ReceiptHandle"] in answer
            ]
            if answer
            else []
        )
        return {"Failed": failed}


@pytest.fixture
def leases(request: pytest.FixtureRequest):
    """Starts keepers of leases that do not outlive the test."""

    def start(heartbeats: Heartbeats, timeout: int = 1) -> Leases:
        made = Leases(heartbeats, "q", timeout)
        request.addfinalizer(made.close)
        return made

    return start


def begun(made: Leases, handle: str = "r", *, max_hold: float = 1e6) -> tuple[Lease, list[Outcome]]:
    """A lease of a message that is worked on, and what it says of its end."""
    said: list[Outcome] = []
    held = made.hold(handle, received=now(), max_hold=max_hold)
    held.attach(lambda outcome, reason: said.append(outcome))
    return held, said


def test_a_lost_heartbeat_is_made_up_for(leases: Any) -> None:
    heartbeats = Heartbeats(TimeoutError(), None)
    held, said = begun(leases(heartbeats))
    eventually(lambda: len(heartbeats.calls) >= 3, "the heartbeat goes on", seconds=5)
    assert not held.lost
    assert not said


def test_heartbeats_that_all_fail_lose_the_lease_when_the_timeout_has_passed(leases: Any) -> None:
    held, said = begun(leases(Heartbeats(*[ConnectionError()] * 100)))
    eventually(lambda: said == [Outcome.LEASE_LOST], "the loss is noticed", seconds=5)
    assert now() >= held.expires


def test_a_message_that_sqs_says_is_anothers_is_lost_at_once(leases: Any) -> None:
    held, said = begun(leases(Heartbeats(error(400, "AWS.SimpleQueueService.MessageNotInflight")), timeout=3))
    eventually(lambda: said == [Outcome.LEASE_LOST], "the loss is noticed", seconds=5)
    assert now() < held.expires


def test_the_heartbeats_of_all_messages_go_out_in_one_request(leases: Any) -> None:
    """Also when they were received at somewhat different times: those that are nearly due go with the others."""
    heartbeats = Heartbeats()
    made = leases(heartbeats)
    for number in range(10):
        made.hold(f"r{number}", received=now() - number / 100, max_hold=1e6)
    eventually(lambda: len(heartbeats.requests) >= 2, "heartbeats go on", seconds=5)
    assert [set(each) for each in heartbeats.requests] == [{f"r{number}" for number in range(10)}] * 2


def test_more_than_ten_messages_are_kept_too(leases: Any) -> None:
    heartbeats = Heartbeats()
    made = leases(heartbeats)
    received = now()
    held = [made.hold(f"r{number}", received=received, max_hold=1e6) for number in range(13)]
    eventually(lambda: all(each.expires > received + 1 for each in held), "all are extended", seconds=5)
    assert [len(each) for each in heartbeats.requests[:2]] == [10, 3]


def test_a_message_that_is_refused_in_a_batch_is_lost_alone(leases: Any) -> None:
    """And one that SQS could not see to just now is tried again soon."""
    heartbeats = Heartbeats({"lost": "ReceiptHandleIsInvalid", "later": "InternalError"})
    made = leases(heartbeats, timeout=3)
    held = {handle: begun(made, handle) for handle in ("kept", "lost", "later")}
    eventually(lambda: len(heartbeats.requests) >= 2, "a second request", seconds=5)
    assert {handle: lease.lost for handle, (lease, _) in held.items()} == {"kept": False, "lost": True, "later": False}
    assert [said for _, said in held.values()] == [[], [Outcome.LEASE_LOST], []]
    assert set(heartbeats.requests[1]) == {"later"}
    assert held["later"][0].expires > held["later"][0].received + 3


def test_what_is_done_with_within_a_third_of_the_timeout_costs_no_heartbeat(leases: Any) -> None:
    """One after the other for several timeouts, always one in flight."""
    heartbeats = Heartbeats()
    made = leases(heartbeats)
    until = now() + 2.5
    while now() < until:
        held, _ = begun(made)
        time.sleep(0.1)
        held.release()
    assert not heartbeats.requests


def test_no_heartbeat_asks_for_more_than_twelve_hours_from_the_receive(
    leases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS refuses it: 'Total VisibilityTimeout for the message is beyond the limit'. Here they are 3.5 seconds."""
    assert lease_module.MAX_HIDDEN_SECONDS <= 12 * 3600
    monkeypatch.setattr(lease_module, "MAX_HIDDEN_SECONDS", 3.5)
    heartbeats = Heartbeats()
    held, said = begun(leases(heartbeats, timeout=3))
    eventually(lambda: heartbeats.calls, "a heartbeat comes", seconds=5)
    assert heartbeats.calls[0] == 2, "a second after the receive there are two whole ones left"
    eventually(lambda: said == [Outcome.LEASE_LOST], "the end of what SQS allows is noticed", seconds=5)
    assert held.lost


def test_the_wall_is_said_once_and_heartbeats_go_on_while_the_task_is_wound_up(leases: Any) -> None:
    heartbeats = Heartbeats()
    _, said = begun(leases(heartbeats), max_hold=0.2)
    eventually(lambda: len(heartbeats.calls) >= 3, "heartbeats go on", seconds=5)
    assert said == [Outcome.HOLD_LIMIT]


def test_no_heartbeat_comes_after_the_lease_has_ended(leases: Any) -> None:
    """It would hide a message again that was given back; one that is under way comes to its end first."""
    answering, answered = threading.Event(), threading.Event()

    class Slow(Heartbeats):
        def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
            answering.set()
            time.sleep(0.3)
            answered.set()
            return super().change_message_visibility_batch(QueueUrl, Entries)

    heartbeats = Slow()
    held, _ = begun(leases(heartbeats))
    assert answering.wait(5), "a heartbeat comes"
    held.release()
    assert answered.is_set()
    before = len(heartbeats.calls)
    time.sleep(1)
    assert len(heartbeats.calls) == before


# Interruption alone.


def test_another_thread_ends_what_the_main_thread_waits_for() -> None:
    with Interruption() as interruption:
        threading.Timer(0.1, interruption.interrupt, [Outcome.LEASE_LOST]).start()
        began = time.monotonic()
        with pytest.raises(Interrupted) as raised:
            interruption.allow(time.sleep, 30)
        assert raised.value.outcome is Outcome.LEASE_LOST
        assert time.monotonic() - began < 10
        interruption.begin_task()
        assert interruption.allow(lambda: "next") == "next", "the next task has nothing to do with it"


def test_what_may_not_be_interrupted_is_not() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert interruption.requested
        with pytest.raises(Interrupted):
            interruption.allow(lambda: pytest.fail("begun after the signal"))


def test_what_comes_while_signals_are_held_is_raised_at_the_end() -> None:
    reached = []

    def work(interruption: Interruption) -> None:
        with interruption.held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            reached.append("end of what was held")
        reached.append("beyond")

    with Interruption() as interruption, pytest.raises(Interrupted):
        interruption.allow(work, interruption)
    assert reached == ["end of what was held"]


def test_what_is_due_before_the_work_begins_is_said_when_it_does(leases: Any) -> None:
    """A prefetched task may have waited past its wall."""
    said: list[Outcome] = []
    held = leases(Heartbeats()).hold("r", received=now(), max_hold=0.0)
    eventually(lambda: held._ended, "the limit is reached", seconds=5)
    held.attach(lambda outcome, reason: said.append(outcome))
    assert said == [Outcome.HOLD_LIMIT]


def test_an_end_that_comes_too_late_is_not_for_the_next_task() -> None:
    with Interruption() as interruption:
        interruption.begin_task("first")
        interruption.begin_task("second")
        interruption.interrupt(Outcome.LEASE_LOST, "first")
        assert interruption.allow(lambda: "goes on") == "goes on"
        interruption.interrupt(Outcome.HOLD_LIMIT, "second")
        with pytest.raises(Interrupted):
            interruption.allow(lambda: None)


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


# Prefetched tasks.


def test_prefetched_tasks_are_kept_while_others_run_and_each_is_done_once(deployed: Deployed, worker: Any) -> None:
    """The last of five waits for longer than the visibility timeout; another worker gets none of them."""
    dispatch(deployed, shards=5)
    first = worker("first", "sleep", "1.5", options=("--prefetch", "5", "--max-tasks", "5"))
    eventually(lambda: deployed.in_flight("model_training_queue_url") == 5, "it has taken all five")
    second = worker("second", "true")
    assert first.process.wait(30) == 0
    second.end()
    second.follow()
    assert not second.events
    assert len(deployed.keys(layout.results("j"))) == 5
    attempts = {deployed.read(key)["attempt_number"] for key in deployed.keys(layout.results("j"))}
    assert attempts == {1}


def test_prefetched_tasks_that_were_not_begun_go_back_without_having_counted(slow: Deployed, request: Any) -> None:
    dispatch(slow, shards=4)
    process = slow.worker("w1", "sleep", "600", options=("--prefetch", "4"))
    request.addfinalizer(process.kill)
    eventually(lambda: started(process), "the first task runs")
    process.end()
    (begun, *others) = sorted((each.attempt, each.failures) for each in TaskQueue(slow.stack).receive(5, 10))[::-1]
    assert begun == (2, 0)
    assert others == [(1, 0)] * 3
