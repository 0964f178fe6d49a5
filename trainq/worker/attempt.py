"""One attempt at a task, for one delivery of its message: prepare, train, store, commit.

After a crash, SQS redelivers the message when its visibility timeout has passed. The crash points:

- before the result marker is written: the next attempt trains from the newest checkpoint. Output that this attempt has
  uploaded is ignored: it has a prefix of its own that no marker names.
- after the marker is written, before the message is deleted: the next worker deletes the message without training.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import Task
from trainq.transfers import Cancel, TransferPool
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.delivery import Delivery
from trainq.worker.errors import outcome_of
from trainq.worker.files import Files
from trainq.worker.job_cache import JobCache
from trainq.worker.leases import Lease
from trainq.worker.outcome import INTERRUPTED, Outcome, State
from trainq.worker.records import Record
from trainq.worker.signals import Interrupted, Interruption
from trainq.worker.training import TaskFailed, Train, TrainingTask

log = logging.getLogger(__name__)

# Before the folder of an attempt is removed, its cancelled download has up to this long to end.
CANCEL_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """The settings and services that all attempts of one worker share. `heartbeat_s3`: `Stack.heartbeat_client`."""

    worker: str
    folder: Path
    pool: TransferPool
    heartbeat_s3: Any
    interruption: Interruption
    cancelled: JobCache
    checkpointed: JobCache
    saver: CheckpointSaver
    download: bool
    max_failures: int


class Attempt:
    """One attempt at a task. `end` may be called from any thread. The other methods are called one at a time, in the
    order in which they stand here. They raise no exception: an error decides the outcome."""

    def __init__(self, at: Workplace, task: Task, delivery: Delivery, lease: Lease) -> None:
        self.at, self.task, self.delivery, self.lease = at, task, delivery, lease
        self.record = Record(at.pool.s3, at.pool.bucket, at.worker, task, delivery)
        self.state = State.RECEIVED
        self.outcome: Outcome | None = None
        self.reason = ""
        self.details: dict[str, Any] = {}
        self.error: BaseException | None = None
        self.trained = False
        self.prepared: Future[None] | None = None
        self._lock = threading.Lock()
        self._cancel = Cancel()
        self._training = TrainingTask(
            job_id=task.job_id,
            task=task.task,
            tasks=task.tasks,
            parameters=task.parameters,
            place=at.folder / f"trainq-attempt-{self.record.id}",
            keys=task.shards,
            bucket=at.pool.bucket,
            stop_requested=lambda: self.outcome is not None or at.interruption.signalled,
        )
        self.notes = self._training.notes
        self._files = Files(at.pool, self._training)
        self._checkpoints = Checkpoints(
            at.pool, task.job_id, task.task, delivery.attempt, self.record.id, lease.is_held
        )
        lease.attach(self.end)

    def end(self, outcome: Outcome, reason: str = "", error: BaseException | None = None) -> bool:
        """Decide the outcome of the attempt, cancel its transfers and interrupt its training.

        Does nothing if the outcome is decided already or the commit has begun. Returns True if this call has decided
        the outcome. May be called from any thread.
        """
        with self._lock:
            if self.outcome is not None or self.state >= State.COMMITTING:
                return False
            self._decide(outcome, reason, error)
        if outcome is Outcome.LEASE_LOST:
            tell(log, events.LEASE_LOST, **self.record.about, reason=reason)
        self._cancel()
        self.at.interruption.interrupt(outcome, self)
        return True

    def prepare(self) -> None:
        """Download checkpoint and shards. End the attempt if the job is cancelled, the task done or out of attempts."""
        with self._end_on_error():
            self._enter(State.PREPARING)
            if self._end_if_cancelled() or (self.delivery.again and self._end_if_done()):
                return
            if self.delivery.failures >= self.at.max_failures:
                times = self.delivery.failures
                self.end(Outcome.EXHAUSTED, f"received {times} times, and the last attempt did not report its end")
                return
            self._restore()
            if self.at.download:
                self._files.fetch_shards(self._cancel)
            self._enter(State.READY)

    def begin(self) -> bool:
        """Wait until the attempt is prepared. Return False if it has ended meanwhile and must not train."""
        self.record.begin()
        with self._end_on_error():
            assert self.prepared
            self.at.interruption.allow(self.prepared.result)
            self._end_if_cancelled()
        return self.outcome is None

    def train(self, train: Train, *, insist: bool) -> None:
        """Call the training function. `insist`: interrupt it only on the second request to stop."""
        with self._end_on_error():
            self._enter(State.TRAINING)
            self.trained = True
            tell(log, events.TASK_STARTED, **self.record.about)
            with self.at.saver.saving(self._checkpoints, self._training):
                self.at.interruption.allow(train, self._training, insist=insist)
            if self._training.told_to_stop:
                self.end(Outcome.SHUTDOWN)

    def store(self) -> None:
        """Upload the output, then commit the result unless the attempt has ended meanwhile."""
        sizes: list[dict[str, Any]] = []
        with self._end_on_error():
            self._enter(State.STORING)
            # Notes that are not JSON fail the task here, with a reason, before anything is uploaded.
            json.dumps(self.notes)
            sizes += self._files.upload_output(self.record.output, self._cancel)
            self._enter(State.COMMITTING)
        if self.state is State.COMMITTING:
            self._commit(sizes)

    def settling(self) -> bool:
        """Enter the state SETTLED and wait for a running download to end. Return False if it was SETTLED before."""
        with self._lock:
            if self.state is State.SETTLED:
                return False
            self.state = State.SETTLED
        if self.prepared and not self.prepared.cancel():
            wait([self.prepared], CANCEL_SECONDS)
        return True

    def keep(self) -> None:
        """Save the checkpoint of an interrupted attempt and record how the attempt ended. Best effort."""
        if self.trained and self.outcome in (Outcome.SHUTDOWN, Outcome.HOLD_LIMIT) and self._files.exist:
            try:
                self._checkpoints.save(self._training.checkpoint)
            except Exception as error:
                # Without this checkpoint the next attempt only takes longer.
                tell(log, events.CHECKPOINT_FAILED, **self.record.about, reason=str(error))
        if self.outcome is Outcome.FAILED:
            self.record.failed(self.reason, self.details)
        elif self.outcome is Outcome.DISK_FULL:
            self.record.interrupted(self.outcome.value, self.reason)
        elif self.trained and self.outcome in INTERRUPTED:
            self.record.interrupted(self.outcome.value, self._checkpoints.problem)

    def remove(self) -> None:
        """Remove the attempt's local folder."""
        self._files.remove()

    def look(self, *, report: bool) -> None:
        """End the attempt if its job is cancelled or its task done. `report`: write the worker's heartbeat first."""
        s3 = self.at.heartbeat_s3
        try:
            if report:
                self.record.report(s3, self._checkpoints.problem)
            if self.at.cancelled.get(self.task.job_id, s3):
                self.end(Outcome.CANCELLED)
            # A task may be on the queue twice. The result may also be this attempt's own: that does not supersede it.
            done = self.record.result(s3)
            if done and done["attempt"] != self.record.id:
                self.end(Outcome.SUPERSEDED, _worker_in(done))
        except Exception as error:
            tell(log, events.REPORT_FAILED, **self.record.about, reason=str(error))

    def _decide(self, outcome: Outcome, reason: str = "", error: BaseException | None = None) -> None:
        self.outcome, self.reason, self.error = outcome, reason, error
        if isinstance(error, TaskFailed):
            self.details = error.details

    def _enter(self, state: State) -> None:
        """Enter the next state. Raises Interrupted if the attempt has ended."""
        with self._lock:
            if self.outcome is not None:
                raise Interrupted(self.outcome)
            self.state = state

    @contextlib.contextmanager
    def _end_on_error(self) -> Generator[None]:
        """End the attempt if the block raises; the exception decides the outcome."""
        try:
            yield
        except Interrupted as interrupted:
            self.end(interrupted.outcome)
        except Exception as error:
            self.end(*outcome_of(error), error)

    def _restore(self) -> None:
        if self.delivery.attempt == 1 and not self.at.checkpointed.get(self.task.job_id):
            self._checkpoints.restored = True
        elif name := self._checkpoints.restore(self._training.checkpoint, self._cancel):
            tell(log, events.TASK_RESUMED, **self.record.about, checkpoint=name)

    def _commit(self, files: list[dict[str, Any]]) -> None:
        try:
            winner = self.record.commit(files, self.notes)
        except Exception as error:
            # MarkerError: the task has too many files or too large notes for a marker, which is the task's own failure.
            outcome = Outcome.FAILED if isinstance(error, MarkerError) else Outcome.UNEXPECTED
            self._decide(outcome, f"{type(error).__name__}: {error}", error)
        else:
            self.details = {"files": len(files)}
            mine = winner.get("attempt") == self.record.id
            self._decide(Outcome.COMPLETED if mine else Outcome.SUPERSEDED, _worker_in(winner))

    def _end_if_cancelled(self) -> bool:
        return self.at.cancelled.get(self.task.job_id) and self.end(Outcome.CANCELLED)

    def _end_if_done(self) -> bool:
        done = self.record.result()
        return done is not None and self.end(Outcome.SUPERSEDED, _worker_in(done))


def _worker_in(marker: dict[str, Any]) -> str:
    """Return the name of the worker in a result marker; "unknown" if the marker has none."""
    return str(marker.get("worker", "unknown"))
