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

    `on_end` hears, in another thread, that the work must end: the lease is lost, or `wall` seconds have passed since
    the receive. `on_look` is called in that thread `first_look` seconds after the start, and with every heartbeat.
    """

    def __init__(
        self,
        heartbeats: Any,
        message: dict[str, str],
        timeout: int,
        *,
        received: float,
        wall: float,
        first_look: float,
        on_end: Callable[[Why], None],
        on_look: Callable[[], None],
    ) -> None:
        """`heartbeats`: an SQS client that gives up early. `message`: QueueUrl and ReceiptHandle. `received`: what
        `now()` was just before the message was asked for."""
        self.heartbeats, self.message, self.timeout = heartbeats, message, timeout
        self.received, self.expires = received, received + timeout
        self.wall = received + wall
        self.first_look, self.on_end, self.on_look = first_look, on_end, on_look
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No heartbeat comes after this: it would hide a message again that is to be given back."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        interval = self.timeout / BEATS_PER_TIMEOUT
        beat = self.received + interval
        look = now() + self.first_look
        while not self._ended.wait(max(0.0, min(beat, look, self.wall) - now())):
            if now() >= self.wall:
                self.wall = float("inf")
                self.on_end(Why.WALL)
            if now() >= self.expires:
                self._lose("its visibility timeout passed without a heartbeat")
                return
            if now() >= beat:
                beat = now() + (interval if self._extend() else interval / 4)
                look = min(look, now())
            if self.lost:
                return
            if now() >= look:
                look = float("inf")
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
        self.on_end(Why.LOST)

    def _look(self) -> None:
        try:
            self.on_look()
        except Exception as error:
            log.warning("this task's state could not be reported: %s", error)
