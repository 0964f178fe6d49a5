"""Keeps a received message with this worker for as long as the work on it takes."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import ClientError

from trainq.interruption import Why

log = logging.getLogger(__name__)

# Two heartbeats may be lost before the message is.
BEATS_PER_TIMEOUT = 3
# A message is never hidden for longer than 12 h from its receive, and SQS refuses to be asked for more.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
MAX_HIDDEN_SECONDS = 12 * 3600 - 10
# SQS's ways to say that the message is not ours any more.
LOST = {
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "InvalidParameterValue",
    "QueueDoesNotExist",
    "NonExistentQueue",
}


def now() -> float:
    """Seconds, counting also those that the machine slept, as a closed laptop does; SQS does not sleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """A message in flight; a context manager that extends its visibility every third of the timeout (seconds).

    From `begin` on it tells, in another thread, how the work on the message stands.
    """

    def __init__(self, heartbeats: Any, message: dict[str, str], timeout: int, *, received: float, wall: float) -> None:
        """`heartbeats`: an SQS client that gives up early. `message`: QueueUrl and ReceiptHandle. `received`: what
        `now()` was just before the message was asked for. `wall`: seconds from then until the work must end."""
        self.heartbeats, self.message, self.timeout = heartbeats, message, timeout
        self.received, self.expires = received, received + timeout
        self.wall = received + wall
        self.lost = False
        # Why the work must end, kept for when it begins.
        self._due: Why | None = None
        self._on_end: Callable[[Why], None] = lambda why: None
        self._on_look: Callable[[], None] = lambda: None
        self._look_at = float("inf")
        self._stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
        self._thread.start()

    def begin(self, *, on_end: Callable[[Why], None], on_look: Callable[[], None], first_look: float) -> None:
        """The work begins. `on_end` hears that it must end: the lease is lost, or the wall is reached. `on_look` is
        called in `first_look` seconds, and with every heartbeat."""
        self._on_end, self._on_look = on_end, on_look
        self._look_at = now() + first_look
        self._wake.set()
        if self._due:
            on_end(self._due)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No heartbeat comes after this: it would hide a message again that is to be given back."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        interval = self.timeout / BEATS_PER_TIMEOUT
        beat = self.received + interval
        while True:
            self._wake.wait(max(0.0, min(beat, self._look_at, self.wall) - now()))
            self._wake.clear()
            if self._stopped:
                return
            if now() >= self.wall:
                self.wall = float("inf")
                self._due = Why.WALL
                self._on_end(Why.WALL)
            if now() >= self.expires:
                self._lose("its visibility timeout passed without a heartbeat")
            elif now() >= beat:
                beat = now() + (interval if self._extend() else interval / 4)
                self._look_at = min(self._look_at, now())
            if self.lost:
                return
            if now() >= self._look_at:
                self._look_at = float("inf")
                self._look()

    def _extend(self) -> bool:
        asked = now()
        left = int(MAX_HIDDEN_SECONDS - (asked - self.received))
        if left <= 0:
            self._lose("12 h have passed since its receive")
            return False
        try:
            timeout = min(self.timeout, left)
            self.heartbeats.change_message_visibility(**self.message, VisibilityTimeout=timeout)
        except Exception as error:
            code = error.response["Error"]["Code"].rsplit(".", 1)[-1] if isinstance(error, ClientError) else ""
            if code in LOST:
                self._lose(str(error))
            else:
                log.warning("a heartbeat failed and is tried again: %s", error)
            return False
        self.expires = asked + timeout
        return True

    def _lose(self, reason: str) -> None:
        self.lost = True
        log.warning("lost the lease of a message, which another worker may have by now: %s", reason)
        self._due = Why.LOST
        self._on_end(Why.LOST)

    def _look(self) -> None:
        try:
            self._on_look()
        except Exception as error:
            log.warning("this task's state could not be reported: %s", error)
