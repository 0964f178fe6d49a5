"""The pipeline of a worker's tasks: while one task trains, the next are prepared and the last are stored.

One task trains at a time, in the calling thread. Without prefetch there is only that task.
"""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice

from trainq.protocol.messages import MessageError, Task
from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.attempt import Attempt, Workplace
from trainq.worker.delivery import Delivery
from trainq.worker.leases import Leases
from trainq.worker.outcome import Outcome
from trainq.worker.settlement import Settlement
from trainq.worker.training import Train, WorkerBroken
from trainq.worker.watch import Watch

# How many tasks' outputs may be uploading while another task trains.
BEHIND = 8
# On shutdown, tasks that have been trained have this long to be stored.
STORE_SECONDS = 30


class Pipeline:
    """The tasks that one worker holds. Called from the worker's thread only. `len()`: tasks that wait to train."""

    def __init__(
        self,
        at: Workplace,
        train: Train,
        leases: Leases,
        watch: Watch,
        settlement: Settlement,
        *,
        max_hold: float,
        prefetch: int,
        interrupt_training: bool,
    ) -> None:
        """Start the threads. `max_hold`: seconds for which a message may be held. `prefetch`: number of tasks to
        prepare ahead; with 1, each task is also stored before the next one begins."""
        self.at, self.train, self.leases, self.watch, self.settlement = at, train, leases, watch, settlement
        self.max_hold, self.prefetch, self.behind = max_hold, prefetch, BEHIND if prefetch > 1 else 0
        self.interrupt_training = interrupt_training
        self._waiting: deque[Attempt] = deque()
        self._storing: deque[tuple[Future[None], Attempt]] = deque()
        self._preparers = ThreadPoolExecutor(prefetch, "prepare", leave_signals_to_the_main_thread)
        self._storers = ThreadPoolExecutor(BEHIND, "store", leave_signals_to_the_main_thread)

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, deliveries: Sequence[Delivery]) -> None:
        """Lease the messages and append their tasks. Dead-letter messages that are no tasks."""
        for each in deliveries:
            try:
                task = Task.from_json(each.body)
            except (MessageError, RecursionError) as error:
                self.settlement.refuse(each, str(error))
                continue
            lease = self.leases.hold(each.receipt_handle, received=each.received, max_hold=self.max_hold)
            self._waiting.append(Attempt(self.at, task, each, lease))
        self._prepare()

    def step(self) -> None:
        """Train the next task and begin to store it. Raises Interrupted or WorkerBroken if the worker must end."""
        attempt, interruption = self._waiting.popleft(), self.at.interruption
        self._prepare()
        interruption.begin_task(attempt)
        if attempt.begin():
            self.watch.begin(attempt)
            attempt.train(self.train, insist=not self.interrupt_training)
        # An interruption of this attempt that comes from now on must not hit the next one.
        interruption.begin_task()
        if interruption.requested:
            self._cancel_prefetch()
        if attempt.outcome is None:
            self.watch.store(attempt)
            self._storing.append((self._storers.submit(self._store, attempt), attempt))
        else:
            self._settle(attempt)
            if attempt.outcome is Outcome.WORKER_BROKEN:
                raise attempt.error or WorkerBroken(attempt.reason)
        while self._storing and (len(self._storing) > self.behind or self._storing[0][0].done()):
            interruption.allow(self._storing[0][0].result)
            self._storing.popleft()

    def close(self) -> None:
        """Release the tasks that have not trained, and wait until trained ones are stored.

        After a request to stop, trained tasks have STORE_SECONDS; after a second one they are released at once.
        """
        self._cancel_prefetch()
        while self._waiting:
            self._settle(self._waiting.popleft())
        until = float("inf")
        under_way = {future for future, _ in self._storing}
        while under_way and time.monotonic() < until and not self.at.interruption.hurried:
            under_way = wait(under_way, 0.1).not_done
            if self.at.interruption.signalled:
                until = min(until, time.monotonic() + STORE_SECONDS)
        for future, attempt in self._storing:
            if future in under_way:
                attempt.end(Outcome.SHUTDOWN)
        patient = not self.at.interruption.hurried
        self._preparers.shutdown(wait=patient, cancel_futures=True)
        self._storers.shutdown()

    def _prepare(self) -> None:
        for attempt in islice(self._waiting, self.prefetch):
            if attempt.prepared is None:
                attempt.prepared = self._preparers.submit(attempt.prepare)

    def _cancel_prefetch(self) -> None:
        """On shutdown, cancel downloads of waiting tasks: the checkpoint upload needs the connections."""
        for attempt in self._waiting:
            attempt.end(Outcome.SHUTDOWN)

    def _store(self, attempt: Attempt) -> None:
        attempt.store()
        self._settle(attempt)

    def _settle(self, attempt: Attempt) -> None:
        self.watch.end(attempt)
        self.settlement.settle(attempt)
