"""One delivery of one task: prepare, train, store, commit.

What survives a crash at each point:

- before the marker is written: the message comes back after its visibility timeout and another attempt does the work,
  from the newest checkpoint; what this one uploaded lies under a prefix of its own that no marker names.
- after the marker, before the message is deleted: the message comes back, and whoever gets it finds the marker and
  deletes the message without training.
"""

import contextlib
import enum
import json
import logging
import shutil
import threading
from collections.abc import Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainq.protocol import events, layout
from trainq.protocol.events import tell
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import Task
from trainq.protocol.names import below, files_below
from trainq.transfers import Cancel, Cancelled, TransferPool
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.delivery import Delivery
from trainq.worker.job_cache import JobCache
from trainq.worker.leases import Lease
from trainq.worker.outcome import Outcome
from trainq.worker.records import Record
from trainq.worker.signals import Interrupted, Interruption
from trainq.worker.training import TaskFailed, Train, TrainingTask, WorkerBroken

log = logging.getLogger(__name__)

# What a download that was cancelled may take to end before its folder is removed.
CANCEL_SECONDS = 10


class State(enum.IntEnum):
    """From each of these before COMMITTING an outcome leads to SETTLED."""

    RECEIVED = 0
    PREPARING = 1
    READY = 2
    TRAINING = 3
    STORING = 4
    COMMITTING = 5
    SETTLED = 6


# Outcomes whose record says how an attempt that trained was interrupted.
INTERRUPTED = (
    Outcome.SUPERSEDED,
    Outcome.CANCELLED,
    Outcome.SHUTDOWN,
    Outcome.HOLD_LIMIT,
    Outcome.LEASE_LOST,
)


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
    """The one owner of a task while this worker has it. `end` may be called from any thread; of the other methods each
    has its turn, in the order in which they stand here, in whatever thread. They raise nothing: what goes wrong decides
    the outcome.
    """

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
                folder = self._training.folder / "shards"
                names = [(key, key.removeprefix(layout.DATASETS)) for key in self.task.shards]
                self.at.pool.download([(key, below(folder, name)) for key, name in names], cancel=self._cancel)
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
            json.dumps(self._training.notes)
            files = self._output()
            sizes += ({"path": name, "bytes": path.stat().st_size} for name, path in files.items())
            keys = [(path, self.record.output + name) for name, path in files.items()]
            self.at.pool.upload(keys, cancel=self._cancel)
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
        if self.trained and self.outcome in (Outcome.SHUTDOWN, Outcome.HOLD_LIMIT) and self._has_files:
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
        if self._has_files:
            shutil.rmtree(self._training.folder, ignore_errors=True)

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
        except TaskFailed as error:
            self.end(Outcome.FAILED, str(error), error)
        except WorkerBroken as error:
            self.end(Outcome.WORKER_BROKEN, str(error), error)
        except Exception as error:
            self.end(Outcome.FAILED, f"{type(error).__name__}: {error}", error)

    def _restore(self) -> None:
        look_for_checkpoints = self.delivery.attempt > 1 or self.at.checkpointed.get(self.task.job_id)
        if not look_for_checkpoints:
            self._checkpoints.restored = True
        elif name := self._checkpoints.restore(self._training.checkpoint, self._cancel):
            tell(log, events.TASK_RESUMED, **self.record.about, checkpoint=name)

    def _output(self) -> dict[str, Path]:
        # Only if it was asked for: to make and list an empty folder takes longer than some tasks.
        output = self._training.place / "output"
        try:
            return files_below(output) if output in self._training.made or output.exists() else {}
        except (ValueError, OSError) as error:
            raise TaskFailed(f"the output cannot be stored: {error}") from None

    def _commit(self, files: list[dict[str, Any]]) -> None:
        try:
            winner = self.record.commit(files, self._training.notes)
        except MarkerError as error:
            # More files than a marker may list, or larger notes.
            self._decide(Outcome.FAILED, f"the result cannot be stored: {error}", error)
            return
        except Exception as error:
            self._decide(Outcome.UNEXPECTED, f"{type(error).__name__}: {error}", error)
            return
        if winner.get("attempt") == self.record.id:
            self._decide(Outcome.COMPLETED)
            self.details = {"files": len(files)}
        else:
            self._decide(Outcome.SUPERSEDED, _worker(winner))

    def _end_if_cancelled(self) -> bool:
        return self.at.cancelled.get(self.task.job_id) and self.end(Outcome.CANCELLED)

    def _end_if_done(self) -> bool:
        done = self.record.result()
        return done is not None and self.end(Outcome.SUPERSEDED, _worker(done))

    @property
    def notes(self) -> dict[str, Any]:
        """What the training function has noted."""
        return self._training.notes

    @property
    def _has_files(self) -> bool:
        """Whether anybody has asked for its folder."""
        return self._training.place.exists()


def _worker(marker: dict[str, Any]) -> str:
    """Return who has written a result's marker, which may be anybody's."""
    return str(marker.get("worker", "unknown"))
