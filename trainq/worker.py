"""The worker: takes tasks from the model training queue, one at a time, and sees each through."""

import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from trainq.attempt import Attempt, TaskFailed, Train, TrainingTask
from trainq.interruption import Interrupted, Interruption
from trainq.lease import Lease
from trainq.messages import MessageError, Task
from trainq.stack import Stack

__all__ = ["TaskFailed", "TrainingTask", "Worker"]

log = logging.getLogger(__name__)

MAX_LONG_POLL_SECONDS = 20
# Between receives that AWS does not answer or refuses: no network, expired credentials.
RETRY_SECONDS = 5


class Worker:
    """Takes one task after the other from a stack's model training queue and hands it to `train`.

    `train` returns when the output is complete, and raises if the task should be tried again. It runs in the calling
    thread; SIGINT and SIGTERM raise Interrupted in it, and the task goes back to the queue at once.
    """

    def __init__(
        self,
        stack: Stack,
        train: Train,
        *,
        name: str | None = None,
        folder: Path | None = None,
        max_tasks: int | None = None,
        idle_exit: float | None = None,
    ) -> None:
        """`folder`: where attempts keep their files (default: a temporary folder). The worker ends after `max_tasks`
        deliveries, or when it has waited `idle_exit` seconds for a task; by default never."""
        self.stack, self.train = stack, train
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.folder, self.max_tasks, self.idle_exit = folder, max_tasks, idle_exit
        self.interruption = Interruption()
        self._has_received = False

    def run(self) -> None:
        """Work until told to stop.

        Raises ClientError or BotoCoreError if the queue cannot be received from to begin with: no such queue, no right,
        no credentials. Later the same is a fault that may pass, and is tried again.
        """
        with self.interruption:
            timeout = self._visibility_timeout()
            log.info("worker %s: waiting for tasks; the visibility timeout is %d s", self.name, timeout)
            self._work(timeout)
        log.info("worker %s: ended", self.name)

    def stop(self) -> None:
        """Take no further task; the running one is finished. May be called from any thread."""
        self.interruption.requested = True

    def _work(self, timeout: int) -> None:
        deliveries = 0
        idle_since = time.monotonic()
        while not self.interruption.requested and (self.max_tasks is None or deliveries < self.max_tasks):
            message = self._receive(idle_since)
            if message:
                deliveries += 1
                handle = message["ReceiptHandle"]
                with Lease(self.stack.sqs, self.stack.model_training_queue_url, handle, timeout) as lease:
                    self._handle(message, lease)
                idle_since = time.monotonic()
            elif self.idle_exit is not None and time.monotonic() - idle_since >= self.idle_exit:
                log.info("worker %s: no task for %.0f s", self.name, self.idle_exit)
                return

    def _visibility_timeout(self) -> int:
        """Seconds, as the queue has it: a worker needs no setting of its own that could disagree."""
        answer = self.stack.sqs.get_queue_attributes(
            QueueUrl=self.stack.model_training_queue_url, AttributeNames=["VisibilityTimeout"]
        )
        return int(answer["Attributes"]["VisibilityTimeout"])

    def _receive(self, idle_since: float) -> dict[str, Any] | None:
        wait = float(MAX_LONG_POLL_SECONDS)
        if self.idle_exit is not None:
            wait = min(wait, max(0.0, self.idle_exit - (time.monotonic() - idle_since)))
        try:
            return self.interruption.allow(self._receive_one, round(wait))
        except Interrupted:
            return None

    def _receive_one(self, wait: int) -> dict[str, Any] | None:
        try:
            answer = self.stack.sqs.receive_message(
                QueueUrl=self.stack.model_training_queue_url,
                WaitTimeSeconds=wait,
                MaxNumberOfMessages=1,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            self._has_received = True
            return next(iter(answer.get("Messages", ())), None)
        except (BotoCoreError, ClientError) as error:
            if not self._has_received:
                raise
            log.warning("no task could be received, trying again in %d s: %s", RETRY_SECONDS, error)
            time.sleep(RETRY_SECONDS)
            return None

    def _handle(self, message: dict[str, Any], lease: Lease) -> None:
        """One delivery. Whatever goes wrong, the message stays on the queue unless the task's result is committed."""
        try:
            task = Task.from_json(message["Body"])
        except MessageError as error:
            log.error("message %s is no task and is left for the dead letter queue: %s", message["MessageId"], error)
            return
        receive_count = int(message["Attributes"]["ApproximateReceiveCount"])
        attempt = Attempt.new(self.stack, task, receive_count, self.name)
        try:
            try:
                attempt.run(self.train, self.interruption, self.folder)
                lease.delete()
            except Interrupted:
                lease.release()
                log.info("%s: interrupted and given back", attempt)
        except TaskFailed as failure:
            log.warning("%s: failed and left for redelivery: %s", attempt, failure)
        except Exception:
            # A worker outlives what it does not know: the message comes back, at most five times.
            log.exception("%s: left for redelivery", attempt)
