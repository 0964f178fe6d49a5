"""What the emulator's log of requests says of a run."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

RECEIVE = "sqs:ReceiveMessage"
# What makes a task's effect durable, or its message gone.
EFFECTS = ("s3:PUT", "sqs:DeleteMessage", "sqs:DeleteMessageBatch")
HEARTBEATS = ("sqs:ChangeMessageVisibility", "sqs:ChangeMessageVisibilityBatch")
SENDS = ("sqs:SendMessage", "sqs:SendMessageBatch")


@dataclass(frozen=True)
class Request:
    begun: float
    ended: float
    what: str


@dataclass(frozen=True)
class Trace:
    """Requests in the order in which they were begun; those that were never answered end never."""

    requests: Sequence[Request]

    @classmethod
    def of(cls, log: list[list]) -> Self:
        return cls([Request(begun, float("inf") if ended is None else ended, what) for begun, ended, what in log])

    def first(self, *whats: str) -> float:
        """When the first of these was begun."""
        return min(each.begun for each in self.requests if each.what in whats)

    def last(self, *whats: str) -> float:
        """When the last of these was answered."""
        return max(each.ended for each in self.requests if each.what in whats)

    def between(self, start: float, end: float) -> Self:
        """The requests that were begun from `start` on and before `end`."""
        return type(self)([each for each in self.requests if start <= each.begun < end])

    def count(self, *whats: str) -> int:
        return sum(each.what in whats for each in self.requests)

    def per_task(self, tasks: int) -> dict[str, float]:
        """Requests by kind, for each of so many tasks."""
        return {what: number / tasks for what, number in sorted(Counter(each.what for each in self.requests).items())}

    def most_in_flight(self) -> int:
        """The most requests at the same time, those aside that wait for messages."""
        steps = [step for each in self.requests if each.what != RECEIVE for step in ((each.begun, 1), (each.ended, -1))]
        return max(itertools.accumulate(change for _, change in sorted(steps)), default=0)
