"""One delivery of one task: fetch, train, store, commit.

What survives a crash at each point:

- before the marker is written: the message comes back after its visibility timeout and another attempt does the work,
  from the newest checkpoint; what this one uploaded lies under a prefix of its own that no marker names.
- after the marker, before the message is deleted: the message comes back, and whoever gets it finds the marker and
  deletes the message without training.
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainq.protocol import layout
from trainq.protocol.messages import Task
from trainq.protocol.names import below, files_below
from trainq.transfers import Cancel, Cancelled, TransferPool
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.job_cache import Cancellations, CheckpointedJobs
from trainq.worker.records import Record
from trainq.worker.signals import Interrupted, Interruption, Why
from trainq.worker.task_queue import Delivery
from trainq.worker.training import TaskFailed, Train, TrainingTask, WorkerBroken

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What the attempts of one worker share. `looks` is an S3 client that gives up early."""

    worker: str
    folder: Path
    pool: TransferPool
    looks: Any
    interruption: Interruption
    cancellations: Cancellations
    checkpointed: CheckpointedJobs
    saver: CheckpointSaver
    download: bool
    max_failures: int


class Attempt:
    """`prepare`, `train` and `finish` follow each other, in whatever threads; `end` ends each of them.

    They raise TaskFailed, Interrupted, or what AWS answered.
    """

    def __init__(self, at: Workplace, task: Task, delivery: Delivery) -> None:
        self.at, self.task, self.delivery = at, task, delivery
        self.record = Record(at.pool.s3, at.pool.bucket, at.worker, task, delivery)
        self._why: Why | None = None
        self._cancel = Cancel()
        self._training = TrainingTask(
            job_id=task.job_id,
            task=task.task,
            tasks=task.tasks,
            parameters=task.parameters,
            place=at.folder / f"trainq-attempt-{self.record.id}",
            keys=task.shards,
            bucket=at.pool.bucket,
        )
        self._checkpoints = Checkpoints(at.pool, task.job_id, task.task, delivery.attempt, self.record.id)

    def __str__(self) -> str:
        return str(self.record)

    def prepare(self) -> bool:
        """Fetch what training needs; False if there is nothing left to do for the task."""
        training = self._training
        with self._counting():
            self._cancel.check()
            if self.is_cancelled() or (self.delivery.again and self._is_done()):
                return False
            if self.delivery.failures >= self.at.max_failures:
                raise TaskFailed("its workers died at it, or it failed, too often before")
            look_for_checkpoints = self.delivery.attempt > 1 or self.at.checkpointed.has(self.task.job_id)
            if not look_for_checkpoints:
                self._checkpoints.restored = True
            elif name := self._checkpoints.restore(training.checkpoint, self._cancel):
                log.info("%s: goes on from checkpoint %s", self, name)
            if self.at.download:
                folder, keys = training.folder / "shards", self.task.shards
                shards = [(key, below(folder, key.removeprefix(layout.DATASETS))) for key in keys]
                self.at.pool.download(shards, cancel=self._cancel)
        return True

    def begin(self) -> None:
        """It is this attempt's turn."""
        self.record.begin()

    def is_cancelled(self) -> bool:
        cancelled = self.at.cancellations.has(self.task.job_id)
        if cancelled:
            log.info("%s: not started, since the job is cancelled", self)
        return cancelled

    def train(self, train: Train) -> None:
        with self._counting(), self.at.saver.saving(self._checkpoints, self._training):
            train(self._training)

    def finish(self) -> None:
        """Store the output and commit it. When this returns the message may be deleted."""
        with self._counting():
            try:
                # Only if there is one: to make and list an empty folder takes longer than some tasks.
                output = self._training.place / "output"
                files = files_below(output) if output in self._training.made else {}
            except (ValueError, OSError) as error:
                raise TaskFailed(f"the output cannot be stored: {error}") from None
            # What cannot be written down must be the task's failure, with a reason.
            json.dumps(self._training.notes)
            sizes = [{"path": name, "bytes": path.stat().st_size} for name, path in files.items()]
            keys = [(path, self.record.output + name) for name, path in files.items()]
            self.at.pool.upload(keys, cancel=self._cancel)
        self.record.commit(sizes, self._training.notes)

    def end(self, why: Why) -> None:
        """From another thread: have it raise Interrupted, unless it is being committed."""
        self._why = self._why or why
        self._cancel()
        self.at.interruption.interrupt(why, self)

    def interrupted(self, why: Why) -> None:
        """Leave to the next attempt what there is, and to people that it was so."""
        if why in (Why.STOP, Why.WALL) and self._has_files:
            try:
                if self._checkpoints.save(self._training.checkpoint):
                    log.info("%s: checkpoint %d saved", self, self._checkpoints.saved)
            except Exception as error:
                # The task is only longer.
                log.warning("%s: the checkpoint could not be saved: %s", self, error)
        self.record.interrupted(why.value)

    def remove(self) -> None:
        """Its files."""
        if self._has_files:
            shutil.rmtree(self._training.folder, ignore_errors=True)

    def look(self) -> None:
        """While it goes on: say so, and see whether it is still wanted."""
        self.record.report(self.at.looks)
        if self.at.cancellations.has(self.task.job_id, asking=self.at.looks):
            self.end(Why.CANCELLED)
        # A task may be on the queue twice; and this attempt's own result is none to make way for.
        done = self.record.result(self.at.looks)
        if done and done["attempt"] != self.record.id:
            self.end(Why.BEATEN)

    @property
    def _has_files(self) -> bool:
        """Whether anybody has asked for its folder."""
        return self._training.place.exists()

    def _is_done(self) -> bool:
        done = self.record.result()
        if done:
            log.info("%s: already done by worker %s", self, done["worker"])
        return done is not None

    @contextlib.contextmanager
    def _counting(self) -> Generator[None]:
        """What goes wrong in here counts as the task's failure."""
        try:
            yield
        except Cancelled:
            raise Interrupted(self._why or Why.STOP) from None
        except (TaskFailed, WorkerBroken):
            raise
        except Exception as error:
            raise TaskFailed(f"{type(error).__name__}: {error}") from error
