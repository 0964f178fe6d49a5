"""Deletes the messages of tasks whose results are committed, ten with one request."""

import logging
import queue
import threading
import time

from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.leases import Lease
from trainq.worker.task_queue import Delivery, TaskQueue

log = logging.getLogger(__name__)

# For how long a message waits for others to be deleted with: until then its task is done all the same, and a crash
# costs whoever gets the message next one look at the result.
LINGER_SECONDS = 1.0


class Deletions:
    """A thread that deletes what it is given, `size` messages at once or as many as have come within a second."""

    def __init__(self, tasks: TaskQueue, size: int) -> None:
        self.tasks, self.size = tasks, size
        self._given: queue.SimpleQueue[tuple[Delivery, Lease] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="deletions")
        self._thread.start()

    def add(self, delivery: Delivery, lease: Lease) -> None:
        """Its effect is durable. The lease is kept until the message is deleted: at once, if it is not to wait."""
        if self.size == 1:
            self._delete([(delivery, lease)])
        else:
            self._given.put((delivery, lease))

    def close(self) -> None:
        """Returns when all have been deleted that can be."""
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
        """Wait for others; False if there will be no more."""
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
        try:
            refused = self.tasks.delete_all([delivery for delivery, _ in batch])
        except Exception as error:
            refused = [str(error)]
        for each in refused:
            log.warning(
                "a message of a task that is done was not deleted; it comes back, and is deleted then: %s", each
            )
