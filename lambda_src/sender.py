"""Sends batches of tasks to SQS, many at a time, until all are sent or the time is up."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from trainq.protocol.limits import MAX_BATCH
from trainq.protocol.messages import MessageError

# Requests in flight: one costs some 10 ms of waiting, so that 16 keep the function busy.
IN_FLIGHT = 16
SEND_ATTEMPTS = 6
# What is wrong with the message itself. Not all that SQS calls the sender's fault: a key that is throttled, disabled or
# not ours for a moment is too.
NEVER_TAKEN = {"InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue", "UnsupportedOperation"}


@dataclass
class Sending:
    """One job's batches on their way. `seconds` tells for how long new ones may be begun, `grace` how much longer those
    that have been begun are waited for. The first batch begins with the task `begin`.
    """

    sqs: Any
    queue_url: str
    job_id: str
    batches: Iterator[list[str]]
    begin: int
    seconds: Callable[[], float]
    grace: float
    _next: int = field(init=False)
    _under_way: set[int] = field(init=False, default_factory=set)
    _stopped: bool = field(init=False, default=False)
    _lock: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self._next = self.begin

    @property
    def sent(self) -> int:
        """All tasks before this one have been sent, whatever happened to later ones."""
        with self._lock:
            return min(self._under_way, default=self._next)

    def run(self, tasks: int) -> None:
        """Send what there is time for, of so many tasks. Raises the first fault, after which nothing new is begun."""
        pool = ThreadPoolExecutor(IN_FLIGHT)
        try:
            senders = [pool.submit(self._send_on) for _ in range(min(IN_FLIGHT, -(-tasks // MAX_BATCH)))]
            # A request that hangs must not take the invocation down with it: its tasks are sent again by the next.
            done, _ = wait(senders, timeout=max(0, self.seconds()) + self.grace)
            for sender in done:
                sender.result()
        finally:
            self._stopped = True
            pool.shutdown(wait=False)

    def _send_on(self) -> None:
        """What each thread does: take the next batch, send it, until there is no more to take."""
        try:
            while taken := self._take():
                start, batch = taken
                self._send(batch)
                with self._lock:
                    self._under_way.remove(start)
        except BaseException:
            self._stopped = True
            raise

    def _take(self) -> tuple[int, list[str]] | None:
        with self._lock:
            if self._stopped or self.seconds() < 0 or (batch := next(self.batches, None)) is None:
                return None
            start = self._next
            self._under_way.add(start)
            self._next += len(batch)
            return start, batch

    def _send(self, bodies: list[str]) -> None:
        """Send one batch. SQS answers 200 also when it did not take some entries: those are sent again."""
        # The group turns on fair queues: a huge job does not starve a small one.
        entries = [
            {"Id": str(number), "MessageBody": body, "MessageGroupId": self.job_id}
            for number, body in enumerate(bodies)
        ]
        for attempt in range(SEND_ATTEMPTS):
            answer = self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries)
            failed = {each["Id"]: each for each in answer.get("Failed", ())}
            if not failed:
                return
            entries = [entry for entry in entries if entry["Id"] in failed]
            if refused := [each for each in failed.values() if each["Code"].rsplit(".", 1)[-1] in NEVER_TAKEN]:
                raise MessageError(f"SQS refused a task: {refused[0]['Code']}: {refused[0].get('Message', '')}")
            time.sleep(min(0.1 * 2**attempt, 2.0) * random.uniform(0.5, 1.0))
        raise RuntimeError(f"SQS did not take {len(entries)} tasks in {SEND_ATTEMPTS} attempts: {failed}")
