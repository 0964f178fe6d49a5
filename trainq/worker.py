"""The worker: takes tasks from the model training queue, one at a time, and sees each through."""

import contextlib
import logging
import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from trainq.attempt import Attempt, TaskFailed, Train, TrainingTask
from trainq.cancellation import Cancellations
from trainq.checkpoints import CheckpointedJobs
from trainq.guard import WorkerBroken
from trainq.interruption import Interrupted, Interruption, Why
from trainq.lease import Lease
from trainq.messages import MessageError, Task
from trainq.stack import Stack
from trainq.taskqueue import Delivery, TaskQueue, backoff

__all__ = ["Options", "TaskFailed", "TrainingTask", "Worker"]

log = logging.getLogger(__name__)

MAX_LONG_POLL_SECONDS = 20
# Well before SQS's 12 h, so that there is time for a last checkpoint.
DEFAULT_WALL_SECONDS = 11.5 * 3600
# A worker reports what it is at when a task begins, but not more often than this: a short task costs no request.
REPORT_SECONDS = 1.0
# Between receives that AWS does not answer or refuses: no network, expired credentials.
RETRY_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a worker goes about it; the times are in seconds."""

    # What it is called in results.
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    # Where attempts keep their files; a temporary folder if there is none.
    folder: Path | None = None
    # It ends after so many deliveries, or when it has waited so long for a task; by default never.
    max_tasks: int | None = None
    idle_exit: float | None = None
    # How long one request waits for a task, 1 to 20; an idle worker takes as long to stop.
    poll: int = MAX_LONG_POLL_SECONDS
    # After its first failure a task comes back in about so long, after each further one in twice as long.
    backoff: float = 10
    # A task that has been held for so long is handed over with its checkpoint.
    wall: float = DEFAULT_WALL_SECONDS
    # How many tasks it takes from the queue at once, 1 to 10, to work on one after the other: for short ones, since a
    # worker that is killed loses an attempt at each.
    prefetch: int = 1
    # How often a running task's checkpoint is saved; by default when it is interrupted, or asks for it.
    checkpoint_every: float | None = None


class Worker:
    """Takes one task after the other from a stack's model training queue and hands it to `train`.

    `train` returns when the output is complete, and raises if the task should be tried again. It runs in the calling
    thread; SIGINT, SIGTERM and whatever else ends a task raise Interrupted in it. The task then goes back to the queue
    with its checkpoint.
    """

    def __init__(
        self, stack: Stack, train: Train, options: Options | None = None, *, interruption: Interruption | None = None
    ) -> None:
        self.stack, self.train = stack, train
        self.options = options or Options()
        self.interruption = interruption or Interruption()
        self.cancellations = Cancellations(stack)
        self.checkpointed = CheckpointedJobs(stack)
        self._looks = stack.s3
        self._has_received = False
        self._failures_in_a_row = 0
        self._reported = -REPORT_SECONDS

    def run(self) -> None:
        """Work until told to stop.

        Raises ClientError or BotoCoreError if the queue cannot be received from to begin with: no such queue, no right,
        no credentials. Later the same is a fault that may pass, and is tried again.
        """
        name = self.options.name
        with self.interruption:
            try:
                queue = self.interruption.allow(self._look_at_the_stack)
                log.info("worker %s: waiting for tasks; the visibility timeout is %d s", name, queue.timeout)
                self._work(queue)
            except Interrupted:
                pass
        log.info("worker %s: ended%s", name, ", as it was told to" if self.interruption.requested else "")

    def stop(self) -> None:
        """Take no further task; the running one is finished. May be called from any thread."""
        self.interruption.requested = True

    def _look_at_the_stack(self) -> TaskQueue:
        """Sees that the bucket is there, since without it every task would fail."""
        self.stack.s3.head_bucket(Bucket=self.stack.bucket_name)
        return TaskQueue(self.stack)

    def _work(self, queue: TaskQueue) -> None:
        options = self.options
        heartbeats = self.stack.impatient("sqs", queue.timeout)
        self._looks = self.stack.impatient("s3", queue.timeout)
        left = options.max_tasks if options.max_tasks is not None else float("inf")
        idle_since = time.monotonic()
        while not self.interruption.requested and left > 0:
            # A receive that is cut off may have taken a task, which nobody would know of until it times out.
            number = int(min(options.prefetch, left))
            deliveries = self.interruption.allow(self._receive, queue, idle_since, number, insisted=True)
            if deliveries:
                left -= len(deliveries)
                self._handle_all(queue, heartbeats, deliveries)
                idle_since = time.monotonic()
            elif options.idle_exit is not None and time.monotonic() - idle_since >= options.idle_exit:
                log.info("worker %s: no task for %.0f s", options.name, options.idle_exit)
                return

    def _receive(self, queue: TaskQueue, idle_since: float, number: int) -> list[Delivery]:
        wait = float(self.options.poll)
        if self.options.idle_exit is not None:
            wait = min(wait, self.options.idle_exit - (time.monotonic() - idle_since))
        try:
            # 0 would be a short poll, which may miss messages that are there.
            deliveries = queue.receive(max(1, round(wait)), number)
            self._has_received = True
            return deliveries
        except (BotoCoreError, ClientError) as error:
            if not self._has_received:
                raise
            log.warning("no task could be received, trying again in %d s: %s", RETRY_SECONDS, error)
            time.sleep(RETRY_SECONDS)
            return []

    def _handle_all(self, queue: TaskQueue, heartbeats: object, deliveries: list[Delivery]) -> None:
        """One after the other, all of them kept meanwhile; those that are not begun when the worker stops go back."""
        held = deque(
            (
                each,
                Lease(heartbeats, queue.message(each), queue.timeout, received=each.received, wall=self.options.wall),
            )
            for each in deliveries
        )
        try:
            while held and not self.interruption.requested:
                delivery, lease = held.popleft()
                with lease:
                    if not lease.lost:
                        self._handle(queue, delivery, lease)
                self._pause_after_failures()
        finally:
            for delivery, lease in held:
                lease.stop()
                self._give_back(queue, delivery, lease)

    def _give_back(self, queue: TaskQueue, delivery: Delivery, lease: Lease) -> None:
        """A task that was not begun. If it cannot be given back, it comes back after its visibility timeout."""
        try:
            if not lease.lost:
                queue.hand_over(delivery, Task.from_json(delivery.body), begun=False)
        except Exception as error:
            log.warning("message %s could not be given back: %s", delivery.message_id, error)

    def _handle(self, queue: TaskQueue, delivery: Delivery, lease: Lease) -> None:
        """One delivery. Whatever goes wrong, the message stays on the queue unless its effect is durable."""
        try:
            try:
                task = Task.from_json(delivery.body)
            except MessageError as error:
                log.error("message %s is no task, to the dead letter queue with it: %s", delivery.message_id, error)
                queue.put_aside(delivery, str(error))
                return
            self._attempt(queue, delivery, lease, task)
        except WorkerBroken:
            raise
        except Exception:
            # A worker outlives what it does not know: the message comes back, at most five times.
            log.exception("message %s: left for redelivery", delivery.message_id)
            self._failures_in_a_row += 1

    def _attempt(self, queue: TaskQueue, delivery: Delivery, lease: Lease, task: Task) -> None:
        attempt = Attempt(self.stack, task, delivery, self.options.name)
        self.interruption.begin_task()

        def look() -> None:
            self._reported = time.monotonic()
            attempt.report(self._looks)
            if self.cancellations.has(task.job_id, asking=self._looks):
                self.interruption.interrupt(Why.CANCELLED)

        first_look = max(0.0, self._reported + REPORT_SECONDS - time.monotonic())
        lease.begin(on_end=self.interruption.interrupt, on_look=look, first_look=first_look)
        try:
            if self.cancellations.has(task.job_id):
                log.info("%s: not started, since the job is cancelled", attempt)
            elif not attempt.is_done():
                attempt.run(
                    self.train,
                    self.interruption,
                    self.options.folder,
                    self.options.checkpoint_every,
                    look_for_checkpoints=delivery.attempt > 1 or self.checkpointed.has(task.job_id),
                )
            self._failures_in_a_row = 0
            lease.stop()
            queue.delete(delivery)
        except Interrupted as interrupted:
            lease.stop()
            self._end(queue, delivery, attempt, Why.LOST if lease.lost else interrupted.why)
        except WorkerBroken:
            lease.stop()
            # If this fails, the message comes back after its visibility timeout.
            with contextlib.suppress(BotoCoreError, ClientError):
                queue.retry_after(delivery, 0)
            raise
        except TaskFailed as failure:
            self._failures_in_a_row += 1
            lease.stop()
            if lease.lost:
                log.warning("%s: failed, and is not this worker's any more: %s", attempt, failure)
            else:
                self._retry(queue, delivery, attempt, failure)

    def _end(self, queue: TaskQueue, delivery: Delivery, attempt: Attempt, why: Why) -> None:
        """The task was ended in the middle: what becomes of its message."""
        if why is Why.CANCELLED:
            queue.delete(delivery)
        elif why is not Why.LOST:
            queue.hand_over(delivery, attempt.task)
        log.info("%s: interrupted (%s)", attempt, why.value)

    def _retry(self, queue: TaskQueue, delivery: Delivery, attempt: Attempt, failure: TaskFailed) -> None:
        failures = delivery.failures + 1
        if failures >= queue.max_failures:
            log.warning("%s: failed for the last time, to the dead letter queue: %s", attempt, failure)
            queue.put_aside(delivery, f"failed {failures} times, the last time on {self.options.name}: {failure}")
        else:
            wait = backoff(failures, self.options.backoff)
            log.warning(
                "%s: failed (%d of %d), again in %d s: %s", attempt, failures, queue.max_failures, wait, failure
            )
            queue.retry_after(delivery, wait)

    def _pause_after_failures(self) -> None:
        """A machine on which everything fails at once (a full disk, a broken GPU) must not empty the queue into the
        dead letter queue: from the third failure in a row it waits, up to a minute."""
        # What was to end the last task has nothing to do with the pause.
        self.interruption.begin_task()
        if self._failures_in_a_row >= 3:
            pause = min(60, 2 ** (self._failures_in_a_row - 3))
            log.warning(
                "worker %s: %d failures in a row, waiting %d s", self.options.name, self._failures_in_a_row, pause
            )
            self.interruption.allow(time.sleep, pause)
