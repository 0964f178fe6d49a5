"""Tests your own training function without AWS: runs one attempt in memory, as a worker does.

from trainq.testing import run

result = run(train, shards={"corpus/1.txt": "text"}, parameters={"lr": 0.1})
assert result.failure is None
assert "model.json" in result.output
"""

import io
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from trainq.protocol import layout
from trainq.protocol.messages import Task
from trainq.transfers import Cancel
from trainq.worker.attempt import Attempt, Workplace
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.delivery import Delivery
from trainq.worker.outcome import Outcome
from trainq.worker.signals import Interruption
from trainq.worker.training import Train

__all__ = ["Result", "run"]

Files = Mapping[str, bytes | str]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of an attempt.

    `outcome`: COMPLETED, FAILED or, if it was interrupted, SHUTDOWN. `output`: the files of the task's result, by name;
    empty unless it is completed. `notes`: `TrainingTask.notes`. `failure`: the reason, if it failed. `checkpoint`: the
    files that the next attempt would find; pass them to `run` to continue.
    """

    outcome: Outcome
    output: dict[str, bytes]
    notes: dict[str, Any]
    failure: str | None
    checkpoint: dict[str, bytes]


def run(
    train: Train,
    *,
    shards: Files,
    parameters: dict[str, Any] | None = None,
    checkpoint: Files | None = None,
    task: int = 0,
    tasks: int = 1,
    interrupt_after: float | None = None,
    interrupt_training: bool = True,
) -> Result:
    """Run one attempt of the training function and return its result.

    `shards`: the shards' contents by their keys without 'datasets/'. `checkpoint`: the files that an earlier attempt
    has saved. `task`, `tasks`: the task's number and the number of tasks. `interrupt_after`: seconds until the worker
    is told to stop, as by a spot notice. `interrupt_training`: raise Interrupted in the function then, as
    `Options.interrupt_training`; in a thread other than the main thread nothing is raised.
    """
    store = _Store({layout.DATASETS + name: _bytes(content) for name, content in shards.items()})
    message = Task(
        job_id="test",
        task=task,
        tasks=tasks,
        shards=[layout.DATASETS + name for name in shards],
        parameters=parameters or {},
    )
    with tempfile.TemporaryDirectory(prefix="trainq-testing-") as folder, Interruption() as interruption:
        if checkpoint is not None:
            _save(store, Path(folder), task, checkpoint)
        saver = CheckpointSaver(None)
        try:
            attempt = _attempt(store, Path(folder), message, interruption, saver)
            attempt.prepared = Future()
            attempt.prepare()
            attempt.prepared.set_result(None)
            interruption.begin_task(attempt)
            stop = threading.Timer(interrupt_after or 0, interruption.request_stop, [1])
            if interrupt_after is not None:
                stop.start()
            if attempt.begin():
                attempt.train(train, insist=not interrupt_training)
            stop.cancel()
            interruption.begin_task()
            if attempt.outcome is None:
                attempt.store()
            attempt.keep()
        finally:
            saver.close()
        assert attempt.outcome
        return Result(
            outcome=attempt.outcome,
            output=store.below(attempt.record.output) if attempt.outcome is Outcome.COMPLETED else {},
            notes=attempt.notes,
            failure=attempt.reason if attempt.outcome is Outcome.FAILED else None,
            checkpoint=store.newest_checkpoint(task),
        )


def _attempt(store: "_Store", folder: Path, task: Task, interruption: Interruption, saver: CheckpointSaver) -> Attempt:
    pool: Any = store
    never: Any = _Never()
    delivery = Delivery(
        message_id="test", receipt_handle="test", body=task.to_json(), attempt=2, failures=0, received=0.0, again=False
    )
    at = Workplace(
        worker="test",
        folder=folder,
        pool=pool,
        heartbeat_s3=store,
        interruption=interruption,
        cancelled=never,
        checkpointed=never,
        saver=saver,
        download=True,
        max_failures=5,
    )
    return Attempt(at, task, delivery, never)


def _save(store: "_Store", folder: Path, task: int, files: Files) -> None:
    """Save a checkpoint as that of an earlier attempt."""
    pool: Any = store
    before = folder / "before"
    for name, content in files.items():
        (before / name).parent.mkdir(parents=True, exist_ok=True)
        (before / name).write_bytes(_bytes(content))
    if files:
        Checkpoints(pool, "test", task, 1, "0" * 32, restored=True).save(before)


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _refused(status: int, code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Call")


class _Never:
    """Stands in for a lease that is never lost, and for a `JobCache` that answers False."""

    lost = False

    def attach(self, on_end: Callable[..., object]) -> None:
        pass

    def is_held(self) -> bool:
        return True

    def get(self, job_id: str, s3: Any = None) -> bool:
        return False


class _Store:
    """Stands in, in memory, for the S3 client and the TransferPool, with the calls that an attempt makes."""

    bucket = "test"

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.s3 = self

    def below(self, prefix: str) -> dict[str, bytes]:
        return {key.removeprefix(prefix): body for key, body in self.objects.items() if key.startswith(prefix)}

    def newest_checkpoint(self, task: int) -> dict[str, bytes]:
        prefix = layout.checkpoints("test", task)
        names = [name for name in self.below(prefix) if "/" not in name]
        return self.below(f"{prefix}{names[-1].removesuffix('.json')}/") if names else {}

    def download(self, files: Iterable[tuple[str, Path]], cancel: Cancel | None = None) -> None:
        for key, path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get_object(self.bucket, key)["Body"].read())

    def upload(self, files: Iterable[tuple[Path, str]], cancel: Cancel | None = None) -> None:
        for path, key in files:
            self.objects[key] = path.read_bytes()

    def get_object(self, Bucket: str, Key: str, **other: Any) -> dict[str, Any]:
        if Key not in self.objects:
            raise _refused(404, "NoSuchKey")
        return {"Body": io.BytesIO(self.objects[Key]), "ContentLength": len(self.objects[Key])}

    def put_object(self, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "", **other: Any) -> None:
        if IfNoneMatch and Key in self.objects:
            raise _refused(412, "PreconditionFailed")
        self.objects[Key] = Body

    def get_paginator(self, name: str) -> "_Store":
        return self

    def paginate(self, Prefix: str, **other: Any) -> Iterator[dict[str, Any]]:
        names = (name for name in self.below(Prefix) if "/" not in name)
        # Dated in the order in which they were stored.
        dated = ((datetime.fromtimestamp(second, UTC), name) for second, name in enumerate(names))
        yield {"Contents": [{"Key": Prefix + name, "LastModified": date} for date, name in dated]}
