"""The worker: takes tasks from the model training queue, one at a time, and sees each through."""

import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from trainq.attempt import Attempt, TaskFailed, Train, TrainingTask
from trainq.guard import WorkerBroken
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
        poll: int = MAX_LONG_POLL_SECONDS,
        interruption: Interruption | None = None,
    ) -> None:
        """`folder`: where attempts keep their files (default: a temporary folder). The worker ends after `max_tasks`
        deliveries, or when it has waited `idle_exit` seconds for a task; by default never. `poll`: seconds, 1 to 20,
        that one request waits for a task, and that an idle worker takes to stop."""
        self.stack, self.train = stack, train
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.folder, self.max_tasks, self.idle_exit = folder, max_tasks, idle_exit
        self.poll = poll
        self.interruption = interruption or Interruption()
        self._failures_in_a_row = 0
        self._has_received = False

    def run(self) -> None:
        """Work until told to stop.

        Raises ClientError or BotoCoreError if the queue cannot be received from to begin with: no such queue, no right,
        no credentials. Later the same is a fault that may pass, and is tried again.
        """
        with self.interruption:
            try:
                timeout = self.interruption.allow(self._look_at_the_stack)
                log.info("worker %s: waiting for tasks; the visibility timeout is %d s", self.name, timeout)
                self._work(timeout)
            except Interrupted:
                pass
        log.info("worker %s: ended%s", self.name, ", as it was told to" if self.interruption.requested else "")

    def stop(self) -> None:
        """Take no further task; the running one is finished. May be called from any thread."""
        self.interruption.requested = True

    def _work(self, timeout: int) -> None:
        deliveries = 0
        heartbeats = self.stack.heartbeat_client(timeout)
        idle_since = time.monotonic()
        while not self.interruption.requested and (self.max_tasks is None or deliveries < self.max_tasks):
            # A receive that is cut off may have taken a task, which nobody would know of until it times out.
            message = self.interruption.allow(self._receive, idle_since, timeout, insisted=True)
            if message:
                deliveries += 1
                handle = message["ReceiptHandle"]
                queue_url = self.stack.model_training_queue_url
                with Lease(self.stack.sqs, heartbeats, queue_url, handle, timeout) as lease:
                    self._handle(message, lease)
                self._pause_after_failures()
                idle_since = time.monotonic()
            elif self.idle_exit is not None and time.monotonic() - idle_since >= self.idle_exit:
                log.info("worker %s: no task for %.0f s", self.name, self.idle_exit)
                return

    def _look_at_the_stack(self) -> int:
        """The queue's visibility timeout in seconds: a worker needs no setting of its own that could disagree.

        Also sees that the bucket is there, since without it every task would fail.
        """
        self.stack.s3.head_bucket(Bucket=self.stack.bucket_name)
        answer = self.stack.sqs.get_queue_attributes(
            QueueUrl=self.stack.model_training_queue_url, AttributeNames=["VisibilityTimeout"]
        )
        return int(answer["Attributes"]["VisibilityTimeout"])

    def _receive(self, idle_since: float, timeout: int) -> dict[str, Any] | None:
        wait = float(self.poll)
        if self.idle_exit is not None:
            wait = min(wait, self.idle_exit - (time.monotonic() - idle_since))
        try:
            answer = self.stack.sqs.receive_message(
                QueueUrl=self.stack.model_training_queue_url,
                # 0 would be a short poll, which may miss messages that are there.
                WaitTimeSeconds=max(1, round(wait)),
                # What the heartbeat goes by, also when the queue has been given another one since.
                VisibilityTimeout=timeout,
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
        self._failures_in_a_row += 1
        try:
            try:
                attempt.run(self.train, self.interruption, self.folder)
                lease.delete()
                self._failures_in_a_row = 0
            except (Interrupted, WorkerBroken) as why:
                lease.release()
                log.info("%s: interrupted and given back", attempt)
                if isinstance(why, WorkerBroken):
                    raise
        except WorkerBroken:
            raise
        except TaskFailed as failure:
            log.warning("%s: failed and left for redelivery: %s", attempt, failure)
        except Exception:
            # A worker outlives what it does not know: the message comes back, at most five times.
            log.exception("%s: left for redelivery", attempt)

    def _pause_after_failures(self) -> None:
        """A machine on which everything fails at once (a full disk, a broken GPU) must not empty the queue into the
        dead letter queue: from the third failure in a row it waits, up to a minute."""
        if self._failures_in_a_row >= 3:
            pause = min(60, 2 ** (self._failures_in_a_row - 3))
            log.warning("worker %s: %d failures in a row, waiting %d s", self.name, self._failures_in_a_row, pause)
            self.interruption.allow(time.sleep, pause)
