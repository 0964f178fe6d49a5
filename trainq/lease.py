"""Keeps a received message with this worker for as long as the work on it takes."""

import logging
import threading
import time
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import ClientError

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
# A message is never hidden for longer than 12 h from its receive, and SQS refuses to be asked for more.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
MAX_HIDDEN_SECONDS = 12 * 3600 - 10


class Lease:
    """A message in flight; a context manager that extends its visibility every third of the timeout (seconds).

    `lost` tells that SQS refused an extension: another worker may have the message.
    """

    def __init__(self, sqs: Any, heartbeats: Any, queue_url: str, receipt_handle: str, timeout: int) -> None:
        """`heartbeats` is an SQS client that gives up early; `sqs` one that tries hard."""
        self.sqs, self.heartbeats, self.timeout = sqs, heartbeats, timeout
        self.received = time.monotonic()
        self.message = {"QueueUrl": queue_url, "ReceiptHandle": receipt_handle}
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def delete(self) -> None:
        """The work's effect is durable: take the message off the queue."""
        self._stop()
        self.sqs.delete_message(**self.message)

    def release(self) -> None:
        """Give the message back at once, for another worker to receive."""
        # A heartbeat after this would hide the message again.
        self._stop()
        self.sqs.change_message_visibility(**self.message, VisibilityTimeout=0)

    def _stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _beat(self) -> None:
        interval = wait = self.timeout / BEATS_PER_TIMEOUT
        while not self._ended.wait(wait):
            left = int(MAX_HIDDEN_SECONDS - (time.monotonic() - self.received))
            if left <= 0:
                self.lost = True
                log.warning("12 h after its receive the message goes back to the queue (SQS): the task begins again")
                return
            try:
                self.heartbeats.change_message_visibility(**self.message, VisibilityTimeout=min(self.timeout, left))
                wait = interval
            except ClientError as error:
                if error.response["Error"]["Code"].rsplit(".", 1)[-1] in LOST:
                    self.lost = True
                    log.warning("the message is not this worker's any more: %s", error)
                    return
                wait = self._soon(error, interval)
            except Exception as error:
                wait = self._soon(error, interval)

    def _soon(self, error: Exception, interval: float) -> float:
        log.warning("a heartbeat failed and is tried again: %s", error)
        return interval / 4
