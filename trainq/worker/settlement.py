"""What becomes of a message when the attempt at its task ends."""

import contextlib
import logging
from collections.abc import Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from trainq.worker.acknowledger import Deletions
from trainq.worker.attempt import Attempt
from trainq.worker.leases import Lease
from trainq.worker.signals import Interrupted, Why
from trainq.worker.task_queue import Delivery, TaskQueue, backoff
from trainq.worker.training import TaskFailed, WorkerBroken

log = logging.getLogger(__name__)

# What a download that was cancelled may take to end before its folder is removed.
CANCEL_SECONDS = 10


@dataclass(eq=False)
class Held:
    """A task whose message this worker has."""

    delivery: Delivery
    lease: Lease
    attempt: Attempt
    prepared: Future[bool] | None = None

    def abandon(self, why: Why) -> None:
        """Whatever is still going on for it ends."""
        self.attempt.end(why)
        if self.prepared and not self.prepared.cancel():
            wait([self.prepared], CANCEL_SECONDS)


class Outcomes:
    """Whatever goes wrong, a message stays on the queue unless its effect is durable. May be used from any thread."""

    def __init__(self, queue: TaskQueue, deletions: Deletions, worker: str, backoff: float) -> None:
        """`backoff`: after its first failure a task comes back in about so many seconds."""
        self.queue, self.deletions, self.worker, self.backoff = queue, deletions, worker, backoff
        self.failures_in_a_row = 0

    def done(self, held: Held) -> None:
        """There is a result, or none is wanted any more."""
        self.failures_in_a_row = 0
        self.deletions.add(held.delivery, held.lease)
        held.attempt.remove()

    @contextlib.contextmanager
    def settling(self, held: Held) -> Generator[None]:
        """What ends the attempt in here, other than success, decides what becomes of its message."""
        try:
            yield
        except BaseException as error:
            try:
                self._settle(held, error)
            except WorkerBroken:
                raise
            except Exception:
                # A worker outlives what it does not know: the message comes back, at most five times.
                log.exception("message %s: left for redelivery", held.delivery.message_id)
                self.failures_in_a_row += 1
            finally:
                held.lease.release()
                held.attempt.remove()

    def give_back(self, held: Held) -> None:
        """A task that was not begun. If it cannot be given back, it comes back after its visibility timeout."""
        held.abandon(Why.STOP)
        held.lease.release()
        try:
            if not held.lease.lost:
                self.queue.hand_over(held.delivery, held.attempt.task, begun=False)
        except Exception as error:
            log.warning("message %s could not be given back: %s", held.delivery.message_id, error)
        held.attempt.remove()

    def _settle(self, held: Held, error: BaseException) -> None:
        if isinstance(error, Interrupted):
            self._interrupted(held, Why.LOST if held.lease.lost else error.why)
        elif isinstance(error, TaskFailed):
            self._failed(held, error)
        elif isinstance(error, WorkerBroken):
            held.lease.release()
            # The task is not to blame. If this fails, the message comes back after its visibility timeout.
            with contextlib.suppress(BotoCoreError, ClientError):
                if not held.lease.lost:
                    self.queue.hand_over(held.delivery, held.attempt.task)
            raise error
        else:
            raise error

    def _interrupted(self, held: Held, why: Why) -> None:
        held.abandon(why)
        held.attempt.interrupted(why)
        held.lease.release()
        if why in (Why.CANCELLED, Why.BEATEN):
            self.queue.delete(held.delivery)
        # It may have been lost while the checkpoint was saved.
        elif why is not Why.LOST and not held.lease.lost:
            self.queue.hand_over(held.delivery, held.attempt.task)
        log.info("%s: interrupted (%s)", held.attempt, why.sentence)

    def _failed(self, held: Held, failure: TaskFailed) -> None:
        self.failures_in_a_row += 1
        held.attempt.record.failed(str(failure), failure.details)
        held.lease.release()
        failures = held.delivery.failures + 1
        if held.lease.lost:
            log.warning("%s: failed, and is not this worker's any more: %s", held.attempt, failure)
        elif failures >= self.queue.max_failures:
            log.warning("%s: failed for the last time, to the dead letter queue: %s", held.attempt, failure)
            reason = f"failed {failures} times, the last time on {self.worker}: {failure}"
            self.queue.put_aside(held.delivery, reason)
        else:
            again = backoff(failures, self.backoff)
            most = self.queue.max_failures
            log.warning("%s: failed (%d of %d), again in %d s: %s", held.attempt, failures, most, again, failure)
            self.queue.retry_after(held.delivery, again)
