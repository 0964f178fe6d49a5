"""The worker: takes tasks from the model training queue, and sees each through."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.protocol.limits import MAX_BATCH, MAX_LONG_POLL_SECONDS
from trainq.stack import Stack
from trainq.transfers import TransferPool
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

# Well before SQS's 12 h, so that there is time for a last checkpoint.
DEFAULT_MAX_HOLD_SECONDS = 11.5 * 3600
# Between receives that AWS does not answer or refuses: no network, expired credentials.
RETRY_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a worker. Times are in seconds."""

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
    # Release a task, with its checkpoint, after this time. SQS allows 12 h.
    max_hold: float = DEFAULT_MAX_HOLD_SECONDS
    # How many tasks it takes from the queue at once, 1 to 10, to work on one after the other: for short ones, since a
    # worker that is killed loses an attempt at each. From 2 on the next ones' shards come while one trains.
    prefetch: int = 1
    # Whether shards are fetched before a task begins; if not, `train` reads them from the bucket.
    download: bool = True
    # How often a running task's checkpoint is saved; by default when it is interrupted, or asks for it.
    checkpoint_every: float | None = None
    # Whether what ends a task raises Interrupted in `train`. If not, `train` asks `TrainingTask.should_stop`; a second
    # request to stop raises it all the same.
    interrupt_training: bool = True

    def __post_init__(self) -> None:
        # It is part of a key, and of what people read.
        if not 0 < len(self.name) <= 200 or "/" in self.name or not self.name.isprintable():
            raise ValueError(f"name is {self.name!r}: allowed are 1 to 200 printable characters without '/'")


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
        self._has_received = False

    def run(self) -> None:
        """Work until told to stop.

        Raises ClientError or BotoCoreError if the queue cannot be received from to begin with: no such queue, no right,
        no credentials. Later the same is a fault that may pass, and is tried again.
        """
        name = self.options.name
        with self.interruption:
            try:
                queue = self.interruption.allow(self._look_at_the_stack)
                tell(log, events.WORKER_STARTED, worker=name, timeout=queue.timeout)
                self._work(queue)
            except Interrupted:
                pass
        how = ", as it was told to" if self.interruption.requested else ""
        tell(log, events.WORKER_STOPPED, worker=name, how=how)

    def stop(self) -> None:
        """Take no further task; the running one is finished. May be called from any thread."""
        self.interruption.requested = True

    def _look_at_the_stack(self) -> TaskQueue:
        """Sees that the bucket is there, since without it every task would fail."""
        self.stack.s3.head_bucket(Bucket=self.stack.bucket_name)
        return TaskQueue(self.stack)

    def _work(self, queue: TaskQueue) -> None:
        options = self.options
        left = options.max_tasks if options.max_tasks is not None else float("inf")
        more_likely = False
        idle_since = time.monotonic()
        with self._pipeline(queue) as (pipeline, settlement):
            while not self.interruption.requested and (left > 0 or len(pipeline)):
                # When the last one's turn has come, the next ones are fetched while it trains.
                if left > 0 and (not len(pipeline) or (len(pipeline) == 1 and more_likely)):
                    number = int(min(options.prefetch, left))
                    wait = 0 if len(pipeline) else self._receive_wait(idle_since)
                    # A receive that is cut off may have taken a task, which nobody would know of until it times out.
                    deliveries = self.interruption.allow(self._receive, queue, wait, number, insist=True)
                    more_likely = len(deliveries) == number > 1
                    left -= len(deliveries)
                    pipeline.take(deliveries)
                    idle_since = time.monotonic() if deliveries else idle_since
                if len(pipeline):
                    pipeline.step()
                    self._pause(settlement.failures_in_a_row)
                    idle_since = time.monotonic()
                elif options.idle_exit is not None and time.monotonic() - idle_since >= options.idle_exit:
                    tell(log, events.WORKER_IDLE, worker=options.name, seconds=options.idle_exit)
                    return

    @contextmanager
    def _pipeline(self, queue: TaskQueue) -> Generator[tuple[Pipeline, Settlement]]:
        """Everything that a worker's tasks share, ended in the opposite order."""
        options, stack = self.options, self.stack
        with ExitStack() as ending:
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
                folder=options.folder or Path(tempfile.gettempdir()),
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
        # 0 would be a short poll, which may miss messages that are there.
        return max(1, round(min(self.options.poll, left)))

    def _receive(self, queue: TaskQueue, wait: int, number: int) -> list[Delivery]:
        try:
            deliveries = queue.receive(wait, number)
            self._has_received = True
            return deliveries
        except (BotoCoreError, ClientError) as error:
            if not self._has_received:
                raise
            tell(log, events.RECEIVE_FAILED, seconds=RETRY_SECONDS, reason=str(error))
            time.sleep(RETRY_SECONDS)
            return []

    def _pause(self, failures_in_a_row: int) -> None:
        """A machine on which everything fails at once (a full disk, a broken GPU) must not empty the queue into the
        dead letter queue: from the third failure in a row it waits, up to a minute."""
        if failures_in_a_row >= 3:
            pause = min(60, 2 ** (failures_in_a_row - 3))
            name = self.options.name
            tell(log, events.WORKER_PAUSED, worker=name, failures=failures_in_a_row, seconds=pause)
            self.interruption.allow(time.sleep, pause)
