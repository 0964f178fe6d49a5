"""Acknowledges the messages of tasks whose results are committed: deletes up to ten with one request."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.delivery import Delivery
from trainq.worker.leases import Lease

log = logging.getLogger(__name__)

# A message waits up to this long for a full batch. Its result is committed already: after a crash, the message is
# redelivered, and the next worker finds the result with one request and deletes the message.
LINGER_SECONDS = 1.0


class Acknowledger:
    """A thread that deletes messages in batches of `size`, or of as many as have come within LINGER_SECONDS.

    `add` may be called from any thread; `close` once, after the last `add`.
    """

    def __init__(self, delete: Callable[[Sequence[Delivery]], list[str]], size: int) -> None:
        """Start the thread. `delete`: deletes up to `size` messages and returns one error text per message that SQS
        has not deleted."""
        self.delete, self.size = delete, size
        self._given: queue.SimpleQueue[tuple[Delivery, Lease] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="acknowledger")
        self._thread.start()

    def add(self, delivery: Delivery, lease: Lease) -> None:
        """Delete the message with the next batch, or at once if `size` is 1. Its lease is kept until then."""
        if self.size == 1:
            self._delete([(delivery, lease)])
        else:
            self._given.put((delivery, lease))

    def close(self) -> None:
        """Delete the messages of the last batch, end the thread and return."""
        self._given.put(None)
        self._thread.join()

    def _run(self) -> None:
        leave_signals_to_the_main_thread()
        while first := self._given.get():
            batch = [first]
            ended = not self._fill(batch)
            self._delete(batch)
            if ended:
                return

    def _fill(self, batch: list[tuple[Delivery, Lease]]) -> bool:
        """Add messages until the batch is full or LINGER_SECONDS have passed. Return False after `close`."""
        until = time.monotonic() + LINGER_SECONDS
        while len(batch) < self.size:
            try:
                each = self._given.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if each is None:
                return False
            batch.append(each)
        return True

    def _delete(self, batch: list[tuple[Delivery, Lease]]) -> None:
        for _, lease in batch:
            lease.release()
        # A message whose lease is lost may be in flight on another worker. That worker finds the result and deletes it.
        held = [delivery for delivery, lease in batch if not lease.lost]
        if not held:
            return
        try:
            refused = self.delete(held)
        except Exception as error:
            refused = [str(error)]
        for each in refused:
            tell(log, events.DELETE_FAILED, reason=each)
