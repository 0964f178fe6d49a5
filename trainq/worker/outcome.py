"""The states of an attempt, and how it ends: in one of these ways, decided once.

`settlement` has what is then done with the message.
"""

import enum


class State(enum.IntEnum):
    """From each of these before COMMITTING an outcome leads to SETTLED."""

    RECEIVED = 0
    PREPARING = 1
    READY = 2
    TRAINING = 3
    STORING = 4
    COMMITTING = 5
    SETTLED = 6


class Outcome(enum.Enum):
    """The value is what records in the bucket have as `why`: it must not change."""

    COMPLETED = "done"
    SUPERSEDED = "beaten"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    SHUTDOWN = "stop"
    HOLD_LIMIT = "wall"
    LEASE_LOST = "lost"
    WORKER_BROKEN = "broken"
    UNEXPECTED = "unexpected"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.COMPLETED: "the result is committed",
    Outcome.SUPERSEDED: "another attempt has committed the task's result",
    Outcome.CANCELLED: "the job was cancelled",
    Outcome.FAILED: "the attempt failed",
    Outcome.EXHAUSTED: "the task was received too often",
    Outcome.SHUTDOWN: "the worker was told to stop",
    Outcome.HOLD_LIMIT: "SQS hides a message for 12 hours at most",
    Outcome.LEASE_LOST: "the message is not this worker's any more",
    Outcome.WORKER_BROKEN: "the worker cannot go on",
    Outcome.UNEXPECTED: "an error that is not the task's",
}

# Outcomes whose record says how an attempt that trained was interrupted.
INTERRUPTED = (
    Outcome.SUPERSEDED,
    Outcome.CANCELLED,
    Outcome.SHUTDOWN,
    Outcome.HOLD_LIMIT,
    Outcome.LEASE_LOST,
)
