"""Runs one attempt and its settlement in memory."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from trainq.protocol import layout
from trainq.protocol.messages import Task
from trainq.testing import _Store
from trainq.worker.attempt import Attempt, Workplace
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.delivery import Delivery
from trainq.worker.outcome import Outcome
from trainq.worker.settlement import Settlement
from trainq.worker.signals import Interruption
from trainq.worker.training import TrainingTask

TASK = Task(job_id="j", task=0, tasks=1, shards=["datasets/d/0"], parameters={})
MOST = 5


class Lease:
    lost = released = False

    def attach(self, on_end: Callable[..., object]) -> None:
        self.on_end = on_end

    def release(self) -> None:
        self.released = True

    def is_held(self) -> bool:
        return not self.lost


class Jobs:
    """Stands in for a JobCache: gives the same answer for all jobs."""

    def __init__(self, answer: bool = False) -> None:
        self.answer = answer

    def get(self, job_id: str, s3: Any = None) -> bool:
        return self.answer


class Queue:
    """Stands in for TaskQueue and Acknowledger: records their calls in order. `fault`: raised by each call."""

    max_failures, timeout = MOST, 30

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.fault: Exception | None = None

    def _note(self, *what: Any) -> None:
        if self.fault:
            raise self.fault
        self.done.append(what)

    def add(self, delivery: Delivery, lease: Lease) -> None:
        assert not lease.released, "the acknowledger keeps the lease until the message is deleted"
        self._note("acknowledge")

    def retry(self, delivery: Delivery, seconds: int) -> None:
        self._note("retry")

    def release(self, delivery: Delivery, *, counted: bool) -> None:
        self._note("release", counted)

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        self._note("dead-letter", reason)


class World:
    """One attempt with its settlement, stand-ins and folder."""

    def __init__(self, folder: Path, *, failures: int = 0, again: bool = False) -> None:
        self.store = _Store({"datasets/d/0": b"shard"})
        self.lease: Any = Lease()
        self.cancelled, self.queue = Jobs(), Queue()
        self.interruption, self.saver = Interruption(), CheckpointSaver(None)
        asked: Any = self.queue
        self.settlement = Settlement(asked, asked, "w", backoff=10)
        self.delivery = Delivery(
            message_id="m",
            receipt_handle="r",
            body=TASK.to_json(),
            attempt=failures + 1,
            failures=failures,
            received=0.0,
            again=again,
        )
        pool: Any = self.store
        cancelled: Any = self.cancelled
        checkpointed: Any = Jobs()
        at = Workplace(
            worker="w",
            folder=folder,
            pool=pool,
            heartbeat_s3=self.store,
            interruption=self.interruption,
            cancelled=cancelled,
            checkpointed=checkpointed,
            saver=self.saver,
            download=True,
            max_failures=MOST,
        )
        self.attempt = Attempt(at, TASK, self.delivery, self.lease)

    def prepare(self) -> None:
        self.attempt.prepared = Future()
        self.attempt.prepare()
        self.attempt.prepared.set_result(None)

    def run(self, train: Callable[[TrainingTask], object] = lambda task: None) -> None:
        """Prepare, train, store and settle the attempt, as the pipeline does."""
        self.prepare()
        self.interruption.begin_task(self.attempt)
        if self.attempt.begin():
            self.attempt.train(train, insist=False)  # ty: ignore[invalid-argument-type]
        self.interruption.begin_task()
        if self.attempt.outcome is None:
            self.attempt.store()
        self.settlement.settle(self.attempt)

    def records(self, prefix: str) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.store.below(prefix).values()]

    @property
    def whys(self) -> list[str]:
        return [each["why"] for each in self.records(layout.interruptions("j"))]

    @property
    def failures(self) -> list[str]:
        return [each["reason"] for each in self.records(layout.failures("j"))]


def raising(error: BaseException) -> Callable[[TrainingTask], None]:
    def train(task: TrainingTask) -> None:
        (task.checkpoint / "state").write_text("far")
        (task.output / "half").write_text("half")
        raise error

    return train


def ending(world: World, outcome: Outcome) -> Callable[[TrainingTask], None]:
    """Return a training function during which another thread ends the attempt. It is not interrupted, and returns."""

    def train(task: TrainingTask) -> None:
        (task.checkpoint / "state").write_text("far")
        thread = threading.Thread(target=world.lease.on_end, args=(outcome, "because"))
        thread.start()
        thread.join()

    return train


def checkpoints(world: World) -> list[str]:
    return [key for key in world.store.objects if key.startswith(layout.all_checkpoints("j")) and key.endswith("state")]
