"""A worker's tasks at their different stages: the next ones are fetched while one trains, the last ones stored.

One at a time trains, in the calling thread. Without prefetching there is just that one.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice

from trainq.protocol.messages import MessageError, Task
from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.attempt import Attempt, Workplace
from trainq.worker.heartbeat import Leases
from trainq.worker.settlement import Held, Outcomes
from trainq.worker.signals import Interrupted, Why
from trainq.worker.task_queue import Delivery
from trainq.worker.training import Train

log = logging.getLogger(__name__)

# How many tasks' outputs may be on their way while the next one trains.
BEHIND = 8
# What the tasks that have been trained may take, when the worker is to stop, until they are stored.
FINISH_SECONDS = 30
# A worker reports what it is at when a task begins, but not more often than this: a short task costs no request.
REPORT_SECONDS = 1.0


class Pipeline:
    """`len` of it: how many tasks wait for their turn."""

    def __init__(
        self, at: Workplace, train: Train, leases: Leases, outcomes: Outcomes, *, wall: float, ahead: int
    ) -> None:
        """`wall`: seconds for which a message may be held. `ahead`: how many tasks may be fetched before their turn;
        with one, each is also stored before the next begins."""
        self.at, self.train, self.leases, self.outcomes = at, train, leases, outcomes
        self.wall, self.ahead, self.behind = wall, ahead, BEHIND if ahead > 1 else 0
        self._waiting: deque[Held] = deque()
        self._finishing: deque[tuple[Future[None], Held]] = deque()
        self._preparers = ThreadPoolExecutor(ahead, "prepare", leave_signals_to_the_main_thread)
        self._finishers = ThreadPoolExecutor(BEHIND, "finish", leave_signals_to_the_main_thread)
        self._reported = -REPORT_SECONDS

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Hold these from now on, until each has had its turn."""
        for each in deliveries:
            lease = self.leases.hold(each.receipt_handle, received=each.received, wall=self.wall)
            try:
                self._waiting.append(Held(each, lease, Attempt(self.at, Task.from_json(each.body), each)))
            except (MessageError, RecursionError) as error:
                lease.release()
                self._put_aside(each, error)
        self._prepare()

    def step(self) -> None:
        """The next task's turn. Raises Interrupted or WorkerBroken if there is to be none after it."""
        held = self._waiting.popleft()
        self._prepare()
        with self.outcomes.settling(held), self._making_way():
            self._handle(held)
        # What comes for it from now on is not for the next one.
        self.at.interruption.begin_task()
        while self._finishing and (len(self._finishing) > self.behind or self._finishing[0][0].done()):
            self.at.interruption.allow(self._finishing[0][0].result)
            self._finishing.popleft()

    def close(self) -> None:
        """Gives back what was not begun, and sees what was trained through to its end, or gives that back too."""
        self._end_waiting()
        while self._waiting:
            self.outcomes.give_back(self._waiting.popleft())
        until = float("inf")
        under_way = {future for future, _ in self._finishing}
        while under_way and time.monotonic() < until and not self.at.interruption.hurried:
            under_way = wait(under_way, 0.1).not_done
            if self.at.interruption.signalled:
                until = min(until, time.monotonic() + FINISH_SECONDS)
        for future, held in self._finishing:
            if future in under_way:
                held.attempt.end(Why.STOP)
        patient = not self.at.interruption.hurried
        self._preparers.shutdown(wait=patient, cancel_futures=True)
        self._finishers.shutdown()

    def _end_waiting(self) -> None:
        for held in self._waiting:
            held.attempt.end(Why.STOP)

    @contextlib.contextmanager
    def _making_way(self) -> Generator[None]:
        """A worker that stops fetches no more: the checkpoint of the task that runs would wait behind it."""
        try:
            yield
        except Interrupted:
            if self.at.interruption.requested:
                self._end_waiting()
            raise

    def _prepare(self) -> None:
        for held in islice(self._waiting, self.ahead):
            if held.prepared is None:
                held.prepared = self._preparers.submit(held.attempt.prepare)

    def _handle(self, held: Held) -> None:
        attempt, interruption = held.attempt, self.at.interruption

        def look() -> None:
            self._reported = time.monotonic()
            attempt.look()

        attempt.begin()
        interruption.begin_task(attempt)
        first_look = max(0.0, self._reported + REPORT_SECONDS - time.monotonic())
        held.lease.begin(on_end=attempt.end, on_look=look, first_look=first_look)
        assert held.prepared
        if not interruption.allow(held.prepared.result) or attempt.is_cancelled():
            self.outcomes.done(held)
            return
        log.info("%s: started", attempt)
        interruption.allow(attempt.train, self.train)
        held.lease.wind_up()
        self._finishing.append((self._finishers.submit(self._finish, held), held))

    def _finish(self, held: Held) -> None:
        with self.outcomes.settling(held):
            held.attempt.finish()
            self.outcomes.done(held)

    def _put_aside(self, delivery: Delivery, error: Exception) -> None:
        log.error("message %s is no task, to the dead letter queue with it: %s", delivery.message_id, error)
        try:
            self.outcomes.queue.put_aside(delivery, str(error))
        except Exception:
            log.exception("message %s: left for redelivery", delivery.message_id)
