"""One delivery of one task: download, train, upload, commit.

What survives a crash at each point:

- before the marker is written: the message comes back after its visibility timeout and another attempt does the work,
  from the newest checkpoint; what this one uploaded lies under a prefix of its own that no marker names.
- after the marker, before the message is deleted: the message comes back, and whoever gets it finds the marker and
  deletes the message without training.
"""

import json
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainq import bucket, markers, transfer
from trainq.checkpoints import Checkpoints, CheckpointThread
from trainq.guard import WorkerBroken
from trainq.interruption import Interrupted, Interruption, Why
from trainq.messages import Task
from trainq.stack import Stack
from trainq.taskqueue import Delivery

log = logging.getLogger(__name__)

# The end of a command's output that is kept with a result; a failure keeps more.
KEPT_OUTPUT_CHARACTERS = 4_000


class TaskFailed(Exception):
    """An attempt did not work out; what is known of why goes into its failure record."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.details = details


@dataclass(frozen=True)
class TrainingTask:
    """What a training function gets.

    It reads `parameters` and the files below `shards` (as in the bucket, without 'datasets/'), and writes files below
    `output`. `checkpoint` holds what an earlier attempt at the task left there; what is in it when an attempt is
    interrupted is what the next one finds. All of `folder` is removed afterwards. `task` counts from 0 to `tasks` - 1.
    """

    job_id: str
    task: int
    tasks: int
    parameters: dict[str, Any]
    folder: Path
    # What the training function leaves to be kept with the result, such as `output_tail`.
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def checkpoint_now(self) -> Path:
        """A file that, once made, has the checkpoint saved at once; it is removed when that begins."""
        return self.folder / "checkpoint-now"


Train = Callable[[TrainingTask], None]


@dataclass
class Attempt:
    """`id` is this attempt's own: what it uploads and commits carries it."""

    stack: Stack
    task: Task
    delivery: Delivery
    worker: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: str = field(default_factory=lambda: _now())

    def __str__(self) -> str:
        return f"task {self.task.task} of job {self.task.job_id}, attempt {self.delivery.attempt}"

    def is_done(self) -> bool:
        """Whether the task's result is there already, by whomever."""
        done = markers.read(self.stack.s3, self.stack.bucket_name, self._marker)
        if done:
            log.info("%s: already done by worker %s", self, done["worker"])
        return done is not None

    def run(
        self,
        train: Train,
        interruption: Interruption,
        folder: Path | None,
        checkpoint_every: float | None,
        *,
        look_for_checkpoints: bool = True,
    ) -> None:
        """Train and commit. When this returns the message may be deleted.

        `folder` is where the attempt's files go. Raises TaskFailed, Interrupted, or what AWS answered.
        """
        log.info("%s: started", self)
        own = Path(tempfile.mkdtemp(prefix="trainq-attempt-", dir=folder))
        task = TrainingTask(self.task.job_id, self.task.task, self.task.tasks, self.task.parameters, own)
        checkpoints = Checkpoints(self.stack, task.job_id, task.task, self.delivery.attempt, self.id)
        checkpoints.restored = not look_for_checkpoints
        try:
            files = interruption.allow(self._work, train, task, checkpoints, checkpoint_every)
        except Interrupted as why:
            self._save(checkpoints, task, why.why)
            self._keep(bucket.interruption(task.job_id, task.task, self.id), {"why": why.why.name.lower()})
            raise
        except WorkerBroken:
            raise
        except Exception as error:
            failure = error if isinstance(error, TaskFailed) else TaskFailed(f"{type(error).__name__}: {error}")
            self._keep(bucket.failure(task.job_id, task.task, self.id), {"reason": str(failure)} | failure.details)
            raise failure from error
        finally:
            shutil.rmtree(own, ignore_errors=True)
        self._commit(files, task.notes)

    def report(self, s3: Any) -> None:
        """Say that this worker is at this task, for `trainq status`. `s3`: a client that gives up early."""
        key = bucket.worker(self.task.job_id, self.worker)
        body = json.dumps(self._record() | {"heartbeat": _now()}).encode()
        s3.put_object(Bucket=self.stack.bucket_name, Key=key, Body=body, ContentType="application/json")

    @property
    def _marker(self) -> str:
        return bucket.result(self.task.job_id, self.task.task)

    @property
    def _output(self) -> str:
        return bucket.attempt_output(self.task.job_id, self.task.task, self.id)

    def _work(
        self, train: Train, task: TrainingTask, checkpoints: Checkpoints, every: float | None
    ) -> list[dict[str, Any]]:
        """Everything that may be interrupted. Returns the files that were uploaded, in order of their names."""
        for folder in (task.output, task.checkpoint):
            folder.mkdir()
        if not checkpoints.restored and (name := checkpoints.restore(task.checkpoint)):
            log.info("%s: goes on from checkpoint %s", self, name)
        shards = [(key, transfer.below(task.shards, key.removeprefix(bucket.DATASETS))) for key in self.task.shards]
        transfer.download(self.stack.s3, self.stack.bucket_name, shards)
        with CheckpointThread(checkpoints, task.checkpoint, task.checkpoint_now, every, log):
            train(task)
        try:
            files = transfer.files_below(task.output)
        except ValueError as error:
            raise TaskFailed(f"the output cannot be stored: {error}") from None
        transfer.upload(
            self.stack.s3, self.stack.bucket_name, [(path, self._output + name) for name, path in files.items()]
        )
        return [{"path": name, "bytes": path.stat().st_size} for name, path in sorted(files.items())]

    def _save(self, checkpoints: Checkpoints, task: TrainingTask, why: Why) -> None:
        """What the next attempt goes on from: also when it cannot be saved, the task is only longer."""
        if why in (Why.STOP, Why.WALL) and task.checkpoint.is_dir():
            try:
                if checkpoints.save(task.checkpoint):
                    log.info("%s: checkpoint %d saved", self, checkpoints.saved)
            except Exception as error:
                log.warning("%s: the checkpoint could not be saved: %s", self, error)

    def _commit(self, files: list[dict[str, Any]], notes: dict[str, Any]) -> None:
        about = {"shards": self.task.shards, "parameters": self.task.parameters, "output": self._output, "files": files}
        committed = markers.commit(
            self.stack.s3, self.stack.bucket_name, self._marker, self._record() | about | {"notes": notes}
        )
        if committed["attempt"] == self.id:
            log.info("%s: done, %s", self, f"{len(files)} files" if files else "without any output")
        else:
            log.info("%s: worker %s was first, this result is thrown away", self, committed["worker"])
            self._keep(bucket.interruption(self.task.job_id, self.task.task, self.id), {"why": "beaten"})

    def _keep(self, key: str, about: dict[str, Any]) -> None:
        """How this attempt ended, if not with a result: for people, so that nothing depends on it."""
        try:
            markers.commit(self.stack.s3, self.stack.bucket_name, key, self._record() | about)
        except Exception as error:
            log.warning("%s: its end could not be recorded: %s", self, error)

    def _record(self) -> dict[str, Any]:
        return {
            "job_id": self.task.job_id,
            "task": self.task.task,
            "attempt": self.id,
            "attempt_number": self.delivery.attempt,
            "failures_before": self.delivery.failures,
            "worker": self.worker,
            "started": self.started,
            "finished": _now(),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
