"""Sends batches of tasks to SQS, several requests in flight, until all are sent or the time is up."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from trainq.protocol.limits import MAX_BATCH
from trainq.protocol.messages import MessageError

# A request takes some 10 ms, nearly all of it waiting: 16 in flight keep the processor busy.
IN_FLIGHT = 16
SEND_ATTEMPTS = 6
# Error codes that blame the message itself, so that a retry cannot succeed. SQS's SenderFault is wider: it also blames
# the sender for a KMS key that is throttled, disabled or forbidden for a moment.
NEVER_TAKEN = {"InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue", "UnsupportedOperation"}


@dataclass
class Sending:
    """Sends the batches of one job. `begin`: number of the first task of the first batch; `seconds`: returns for how
    long new requests may begin; `grace`: how many seconds longer `run` waits for requests in flight.
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
        """Return a task number: all tasks before it have been sent, whatever happened to it and later ones."""
        with self._lock:
            return min(self._under_way, default=self._next)

    def run(self, tasks: int) -> None:
        """Send as many of the `tasks` tasks as there is time for. Raises the first error, then begins no request."""
        pool = ThreadPoolExecutor(IN_FLIGHT)
        try:
            senders = [pool.submit(self._send_batches) for _ in range(min(IN_FLIGHT, -(-tasks // MAX_BATCH)))]
            # Do not wait longer for a request that hangs: the next invocation sends its tasks again.
            done, _ = wait(senders, timeout=max(0, self.seconds()) + self.grace)
            for sender in done:
                sender.result()
        finally:
            self._stopped = True
            pool.shutdown(wait=False)

    def _send_batches(self) -> None:
        """Take the next batch and send it, until `_take` returns None. Each thread of the pool runs this."""
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
        """Return the next batch with the number of its first task; None if there is none, or no time, or an error."""
        with self._lock:
            if self._stopped or self.seconds() < 0 or (batch := next(self.batches, None)) is None:
                return None
            start = self._next
            self._under_way.add(start)
            self._next += len(batch)
            return start, batch

    def _send(self, bodies: list[str]) -> None:
        """Send one batch. SQS may answer 200 and reject some entries: these are sent again."""
        # With message groups SQS delivers fairly: a huge job does not starve a small one (fair queues).
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
