"""Several tasks of one worker at once: fetched ahead, stored behind, deleted together."""

import threading
import time
from typing import Any

import pytest

from tests.helpers.counting import counting, done, left
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, run_here
from trainq.protocol import layout
from trainq.worker.attempt import Attempt
from trainq.worker.delivery import Delivery
from trainq.worker.task_queue import TaskQueue
from trainq.worker.training import TaskFailed, TrainingTask
from trainq.worker.worker import Options, Worker


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
