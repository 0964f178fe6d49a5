"""The worker: receives tasks from the model training queue, trains them and commits their results."""

import logging
import os
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.protocol.limits import MAX_BATCH, MAX_LONG_POLL_SECONDS
from trainq.protocol.names import ALLOWED, is_name
from trainq.stack import Stack
from trainq.transfers import TransferPool
from trainq.worker import work_folder
from trainq.worker.acknowledger import Acknowledger
from trainq.worker.attempt import Workplace
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.delivery import Delivery
from trainq.worker.job_cache import CANCELLED_SECONDS, CHECKPOINTED_SECONDS, JobCache, has_checkpoints, is_cancelled
from trainq.worker.leases import Leases
from trainq.worker.pipeline import Pipeline
from trainq.worker.settlement import Settlement
from trainq.worker.signals import Interrupted, Interruption
from trainq.worker.task_queue import TaskQueue
from trainq.worker.training import TaskFailed, Train, TrainingTask
from trainq.worker.watch import Watch

__all__ = ["Options", "TaskFailed", "TrainingTask", "Worker"]

log = logging.getLogger(__name__)

# SQS hides a message for 12 h at most: half an hour is left to upload a last checkpoint.
DEFAULT_MAX_HOLD_SECONDS = 11.5 * 3600
# Pause after a receive that failed: no network, expired credentials.
RETRY_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a worker. Times are in seconds."""

    # Name of the worker in results and logs.
    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    # Folder for the attempts' files; if None, one of the worker's own in the system's temporary folder.
    folder: Path | None = None
    # End after this number of deliveries, or after waiting this long without a task; never if None. The wait begins
    # when the last task that failed on this worker can be received again; receives that fail do not count.
    max_tasks: int | None = None
    idle_exit: float | None = None
    # Longest wait of one receive, 1 to 20. An idle worker takes up to this long to stop.
    poll: int = MAX_LONG_POLL_SECONDS
    # Delay of the retry after a task's first failure. It doubles with each further failure.
    backoff: float = 10
    # Release a task, with its checkpoint, after this time. SQS allows 12 h.
    max_hold: float = DEFAULT_MAX_HOLD_SECONDS
    # Number of tasks to receive at once, 1 to 10. From 2 on, the next tasks' shards are downloaded while one trains.
    # For short tasks: a worker that is killed loses one attempt of each.
    prefetch: int = 1
    # Download shards before training. If False, `train` reads them from the bucket.
    download: bool = True
    # Interval between checkpoints. If None, save one only on interruption or on request (`checkpoint_now`).
    checkpoint_every: float | None = None
    # Raise Interrupted in `train` when its task must end. If False, `train` must check `TrainingTask.should_stop`; a
    # second request to stop raises Interrupted all the same.
    interrupt_training: bool = True

    def __post_init__(self) -> None:
        # The name is part of a key in the bucket and of log lines.
        if not is_name(self.name) or "/" in self.name:
            raise ValueError(f"name is {self.name!r}: allowed is one segment of {ALLOWED}")


class Worker:
    """A worker: receives tasks from a stack's model training queue and calls `train` for each, one after the other.

    `train` returns when the output is complete; it raises an exception if the task must be retried. It runs in the
    thread that calls `run`. SIGINT, SIGTERM, a lost lease, a cancelled job and the hold limit raise Interrupted in it;
    after a signal or at the hold limit the task is released with its checkpoint.
    """

    def __init__(
        self, stack: Stack, train: Train, options: Options | None = None, *, interruption: Interruption | None = None
    ) -> None:
        self.stack, self.train = stack, train
        self.options = options or Options()
        self.interruption = interruption or Interruption()
        self._has_received = False

    def run(self) -> None:
        """Receive and train tasks until a signal, `stop` or an option ends the worker.

        Raises ClientError or BotoCoreError if the first receive fails: no such queue, no permission, no credentials.
        Later receives that fail are retried every 5 s. Raises WorkerBroken if `train` has raised it.
        """
        name = self.options.name
        with self.interruption:
            try:
                queue = self.interruption.allow(self._open_queue)
                tell(log, events.WORKER_STARTED, worker=name, timeout=queue.timeout)
                self._work(queue)
            except Interrupted:
                pass
        how = ", as it was told to" if self.interruption.requested else ""
        tell(log, events.WORKER_STOPPED, worker=name, how=how)

    def stop(self) -> None:
        """Stop after the running task. May be called from any thread."""
        self.interruption.requested = True

    def _open_queue(self) -> TaskQueue:
        """Return the stack's queue. Raises ClientError if the bucket is missing: every task would fail without it."""
        self.stack.s3.head_bucket(Bucket=self.stack.bucket_name)
        return TaskQueue(self.stack)

    def _work(self, queue: TaskQueue) -> None:
        options = self.options
        left = options.max_tasks if options.max_tasks is not None else float("inf")
        more_likely = False
        idle_since = time.monotonic()
        with self._pipeline(queue) as (pipeline, settlement):
            while not self.interruption.requested and (left > 0 or len(pipeline)):
                # Before the last task in the pipeline trains, receive the next ones: they are prepared meanwhile.
                if left > 0 and (not len(pipeline) or (len(pipeline) == 1 and more_likely)):
                    number = int(min(options.prefetch, left))
                    wait = 0 if len(pipeline) else self._receive_wait(idle_since)
                    # A receive that is interrupted may already hold a task, hidden until its visibility timeout.
                    received = self.interruption.allow(self._receive, queue, wait, number, insist=True)
                    deliveries = received or []
                    more_likely = len(deliveries) == number > 1
                    left -= len(deliveries)
                    pipeline.take(deliveries)
                    # Out of reach is not idle, nor is a worker whose own task waits for its next attempt.
                    idle_since = max(idle_since, settlement.redelivery)
                    if received != []:
                        idle_since = max(idle_since, time.monotonic())
                if len(pipeline):
                    pipeline.step()
                    self._pause(settlement.failures_in_a_row)
                    idle_since = time.monotonic()
                elif options.idle_exit is not None and time.monotonic() - idle_since >= options.idle_exit:
                    tell(log, events.WORKER_IDLE, worker=options.name, seconds=options.idle_exit)
                    return

    @contextmanager
    def _pipeline(self, queue: TaskQueue) -> Generator[tuple[Pipeline, Settlement]]:
        """Start the pipeline and the services that its tasks share. Close them in reverse order after the block."""
        options, stack = self.options, self.stack
        with ExitStack() as ending:
            folder = options.folder
            if folder is None:
                own = work_folder.make()
                ending.callback(own.remove)
                folder = own.path
            leases = Leases(stack.heartbeat_client("sqs", queue.timeout), queue.url, queue.timeout)
            ending.callback(leases.close)
            saver = CheckpointSaver(options.checkpoint_every)
            ending.callback(saver.close)
            acknowledger = Acknowledger(queue.acknowledge, MAX_BATCH if options.prefetch > 1 else 1)
            ending.callback(acknowledger.close)
            watch = Watch(leases.interval)
            ending.callback(watch.close)
            at = Workplace(
                worker=options.name,
                folder=folder,
                pool=ending.enter_context(TransferPool(stack.s3, stack.bucket_name)),
                heartbeat_s3=stack.heartbeat_client("s3", queue.timeout),
                interruption=self.interruption,
                cancelled=JobCache(stack, is_cancelled, CANCELLED_SECONDS),
                checkpointed=JobCache(stack, has_checkpoints, CHECKPOINTED_SECONDS),
                saver=saver,
                download=options.download,
                max_failures=queue.max_failures,
            )
            settlement = Settlement(queue, acknowledger, options.name, options.backoff)
            pipeline = Pipeline(
                at,
                self.train,
                leases,
                watch,
                settlement,
                max_hold=options.max_hold,
                prefetch=options.prefetch,
                interrupt_training=options.interrupt_training,
            )
            ending.callback(pipeline.close)
            yield pipeline, settlement

    def _receive_wait(self, idle_since: float) -> int:
        """Return how many seconds the next receive may wait."""
        idle_exit = self.options.idle_exit
        left = idle_exit - (time.monotonic() - idle_since) if idle_exit is not None else self.options.poll
        # 0 would be a short poll, which asks only some of SQS's servers and may miss messages.
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
        return max(1, round(min(self.options.poll, left)))

    def _receive(self, queue: TaskQueue, wait: int, number: int) -> list[Delivery] | None:
        """Receive messages; return None if the queue is out of reach."""
        try:
            deliveries = queue.receive(wait, number)
            self._has_received = True
            return deliveries
        except (BotoCoreError, ClientError) as error:
            if not self._has_received:
                raise
            tell(log, events.RECEIVE_FAILED, seconds=RETRY_SECONDS, reason=str(error))
            time.sleep(RETRY_SECONDS)
            return None

    def _pause(self, failures_in_a_row: int) -> None:
        """Pause from the third failure in a row: 1 s, doubled with each failure, up to 60 s. A machine on which every
        task fails (full disk, broken GPU) must not move the whole queue to the dead letter queue."""
        if failures_in_a_row >= 3:
            pause = min(60, 2 ** (failures_in_a_row - 3))
            name = self.options.name
            tell(log, events.WORKER_PAUSED, worker=name, failures=failures_in_a_row, seconds=pause)
            self.interruption.allow(time.sleep, pause)
