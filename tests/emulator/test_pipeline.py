"""Several tasks of one worker at once: fetched ahead, stored behind, deleted together, and each crash point of that."""

import dataclasses
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.standins import error
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, run_here, send_again, write
from trainq.protocol import layout, markers
from trainq.transfers import Cancel, Cancelled, TransferPool
from trainq.worker import pipeline
from trainq.worker.acknowledger import Acknowledger
from trainq.worker.attempt import Attempt
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.delivery import Delivery
from trainq.worker.signals import Interrupted
from trainq.worker.task_queue import TaskQueue
from trainq.worker.training import TaskFailed, TrainingTask, WorkerBroken
from trainq.worker.watch import Watch
from trainq.worker.worker import Options, Worker


def counting(deployed: Deployed) -> tuple[Deployed, Counter[str]]:
    """The same stack, and the requests that its clients send from now on."""
    requests: Counter[str] = Counter()

    def new_client(service: str, *rest: Any) -> Any:
        client = deployed.stack.new_client(service, *rest)
        # Such as 'before-send.sqs.ReceiveMessage'.
        client.meta.events.register(
            "before-send", lambda event_name, **other: requests.update([event_name.split(".", 1)[1]])
        )
        return client

    stack = dataclasses.replace(deployed.stack, new_client=new_client)
    counted = dataclasses.replace(deployed)
    vars(counted)["stack"] = stack
    return counted, requests


def left(deployed: Deployed) -> int:
    return deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url")


def done(deployed: Deployed) -> list[int]:
    """The tasks with results, by their numbers."""
    return sorted(deployed.read(key)["task"] for key in deployed.keys(layout.results("j")))


def test_a_short_task_costs_a_tenth_of_a_receive_a_tenth_of_a_delete_and_its_commit(deployed: Deployed) -> None:
    """No heartbeat, no look whether it is done: what it costs beside is by the second, not by the task."""
    dispatch(deployed, shards=30)
    counted, requests = counting(deployed)
    run_here(counted, lambda task: None, max_tasks=30, prefetch=10, download=False)
    assert done(deployed) == list(range(30))
    assert left(deployed) == 0
    # The one that begins may be asked for less than ten.
    assert sum(number for name, number in requests.items() if name.startswith("sqs.")) <= 0.25 * 30 + 2, requests
    assert not requests["sqs.ChangeMessageVisibilityBatch"]
    assert not requests["sqs.DeleteMessage"]
    assert 30 <= requests["s3.PutObject"] <= 33, "a result each, and a report each second"
    assert requests["s3.GetObject"] <= 15


def test_the_next_tasks_shards_come_while_one_trains(deployed: Deployed) -> None:
    dispatch(deployed, shards=2)

    def train(task: TrainingTask) -> None:
        if not waited:
            waited.append(task.task)
            shards = lambda: list(deployed.folder.glob("trainq-attempt-*/shards/d/*"))  # noqa: E731
            eventually(lambda: len(shards()) == 2, "the other task's shard is there", seconds=20)

    waited: list[int] = []
    run_here(deployed, train, max_tasks=2, prefetch=2)
    assert done(deployed) == [0, 1]


def test_a_task_is_stored_while_the_next_one_trains(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch(deployed, shards=2)
    training = threading.Event()
    store = Attempt.store

    def late(self: Attempt) -> None:
        assert training.wait(20), "the next one trains meanwhile"
        store(self)

    monkeypatch.setattr(Attempt, "store", late)
    begun: list[int] = []

    def train(task: TrainingTask) -> None:
        begun.append(task.task)
        if len(begun) == 2:
            training.set()

    run_here(deployed, train, max_tasks=2, prefetch=2)
    assert done(deployed) == [0, 1]


def test_without_prefetching_a_task_is_stored_before_the_next_is_received(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch(deployed, shards=3)
    store = Attempt.store

    def slow(self: Attempt) -> None:
        time.sleep(0.2)
        store(self)

    monkeypatch.setattr(Attempt, "store", slow)
    seen: list[int] = []
    run_here(deployed, lambda task: seen.append(len(done(deployed))), max_tasks=3)
    assert seen == [0, 1, 2]


def test_the_shards_of_a_task_need_not_be_fetched(deployed: Deployed) -> None:
    """Its function finds their keys."""
    dispatch(deployed, shards=2)
    counted, requests = counting(deployed)
    seen = []

    def train(task: TrainingTask) -> None:
        seen.append((list(task.keys), task.bucket, task.shards.exists()))

    run_here(counted, train, max_tasks=2, download=False)
    assert sorted(seen) == [([f"datasets/d/{n:03}"], deployed.stack.bucket_name, False) for n in range(2)]
    assert requests["s3.PutObject"] <= 4


@pytest.mark.parametrize("option", ["--no-download", "--backoff=1"])
def test_a_command_finds_its_shards_keys(deployed: Deployed, option: str) -> None:
    """In both modes; without the download only them."""
    dispatch(deployed)
    script = (
        "cp $TRAINQ_SHARD_LIST $TRAINQ_OUTPUT/keys; echo $TRAINQ_BUCKET >> $TRAINQ_OUTPUT/keys; ls $TRAINQ_SHARDS/d"
    )
    deployed.run_worker("w1", "sh", "-c", script + " || true", options=("--max-tasks", "1", option))
    result = deployed.read(layout.result("j", 0))
    answer = deployed.stack.s3.get_object(Bucket=deployed.stack.bucket_name, Key=result["output"] + "keys")
    assert answer["Body"].read().decode() == f"datasets/d/000\n{deployed.stack.bucket_name}\n"
    assert (result["notes"]["output_tail"] == "000\n") == (option != "--no-download")


def test_one_that_is_on_the_queue_twice_is_ended_when_its_result_is_found(deployed: Deployed) -> None:
    """A first delivery is not looked into before it begins; in the background it is, after a second."""
    dispatch(deployed)
    run_here(deployed, write("first"))
    before = deployed.read(layout.result("j", 0))
    send_again(deployed)
    ended = []

    def train(task: TrainingTask) -> None:
        try:
            time.sleep(30)
        except Interrupted:
            ended.append(task.task)
            raise

    run_here(deployed, train, name="w2")
    assert ended == [0]
    assert deployed.read(layout.result("j", 0)) == before
    (interruption,) = (deployed.read(key) for key in deployed.keys(layout.interruptions("j")))
    assert (interruption["worker"], interruption["why"]) == ("w2", "beaten")
    assert not deployed.keys(layout.failures("j"))
    assert left(deployed) == 0


def test_a_failing_task_and_one_that_is_none_do_not_hinder_those_fetched_with_them(deployed: Deployed) -> None:
    """Each of the failing one's attempts counts, and the fifth is the last."""
    dispatch(deployed, shards=6)
    deployed.stack.sqs.send_message(QueueUrl=deployed.stack.model_training_queue_url, MessageBody="no task")

    def train(task: TrainingTask) -> None:
        if task.task == 3:
            raise TaskFailed("broken")

    run_here(deployed, train, max_tasks=None, idle_exit=3, poll=3, prefetch=10, backoff=0)
    assert done(deployed) == [0, 1, 2, 4, 5]
    counts = sorted(deployed.read(key)["failures_before"] for key in deployed.keys(layout.failures("j")))
    assert counts == [0, 1, 2, 3, 4]
    assert deployed.waiting("dead_letter_queue_url") == 2
    assert left(deployed) == 0


def test_a_result_that_cannot_be_committed_leaves_the_message_for_another_delivery(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nothing that the task has done: no failure is recorded, and its neighbours get through."""
    dispatch(deployed, shards=3)
    commit = markers.commit
    refused: list[str] = []

    def refusing(s3: Any, name: str, key: str, value: dict[str, Any]) -> dict[str, Any]:
        if key == layout.result("j", 1) and not refused:
            refused.append(key)
            raise error(403, "AccessDenied")
        return commit(s3, name, key, value)

    monkeypatch.setattr(markers, "commit", refusing)
    run_here(deployed, write("x"), max_tasks=3, prefetch=3)
    assert refused
    assert done(deployed) == [0, 2]
    assert left(deployed) == 1
    run_here(deployed, write("x"), max_tasks=1, prefetch=3)
    assert done(deployed) == [0, 1, 2]
    assert deployed.read(layout.result("j", 1))["attempt_number"] == 2
    assert not deployed.keys(layout.failures("j"))
    assert left(deployed) == 0


def test_of_several_messages_only_the_lost_one_is_let_go(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of four is taken away while the first trains. The heartbeats, one request for all, tell."""
    dispatch(deployed, shards=4)
    counted, requests = counting(deployed)
    received: list[Delivery] = []
    receive = TaskQueue.receive

    def noting(self: TaskQueue, wait: int, number: int = 1) -> list[Delivery]:
        received.extend(receive(self, wait, number))
        return received

    monkeypatch.setattr(TaskQueue, "receive", noting)
    trained: list[int] = []

    def train(task: TrainingTask) -> None:
        if not trained:
            TaskQueue(deployed.stack).delete(received[2])
            before = requests["sqs.ChangeMessageVisibilityBatch"]
            eventually(lambda: requests["sqs.ChangeMessageVisibilityBatch"] > before, "a heartbeat comes", seconds=20)
            assert requests["sqs.ChangeMessageVisibilityBatch"] == before + 1
            time.sleep(0.5)
        trained.append(task.task)

    Worker(counted.stack, train, Options(name="w", folder=deployed.folder, prefetch=4, max_tasks=4)).run()
    assert len(trained) == 3
    assert done(deployed) == sorted(trained)
    assert left(deployed) == 0


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


def test_signals_are_for_the_main_thread_alone(deployed: Deployed) -> None:
    """The second of two at once is delivered to any thread that takes it, and would not wake the main one."""
    dispatch(deployed, shards=2)
    blocking: dict[str, bool] = {}

    def train(task: TrainingTask) -> None:
        for thread in threading.enumerate():
            status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
            (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
            blocking[thread.name.split("_")[0]] = bool(mask >> (signal.SIGTERM - 1) & 1)

    run_here(deployed, train, max_tasks=2, prefetch=1)
    own = ("heartbeat", "watch", "checkpoints", "acknowledger", "prepare", "store")
    assert {name: blocking[name] for name in own} == dict.fromkeys(own, True)
    assert not blocking["MainThread"]


# Deletes alone.


class Tasks:
    """A queue that refuses to delete some, or fails."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers, self.batches = list(answers), []

    def acknowledge(self, deliveries: list[Any]) -> list[str]:
        self.batches.append(list(deliveries))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class Unleased:
    lost = False

    def release(self) -> None:
        pass


def test_messages_are_deleted_ten_at_a_time_and_the_rest_at_the_end() -> None:
    tasks: Any = Tasks()
    acknowledger = Acknowledger(tasks.acknowledge, 10)
    lease: Any = Unleased()
    for number in range(23):
        acknowledger.add(number, lease)  # ty: ignore[invalid-argument-type]
    acknowledger.close()
    assert [len(batch) for batch in tasks.batches] == [10, 10, 3]
    assert [each for batch in tasks.batches for each in batch] == list(range(23))


def test_a_message_does_not_wait_long_for_others_to_be_deleted_with() -> None:
    tasks: Any = Tasks()
    acknowledger = Acknowledger(tasks.acknowledge, 10)
    lease: Any = Unleased()
    acknowledger.add("alone", lease)  # ty: ignore[invalid-argument-type]
    eventually(lambda: tasks.batches == [["alone"]], "it is deleted", seconds=10)
    acknowledger.close()


def test_a_message_that_is_not_deleted_is_told_of_and_others_are_deleted_still(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks: Any = Tasks(["InternalError for this one"], error(503, "Slow"))
    acknowledger = Acknowledger(tasks.acknowledge, 1)
    lease: Any = Unleased()
    for number in range(3):
        acknowledger.add(number, lease)  # ty: ignore[invalid-argument-type]
    acknowledger.close()
    assert tasks.batches == [[0], [1], [2]]
    assert "InternalError for this one" in caplog.text
    assert "Slow" in caplog.text


# The watch alone.


class Looked:
    """An attempt that is looked at, which takes until `answered`."""

    def __init__(self, answered: threading.Event | None = None) -> None:
        self.answered = answered
        self.looks: list[bool] = []

    def look(self, *, report: bool) -> None:
        self.looks.append(report)
        if self.answered:
            self.answered.wait(30)


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> Callable[[float], Watch]:
    def start(interval: float) -> Watch:
        made = Watch(interval)
        request.addfinalizer(made.close)
        return made

    return start


def test_one_attempts_look_puts_the_others_off_and_drops_none(watch: Callable[[float], Watch]) -> None:
    """While S3 answers the first one slowly the second begins to train, too: it must hear that its job is cancelled."""
    answered = threading.Event()
    first, second = Looked(answered), Looked()
    watched = watch(60)
    watched.begin(first)
    eventually(lambda: first.looks, "the first is looked at")
    watched.store(first)
    watched.begin(second)
    assert not second.looks
    answered.set()
    eventually(lambda: second.looks, "the second is looked at in its turn", seconds=10)


def test_the_attempt_that_trains_is_reported_and_not_one_that_is_stored(watch: Callable[[float], Watch]) -> None:
    """Or what a worker is at would be the task that it was at."""
    first, second = Looked(), Looked()
    watched = watch(0.2)
    watched.begin(first)
    eventually(lambda: len(first.looks) >= 2, "it is looked at again and again")
    assert all(first.looks)
    watched.store(first)
    watched.begin(second)
    eventually(lambda: len(second.looks) >= 2 and False in first.looks, "both are looked at", seconds=10)
    assert all(second.looks)
    watched.end(first)
    watched.end(second)


def test_a_task_that_is_only_being_stored_is_not_looked_at_before_an_interval_has_passed(
    watch: Callable[[float], Watch],
) -> None:
    """Not when its first look was due: of eight short ones at once each would cost three requests."""
    short, other = Looked(), Looked()
    watched = watch(60)
    watched.begin(other)
    eventually(lambda: other.looks, "the first look of a worker is at once")
    watched.begin(short)
    watched.store(short)
    watched.begin(other)
    eventually(lambda: len(other.looks) == 2, "the next one is looked at", seconds=10)
    assert not short.looks


def test_a_full_disk_does_not_end_the_thread_that_saves_checkpoints(tmp_path: Path) -> None:
    class Full:
        about = {"job": "j", "task": 0, "attempt": 1}  # noqa: RUF012
        tried = 0

        def save(self, folder: Path) -> bool:
            self.tried += 1
            raise OSError(28, "No space left on device")

    checkpoints: Any = Full()
    saver = CheckpointSaver(0.1)
    with saver.saving(checkpoints, TrainingTask("j", 0, 1, {}, tmp_path)):
        (tmp_path / "checkpoint-now").touch()
        eventually(lambda: checkpoints.tried >= 3, "it is tried again and again")
    saver.close()


def test_notes_that_cannot_be_written_down_are_the_tasks_failure_with_its_reason(deployed: Deployed) -> None:
    dispatch(deployed, shards=1)

    def train(task: TrainingTask) -> None:
        task.notes["loss"] = object()

    run_here(deployed, train, max_tasks=1)
    (failure,) = deployed.keys(layout.failures("j"))
    assert "not JSON serializable" in deployed.read(failure)["reason"]
    assert not deployed.keys(layout.results("j"))


def test_a_broken_workers_task_is_given_back_without_a_failure(deployed: Deployed) -> None:
    dispatch(deployed, shards=1)

    def train(task: TrainingTask) -> None:
        raise WorkerBroken("its guard is gone")

    with pytest.raises(WorkerBroken):
        run_here(deployed, train, max_tasks=1)
    (back,) = TaskQueue(deployed.stack).receive(5, 1)
    assert (back.attempt, back.failures) == (2, 0)


def test_a_task_that_has_killed_as_many_workers_as_it_may_is_not_begun(deployed: Deployed) -> None:
    """SQS counts receives of a copy from one again: what came before is on the message."""
    dispatch(deployed, shards=1)
    (delivery,) = TaskQueue(deployed.stack).receive(5, 1)
    deployed.stack.sqs.delete_message(
        QueueUrl=deployed.stack.model_training_queue_url, ReceiptHandle=delivery.receipt_handle
    )
    counted = {name: {"DataType": "Number", "StringValue": "5"} for name in ("attempts", "failures")}
    deployed.stack.sqs.send_message(
        QueueUrl=deployed.stack.model_training_queue_url, MessageBody=delivery.body, MessageAttributes=counted
    )
    begun: list[int] = []
    run_here(deployed, lambda task: begun.append(task.task), max_tasks=1)
    assert not begun
    assert deployed.waiting("dead_letter_queue_url") == 1
    assert left(deployed) == 0


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
