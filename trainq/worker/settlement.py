"""Settles the message of an attempt that has ended: acknowledge, retry, release, dead-letter or leave.

| outcome | message | besides |
| --- | --- | --- |
| COMPLETED | acknowledge | resets the count of failures in a row |
| SUPERSEDED, CANCELLED | acknowledge | record, if it trained |
| FAILED | retry after a backoff; the last time dead-letter | failure record, counts |
| EXHAUSTED | dead-letter | |
| SHUTDOWN, HOLD_LIMIT | release | checkpoint and record, if it trained |
| DISK_FULL | release | record, counts |
| WORKER_BROKEN | release | the worker ends |
| LEASE_LOST | leave | record, if it trained |
| UNEXPECTED | leave: it comes back after its visibility timeout | counts, traceback |

"Counts": as one of this worker's failures in a row. A release before training is not counted as an attempt.

A message whose lease is lost by then is left, whatever the outcome: another worker may have it in flight.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.worker.acknowledger import Acknowledger
from trainq.worker.attempt import Attempt
from trainq.worker.delivery import Delivery
from trainq.worker.outcome import Outcome
from trainq.worker.task_queue import TaskQueue, backoff

log = logging.getLogger(__name__)


class Settlement:
    """The only caller of acknowledge, retry, release and dead-letter. May be used from any thread."""

    def __init__(self, queue: TaskQueue, acknowledger: Acknowledger, worker: str, backoff: float) -> None:
        """`backoff`: delay in seconds before a task is retried after its first failure."""
        self.queue, self.acknowledger, self.worker, self.backoff = queue, acknowledger, worker, backoff
        self.failures_in_a_row = 0
        # The latest time (`time.monotonic`) at which a task that was settled here can be received again.
        self.redelivery = 0.0
        self._counting = threading.Lock()

    def settle(self, attempt: Attempt) -> None:
        """Settle the attempt's message by its outcome, once. After an error the message is left on the queue."""
        if not attempt.settling():
            return
        outcome = attempt.outcome
        assert outcome
        try:
            attempt.keep()
            if outcome not in (Outcome.COMPLETED, Outcome.SUPERSEDED, Outcome.CANCELLED):
                # Stop heartbeats before the message moves. The acknowledger keeps its leases until it deletes.
                attempt.lease.release()
            self._count(outcome)
            action = self._leave if attempt.lease.lost else self._action(outcome)
            action(attempt)
        except Exception:
            # An unknown error must not end the worker: the message is redelivered, up to the queue's receive limit.
            tell(log, events.MESSAGE_LEFT, traceback=True, message_id=attempt.delivery.message_id)
            attempt.lease.release()
            self._count(Outcome.UNEXPECTED)
        finally:
            attempt.remove()

    def refuse(self, delivery: Delivery, reason: str) -> None:
        """Dead-letter a message that is not a task."""
        tell(log, events.MESSAGE_INVALID, message_id=delivery.message_id, reason=reason)
        try:
            self.queue.dead_letter(delivery, reason)
        except Exception:
            tell(log, events.MESSAGE_LEFT, traceback=True, message_id=delivery.message_id)

    def _count(self, outcome: Outcome) -> None:
        with self._counting:
            if outcome is Outcome.COMPLETED:
                self.failures_in_a_row = 0
            elif outcome in (Outcome.FAILED, Outcome.DISK_FULL, Outcome.UNEXPECTED):
                self.failures_in_a_row += 1

    def _expect(self, seconds: float) -> None:
        with self._counting:
            self.redelivery = max(self.redelivery, time.monotonic() + seconds)

    def _action(self, outcome: Outcome) -> Callable[[Attempt], None]:
        return {
            Outcome.COMPLETED: self._acknowledge,
            Outcome.SUPERSEDED: self._acknowledge,
            Outcome.CANCELLED: self._acknowledge,
            Outcome.FAILED: self._retry,
            Outcome.EXHAUSTED: self._exhaust,
            Outcome.SHUTDOWN: self._release,
            Outcome.HOLD_LIMIT: self._release,
            Outcome.DISK_FULL: self._release,
            Outcome.WORKER_BROKEN: self._release,
            Outcome.LEASE_LOST: self._leave,
            Outcome.UNEXPECTED: self._leave,
        }[outcome]

    def _acknowledge(self, attempt: Attempt) -> None:
        about = attempt.record.about
        if attempt.outcome is Outcome.COMPLETED:
            tell(log, events.TASK_DONE, **about, **attempt.details)
        elif attempt.outcome is Outcome.SUPERSEDED:
            tell(log, events.TASK_SUPERSEDED, **about, winner=attempt.reason)
        else:
            tell(log, events.TASK_CANCELLED, **about)
        self.acknowledger.add(attempt.delivery, attempt.lease)

    def _retry(self, attempt: Attempt) -> None:
        failures, most = attempt.delivery.failures + 1, self.queue.max_failures
        about: dict[str, Any] = attempt.record.about | {"reason": attempt.reason}
        if failures >= most:
            tell(log, events.TASK_GIVEN_UP, **about)
            reason = f"failed {failures} times, the last time on {self.worker}: {attempt.reason}"
            self.queue.dead_letter(attempt.delivery, reason)
        else:
            seconds = backoff(failures, self.backoff)
            tell(log, events.TASK_FAILED, **about, failures=failures, max_failures=most, seconds=seconds)
            self.queue.retry(attempt.delivery, seconds)
            self._expect(seconds)

    def _exhaust(self, attempt: Attempt) -> None:
        tell(log, events.TASK_EXHAUSTED, **attempt.record.about, reason=attempt.reason)
        self.queue.dead_letter(attempt.delivery, attempt.reason)

    def _release(self, attempt: Attempt) -> None:
        assert attempt.outcome
        self.queue.release(attempt.delivery, counted=attempt.trained)
        more = f": {attempt.reason}" if attempt.outcome is Outcome.DISK_FULL else ""
        tell(log, events.TASK_RELEASED, **attempt.record.about, reason=attempt.outcome.sentence + more)

    def _leave(self, attempt: Attempt) -> None:
        assert attempt.outcome
        attempt.lease.release()
        reason, error = attempt.outcome.sentence, None
        if attempt.outcome is Outcome.UNEXPECTED:
            reason, error = attempt.reason, attempt.error
            self._expect(self.queue.timeout)
        tell(log, events.TASK_LEFT, traceback=error, **attempt.record.about, reason=reason)
