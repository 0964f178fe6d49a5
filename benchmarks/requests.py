"""Reads a run's requests from the emulator's log."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

RECEIVE = "sqs:ReceiveMessage"
# Requests that make a task's effect durable or delete its message.
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
    """The requests of a run, in the order in which they began. A request without an answer ends at infinity."""

    requests: Sequence[Request]

    @classmethod
    def of(cls, log: list[list]) -> Self:
        return cls([Request(begun, float("inf") if ended is None else ended, what) for begun, ended, what in log])

    def first(self, *whats: str) -> float:
        """Return when the first of these requests began."""
        return min(each.begun for each in self.requests if each.what in whats)

    def last(self, *whats: str) -> float:
        """Return when the last of these requests was answered."""
        return max(each.ended for each in self.requests if each.what in whats)

    def between(self, start: float, end: float) -> Self:
        """Return the requests that began from `start` to before `end`."""
        return type(self)([each for each in self.requests if start <= each.begun < end])

    def count(self, *whats: str) -> int:
        return sum(each.what in whats for each in self.requests)

    def per_task(self, tasks: int) -> dict[str, float]:
        """Return the number of requests per task, by kind."""
        return {what: number / tasks for what, number in sorted(Counter(each.what for each in self.requests).items())}

    def most_in_flight(self) -> int:
        """Return the largest number of requests in flight, without receives."""
        steps = [step for each in self.requests if each.what != RECEIVE for step in ((each.begun, 1), (each.ended, -1))]
        return max(itertools.accumulate(change for _, change in sorted(steps)), default=0)
