"""One delivery of one task: prepare, train, store, commit.

What survives a crash at each point:

- before the marker is written: the message comes back after its visibility timeout and another attempt does the work,
  from the newest checkpoint; what this one uploaded lies under a prefix of its own that no marker names.
- after the marker, before the message is deleted: the message comes back, and whoever gets it finds the marker and
  deletes the message without training.
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
from trainq.transfers import Cancel, Cancelled, TransferPool
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.delivery import Delivery
from trainq.worker.files import Files
from trainq.worker.job_cache import JobCache
from trainq.worker.leases import Lease
from trainq.worker.outcome import INTERRUPTED, Outcome, State
from trainq.worker.records import Record
from trainq.worker.signals import Interrupted, Interruption
from trainq.worker.training import TaskFailed, Train, TrainingTask, WorkerBroken

log = logging.getLogger(__name__)

# Seconds that a cancelled download may take to end before its folder is removed.
CANCEL_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What the attempts of one worker share. `heartbeat_s3`: an S3 client that gives up early."""

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
    """The one owner of a task while this worker has it. `end` may be called from any thread; the other methods take
    turns, in the order in which they stand here. They raise nothing: what goes wrong decides the outcome."""

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
        self._checkpoints = Checkpoints(at.pool, task.job_id, task.task, delivery.attempt, self.record.id)
        lease.attach(self.end)

    def end(self, outcome: Outcome, reason: str = "", error: BaseException | None = None) -> bool:
        """Decide how the attempt ends, unless that is decided already or the commit has begun.

        Its transfers are cancelled and its training is interrupted. Returns whether this call has decided. May be
        called from any thread.
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
        """Fetch what training needs, unless there is nothing to be done for the task."""
        with self._deciding():
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
        """Wait until it is prepared, and return whether it is to be trained."""
        self.record.begin()
        with self._deciding():
            assert self.prepared
            self.at.interruption.allow(self.prepared.result)
            self._end_if_cancelled()
        return self.outcome is None

    def train(self, train: Train, *, insist: bool) -> None:
        """Call the training function. `insist`: only a second request to stop interrupts it."""
        with self._deciding():
            self._enter(State.TRAINING)
            self.trained = True
            tell(log, events.TASK_STARTED, **self.record.about)
            with self.at.saver.saving(self._checkpoints, self._training):
                self.at.interruption.allow(train, self._training, insist=insist)
            if self._training.told_to_stop:
                self.end(Outcome.SHUTDOWN)

    def store(self) -> None:
        """Upload the output, and commit it unless the attempt has been ended meanwhile."""
        sizes: list[dict[str, Any]] = []
        with self._deciding():
            self._enter(State.STORING)
            # What cannot be written down must be the task's failure, with a reason.
            json.dumps(self.notes)
            sizes += self._files.upload_output(self.record.output, self._cancel)
            self._enter(State.COMMITTING)
        if self.state is State.COMMITTING:
            self._commit(sizes)

    def settling(self) -> bool:
        """Begin the attempt's settlement; False if it has begun before. What still goes on for it comes to its end."""
        with self._lock:
            if self.state is State.SETTLED:
                return False
            self.state = State.SETTLED
        if self.prepared and not self.prepared.cancel():
            wait([self.prepared], CANCEL_SECONDS)
        return True

    def keep(self) -> None:
        """Keep what the attempt leaves to the next one and to people. Best effort: nothing else depends on it."""
        if self.trained and self.outcome in (Outcome.SHUTDOWN, Outcome.HOLD_LIMIT) and self._files.exist:
            try:
                self._checkpoints.save(self._training.checkpoint)
            except Exception as error:
                # The task is only longer.
                tell(log, events.CHECKPOINT_FAILED, **self.record.about, reason=str(error))
        if self.outcome is Outcome.FAILED:
            self.record.failed(self.reason, self.details)
        elif self.trained and self.outcome in INTERRUPTED:
            self.record.interrupted(self.outcome.value)

    def remove(self) -> None:
        """Remove the attempt's files."""
        self._files.remove()

    def look(self, *, report: bool) -> None:
        """While it goes on: see whether it is still wanted, and say so. Asks S3, with a client that gives up early."""
        s3 = self.at.heartbeat_s3
        try:
            if report:
                self.record.report(s3)
            if self.at.cancelled.get(self.task.job_id, s3):
                self.end(Outcome.CANCELLED)
            # A task may be on the queue twice; and this attempt's own result is none to make way for.
            done = self.record.result(s3)
            if done and done["attempt"] != self.record.id:
                self.end(Outcome.SUPERSEDED, _worker(done))
        except Exception as error:
            tell(log, events.REPORT_FAILED, **self.record.about, reason=str(error))

    def _decide(self, outcome: Outcome, reason: str = "", error: BaseException | None = None) -> None:
        self.outcome, self.reason, self.error = outcome, reason, error
        if isinstance(error, TaskFailed):
            self.details = error.details

    def _enter(self, state: State) -> None:
        """Go on to the state. Raises Interrupted if the attempt has been ended."""
        with self._lock:
            if self.outcome is not None:
                raise Interrupted(self.outcome)
            self.state = state

    @contextlib.contextmanager
    def _deciding(self) -> Generator[None]:
        """Let what the block raises decide the outcome, if nothing else has."""
        try:
            yield
        except Interrupted as interrupted:
            self.end(interrupted.outcome)
        except Cancelled:
            self.end(Outcome.SHUTDOWN)
        except (TaskFailed, WorkerBroken) as error:
            self.end(Outcome.FAILED if isinstance(error, TaskFailed) else Outcome.WORKER_BROKEN, str(error), error)
        except Exception as error:
            self.end(Outcome.FAILED, f"{type(error).__name__}: {error}", error)

    def _restore(self) -> None:
        if self.delivery.attempt == 1 and not self.at.checkpointed.get(self.task.job_id):
            self._checkpoints.restored = True
        elif name := self._checkpoints.restore(self._training.checkpoint, self._cancel):
            tell(log, events.TASK_RESUMED, **self.record.about, checkpoint=name)

    def _commit(self, files: list[dict[str, Any]]) -> None:
        try:
            winner = self.record.commit(files, self.notes)
        except Exception as error:
            # Too large a marker lists more files, or larger notes, than can be read: that is the task's.
            outcome = Outcome.FAILED if isinstance(error, MarkerError) else Outcome.UNEXPECTED
            self._decide(outcome, f"{type(error).__name__}: {error}", error)
        else:
            self.details = {"files": len(files)}
            mine = winner.get("attempt") == self.record.id
            self._decide(Outcome.COMPLETED if mine else Outcome.SUPERSEDED, _worker(winner))

    def _end_if_cancelled(self) -> bool:
        return self.at.cancelled.get(self.task.job_id) and self.end(Outcome.CANCELLED)

    def _end_if_done(self) -> bool:
        done = self.record.result()
        return done is not None and self.end(Outcome.SUPERSEDED, _worker(done))


def _worker(marker: dict[str, Any]) -> str:
    """Return who has written a result's marker, which may be anybody's."""
    return str(marker.get("worker", "unknown"))
