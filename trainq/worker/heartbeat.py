"""Keeps received messages with this worker for as long as the work on them takes."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from trainq.protocol.messages import MAX_BATCH
from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.leases import NEVER, Lease, now
from trainq.worker.signals import Why

log = logging.getLogger(__name__)

# Two heartbeats may be lost before the message is.
BEATS_PER_TIMEOUT = 3
# SQS's ways to say that the message is not ours any more.
LOST = {
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "InvalidParameterValue",
    "QueueDoesNotExist",
    "NonExistentQueue",
}


class Leases:
    """All messages that a worker has in flight: one thread extends their visibility, together, every third of the
    timeout (seconds). What is done with within a third costs no request."""

    def __init__(self, heartbeats: Any, url: str, timeout: int) -> None:
        """`heartbeats`: an SQS client that gives up early."""
        self.heartbeats, self.url, self.timeout = heartbeats, url, timeout
        self.interval = timeout / BEATS_PER_TIMEOUT
        self._held: list[Lease] = []
        self._next = NEVER
        self._changing, self._beating = threading.Lock(), threading.Lock()
        self._wake, self._closed = threading.Event(), False
        self._looks = ThreadPoolExecutor(1, "look", leave_signals_to_the_main_thread)
        self._looking: Future[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
        self._thread.start()

    def hold(self, handle: str, *, received: float, wall: float) -> Lease:
        """`handle`: the receipt's. `received`: what `now()` was just before the message was asked for. `wall`: seconds
        from then until the work must end."""
        lease = Lease(self, handle, received, wall)
        with self._changing:
            self._held.append(lease)
        self.wake_by(lease.due)
        return lease

    def wake_by(self, when: float) -> None:
        with self._changing:
            if when < self._next:
                self._wake.set()

    def release(self, lease: Lease) -> None:
        with self._changing:
            lease.released = True
            if lease in self._held:
                self._held.remove(lease)
        # One that is under way comes to its end first.
        with self._beating:
            pass

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join()
        self._looks.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        leave_signals_to_the_main_thread()
        while not self._closed:
            with self._changing:
                self._held = [lease for lease in self._held if not lease.lost]
                self._next = min((lease.due for lease in self._held), default=NEVER)
            # Not for ever: nobody may wait for infinity.
            self._wake.wait(max(0.0, min(self._next - now(), 60)))
            self._wake.clear()
            self._keep()
            for lease in self._now_held():
                if now() >= lease.look_at:
                    self._look(lease)

    def _look(self, lease: Lease) -> None:
        """In a thread of its own: while S3 does not answer, SQS may, and heartbeats must go on. One at a time."""
        lease.look_at = NEVER
        if self._looking is None or self._looking.done():
            self._looking = self._looks.submit(lease.look)

    def _now_held(self) -> list[Lease]:
        with self._changing:
            return [lease for lease in self._held if not lease.lost]

    def _keep(self) -> None:
        with self._beating:
            for lease in self._now_held():
                if now() >= lease.wall:
                    lease.wall = NEVER
                    lease.end(Why.WALL)
                if now() >= lease.expires:
                    lease.lose("its visibility timeout passed without a heartbeat")
                elif now() >= lease.beat and lease.left < 1:
                    lease.lose("12 h have passed since its receive")
            held = self._now_held()
            if any(now() >= lease.beat for lease in held):
                # Those too that are nearly due, so that they go together from then on.
                due = [lease for lease in held if now() >= lease.beat - self.interval / 2 and lease.left >= 1]
                for start in range(0, len(due), MAX_BATCH):
                    self._extend(due[start : start + MAX_BATCH])

    def _extend(self, leases: Sequence[Lease]) -> None:
        asked = now()
        timeouts = [max(1, min(self.timeout, int(lease.left))) for lease in leases]
        entries = [
            {"Id": str(number), "ReceiptHandle": lease.handle, "VisibilityTimeout": timeout}
            for number, (lease, timeout) in enumerate(zip(leases, timeouts, strict=True))
        ]
        try:
            answer = self.heartbeats.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
            failed = {int(each["Id"]): (each["Code"], each.get("Message", "")) for each in answer.get("Failed", ())}
        except Exception as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            failed = dict.fromkeys(range(len(leases)), (code, str(error)))
        refused = ""
        for number, (lease, timeout) in enumerate(zip(leases, timeouts, strict=True)):
            code, reason = failed.get(number, ("", ""))
            if number not in failed:
                lease.expires, lease.beat = asked + timeout, now() + self.interval
                # From its first heartbeat on, a task is looked at with each.
                lease.look_at = min(lease.look_at, now())
            elif code.rsplit(".", 1)[-1] in LOST:
                lease.lose(reason or code)
            else:
                lease.beat, refused = now() + self.interval / 4, reason or code
        if refused:
            log.warning("a heartbeat failed and is tried again: %s", refused)
