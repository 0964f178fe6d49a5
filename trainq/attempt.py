"""One delivery of one task: download, train, upload, commit.

What survives a crash at each point:

- before the marker is written: the message comes back after its visibility timeout and another attempt does the work;
  what this one uploaded lies under a prefix of its own that no marker names.
- after the marker, before the message is deleted: the message comes back, and whoever gets it finds the marker and
  deletes the message without training.
"""

import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainq import bucket, markers, transfer
from trainq.guard import WorkerBroken
from trainq.interruption import Interruption
from trainq.messages import Task
from trainq.stack import Stack

log = logging.getLogger(__name__)


class TaskFailed(Exception):
    """An attempt did not work out; what is known of why goes into its failure record."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.details = details


@dataclass(frozen=True)
class TrainingTask:
    """What a training function gets.

    It reads `parameters` and the files below `shards` (as in the bucket, without 'datasets/'), and writes files below
    `output`. All of `folder` is removed afterwards. `task` counts from 0 to `tasks` - 1.
    """

    job_id: str
    task: int
    tasks: int
    parameters: dict[str, Any]
    folder: Path

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def output(self) -> Path:
        return self.folder / "output"


Train = Callable[[TrainingTask], None]


@dataclass(frozen=True)
class Attempt:
    """`id` is this attempt's own: what it uploads and commits carries it."""

    stack: Stack
    task: Task
    receive_count: int
    worker: str
    id: str

    @classmethod
    def new(cls, stack: Stack, task: Task, receive_count: int, worker: str) -> "Attempt":
        return cls(stack, task, receive_count, worker, uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"task {self.task.task} of job {self.task.job_id}, receive {self.receive_count}"

    def run(self, train: Train, interruption: Interruption, folder: Path | None) -> None:
        """Train and commit, unless the result is there already. When this returns the message may be deleted.

        `folder` is where the attempt's files go. Raises TaskFailed, Interrupted, or what AWS answered.
        """
        started = _now()
        s3, marker = self.stack.s3, bucket.result(self.task.job_id, self.task.task)
        if done := markers.read(s3, self.stack.bucket_name, marker):
            log.info("%s: already done by worker %s", self, done["worker"])
            return
        log.info("%s: started", self)
        own = Path(tempfile.mkdtemp(prefix="trainq-attempt-", dir=folder))
        try:
            files = interruption.allow(self._work, train, own)
        except WorkerBroken:
            raise
        except Exception as error:
            failure = error if isinstance(error, TaskFailed) else TaskFailed(f"{type(error).__name__}: {error}")
            self._keep(failure, started)
            raise failure from error
        finally:
            shutil.rmtree(own, ignore_errors=True)
        record = self._record(started) | {
            "shards": self.task.shards,
            "parameters": self.task.parameters,
            "output": self._output,
            "files": files,
        }
        committed = markers.commit(s3, self.stack.bucket_name, marker, record)
        if committed["attempt"] == self.id:
            log.info("%s: done, %s", self, f"{len(files)} files" if files else "without any output")
        else:
            log.info("%s: worker %s was first, this result is thrown away", self, committed["worker"])

    @property
    def _output(self) -> str:
        return bucket.attempt_output(self.task.job_id, self.task.task, self.id)

    def _work(self, train: Train, folder: Path) -> list[dict[str, Any]]:
        """Everything that may be interrupted. Returns the files that were uploaded, in order of their names."""
        task = TrainingTask(self.task.job_id, self.task.task, self.task.tasks, self.task.parameters, folder)
        task.output.mkdir()
        shards = [(key, transfer.below(task.shards, key.removeprefix(bucket.DATASETS))) for key in self.task.shards]
        transfer.download(self.stack.s3, self.stack.bucket_name, shards)
        train(task)
        try:
            files = transfer.files_below(task.output)
        except ValueError as error:
            raise TaskFailed(f"the output cannot be stored: {error}") from None
        transfer.upload(
            self.stack.s3, self.stack.bucket_name, [(path, self._output + name) for name, path in files.items()]
        )
        return [{"path": name, "bytes": path.stat().st_size} for name, path in sorted(files.items())]

    def _keep(self, failure: TaskFailed, started: str) -> None:
        record = self._record(started) | {"reason": str(failure)} | failure.details
        key = bucket.failure(self.task.job_id, self.task.task, self.id)
        try:
            markers.commit(self.stack.s3, self.stack.bucket_name, key, record)
        except Exception as error:
            log.warning("%s: the failure could not be recorded: %s", self, error)

    def _record(self, started: str) -> dict[str, Any]:
        return {
            "job_id": self.task.job_id,
            "task": self.task.task,
            "attempt": self.id,
            "worker": self.worker,
            "receive_count": self.receive_count,
            "started": started,
            "finished": _now(),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
