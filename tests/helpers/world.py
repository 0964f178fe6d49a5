"""Stands in for SQS and Lambda's poller: a queue with receives, delays and a visibility timeout, batches of ten, and a
clock of its own. An invocation that is cut off answers for no message of its batch, as on AWS."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local.standins import FakeS3, FakeSqs, context, error
from trainq.protocol import layout
from trainq.protocol.messages import Job

TIMEOUT = 1800
# The lowest receive limit that the settings allow.
MAX_RECEIVES = 5
HOUR = 3600


class CutOff(BaseException):
    """Raised when Lambda kills the function's process."""


@dataclass
class Message:
    body: str
    attributes: dict[str, Any]
    visible: float
    id: str
    receives: int = 0
    first: float = 0
    handle: str = ""

    @property
    def job(self) -> str:
        return json.loads(self.body)["job_id"]

    def record(self) -> dict[str, Any]:
        return {
            "messageId": self.id,
            "receiptHandle": self.handle,
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": str(self.receives),
                "ApproximateFirstReceiveTimestamp": str(int(self.first * 1000)),
            },
            "messageAttributes": {
                name: {"stringValue": each["StringValue"], "dataType": each["DataType"]}
                for name, each in self.attributes.items()
            },
        }


@dataclass
class World(FakeSqs):
    """The message queue, its dead letter queue, and Lambda's poller, which receives once a second."""

    entry: Any
    s3: FakeS3
    order: random.Random | None = None
    now: float = 1_000_000
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    received: Counter[str] = field(default_factory=Counter)
    cut_off: int = 0
    # For each job, how many invocations with one of its messages were cut off.
    lost: Counter[str] = field(default_factory=Counter)
    # If False, SQS refuses to send to the queue.
    takes: Callable[[], bool] = lambda: True
    on_invocation: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        super().__init__()
        self._ids = map(str, itertools.count())

    def submit(self, *jobs: str) -> None:
        for job in jobs:
            self.send_message("m", Job(job_id=job, dataset="datasets/d/").to_json(), {})

    def send_message(
        self, QueueUrl: str, MessageBody: str, MessageAttributes: dict[str, Any], DelaySeconds: int = 0
    ) -> None:
        assert 0 <= DelaySeconds <= 900
        if self.messages and not self.takes():
            raise error(503)
        there = {"m": self.messages, "dlq": self.dead}[QueueUrl]
        there.append(Message(MessageBody, MessageAttributes, self.now + DelaySeconds, next(self._ids)))

    def change_message_visibility(self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        for each in self.messages:
            if each.handle == ReceiptHandle:
                each.visible = self.now + VisibilityTimeout

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> None:
        self._delete({each["ReceiptHandle"] for each in Entries})

    def _delete(self, handles: set[str]) -> None:
        self.messages = [each for each in self.messages if each.handle not in handles]

    def _receive(self) -> list[Message]:
        there = [each for each in self.messages if each.visible <= self.now]
        if self.order:
            self.order.shuffle(there)
        for each in there[:10]:
            if each.receives == MAX_RECEIVES:
                self.dead.append(each)
                self.messages.remove(each)
        batch = [each for each in there[:10] if each.receives < MAX_RECEIVES]
        for each in batch:
            each.receives += 1
            each.first = each.first or self.now
            each.handle = next(self._ids)
            each.visible = self.now + TIMEOUT
            self.received[each.job] += 1
        return batch

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        end = self.now + seconds
        while self.messages and (following := min(each.visible for each in self.messages)) <= end:
            self.now = max(self.now + 1, following)
            if batch := self._receive():
                self._invoke(batch)
        self.now = end

    def _invoke(self, batch: list[Message]) -> None:
        self.entry.s3, self.entry.sqs = self.s3, self
        self.on_invocation()
        try:
            answer = self.entry.handler({"Records": [each.record() for each in batch]}, context())
        except CutOff:
            self.cut_off += 1
            self.lost.update(each.job for each in batch if each in self.messages)
            return
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        self._delete({each.handle for each in batch if each.id not in failed})

    def dispatched(self, job: str) -> bool:
        return layout.dispatched(job) in self.s3.objects

    def reasons(self) -> dict[str, str]:
        """Return the reasons of dead letters by job; empty for messages that SQS has moved."""
        return {each.job: each.attributes.get("reason", {}).get("StringValue", "") for each in self.dead}


def poison(key: str) -> None:
    """Kill the process at any request for a poison job."""
    if "/poison" in key:
        raise CutOff


def jobs(poisons: tuple[int, ...], count: int = 10) -> list[str]:
    return [f"poison-{number}" if number in poisons else f"good-{number}" for number in range(count)]
