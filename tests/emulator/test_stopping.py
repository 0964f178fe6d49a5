"""Requests to stop: one, two, of a fleet, of a service manager."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from local.workers import running
from tests.helpers.counting import done, left
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, insist, run_here, started, write
from trainq.protocol import layout
from trainq.transfers import Cancel, Cancelled, TransferPool
from trainq.worker import pipeline
from trainq.worker.attempt import Attempt
from trainq.worker.task_queue import TaskQueue
from trainq.worker.training import TrainingTask


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


def test_a_task_that_is_completed_when_the_worker_is_stopped_is_committed(slow: Deployed, request: Any) -> None:
    dispatch(slow)
    script = "trap 'touch $TRAINQ_DONE; exit 0' TERM; echo whole > $TRAINQ_OUTPUT/model; sleep 600 & wait"
    process = slow.worker("w1", "sh", "-c", script)
    request.addfinalizer(process.kill)
    eventually(lambda: list(slow.folder.glob("trainq-*/*/output/model")), "the task runs")
    assert process.end() == 0
    assert [each["path"] for each in slow.read(layout.result("j", 0))["files"]] == ["model"]
    assert left(slow) == 0


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


def test_prefetched_tasks_that_were_not_begun_go_back_without_having_counted(slow: Deployed, request: Any) -> None:
    dispatch(slow, shards=4)
    process = slow.worker("w1", "sleep", "600", options=("--prefetch", "4"))
    request.addfinalizer(process.kill)
    eventually(lambda: started(process), "the first task runs")
    process.end()
    (begun, *others) = sorted((each.attempt, each.failures) for each in TaskQueue(slow.stack).receive(5, 10))[::-1]
    assert begun == (2, 0)
    assert others == [(1, 0)] * 3


def test_a_worker_that_is_told_to_stop_stores_what_it_has_trained(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three tasks one is being stored, one trains, one waits: done, handed over, and given back as it was."""
    dispatch(deployed, shards=3)
    told = threading.Event()
    store = Attempt.store

    def slow(self: Attempt) -> None:
        assert told.wait(20)
        time.sleep(0.5)
        store(self)

    monkeypatch.setattr(Attempt, "store", slow)
    begun: list[int] = []

    def train(task: TrainingTask) -> None:
        begun.append(task.task)
        if len(begun) == 2:
            told.set()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    run_here(deployed, train, max_tasks=3, prefetch=3)
    assert done(deployed) == begun[:1]
    back = sorted((each.attempt, each.failures) for each in TaskQueue(deployed.stack).receive(5, 10))
    assert back == [(1, 0), (2, 0)]
    assert left(deployed) == 2


def test_what_takes_too_long_to_store_when_the_worker_stops_is_handed_over_with_its_checkpoint(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch(deployed)
    monkeypatch.setattr(pipeline, "STORE_SECONDS", 0.5)
    store = TransferPool._store
    cancelled: list[str] = []

    def stuck(self: TransferPool, key: str, path: Path, cancel: Cancel, metadata: dict[str, str]) -> None:
        if "/attempts/" not in key:
            store(self, key, path, cancel, metadata)
            return
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(lambda: cancel.called, "it is cancelled", seconds=20)
        cancelled.append(key)
        raise Cancelled

    monkeypatch.setattr(TransferPool, "_store", stuck)

    def train(task: TrainingTask) -> None:
        (task.checkpoint / "state").write_text("far")
        write("model")(task)

    run_here(deployed, train)
    assert cancelled
    assert not done(deployed)
    (back,) = TaskQueue(deployed.stack).receive(5, 10)
    assert (back.attempt, back.failures) == (2, 0)
    assert any(key.endswith("/state") for key in deployed.keys(layout.checkpoints("j", 0)))


def test_a_worker_that_stops_fetches_no_more_ahead_of_the_checkpoint(deployed: Deployed) -> None:
    """The shards of nine tasks that will not be begun, six slow ones each, would come first."""
    dispatch(deployed, shards=60, shards_per_task=6)
    fetched: Counter[str] = Counter()
    stack = deployed.stack
    get_object = stack.s3.get_object
    began = threading.Event()

    def slow(**asked: Any) -> Any:
        fetched.update(["after" if began.is_set() else "before"])
        if "datasets/" in asked["Key"]:
            time.sleep(0.2)
        return get_object(**asked)

    stack.s3.get_object = slow

    def train(task: TrainingTask) -> None:
        for name in ("model", "optimizer"):
            (task.checkpoint / name).write_text(name)
        began.set()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    try:
        run_here(deployed, train, max_tasks=None, prefetch=10)
    finally:
        del stack.s3.get_object
    assert deployed.keys(layout.all_checkpoints("j"))
    assert fetched["after"] <= 15, "those under way end, and hardly another begins"
