"""The states of an attempt and its outcomes. The outcome is decided once; `settlement` says what each does with the
message."""

import enum


class State(enum.IntEnum):
    """The states of an attempt, in order. Before COMMITTING, any outcome leads from each state to SETTLED."""

    RECEIVED = 0
    PREPARING = 1
    READY = 2
    TRAINING = 3
    STORING = 4
    COMMITTING = 5
    SETTLED = 6


class Outcome(enum.Enum):
    """How an attempt ended. The values are stored in the bucket (`why` in records) and must not change."""

    COMPLETED = "done"
    SUPERSEDED = "beaten"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    SHUTDOWN = "stop"
    HOLD_LIMIT = "wall"
    DISK_FULL = "full"
    LEASE_LOST = "lost"
    WORKER_BROKEN = "broken"
    UNEXPECTED = "unexpected"

    @property
    def sentence(self) -> str:
        """Return the outcome in words, for logs."""
        return _SENTENCES[self]


_SENTENCES = {
    Outcome.COMPLETED: "the result is committed",
    Outcome.SUPERSEDED: "another attempt has committed the task's result",
    Outcome.CANCELLED: "the job was cancelled",
    Outcome.FAILED: "the attempt failed",
    Outcome.EXHAUSTED: "the task was received too often",
    Outcome.SHUTDOWN: "the worker was told to stop",
    Outcome.HOLD_LIMIT: "SQS hides a message for 12 hours at most",
    Outcome.DISK_FULL: "the worker's disk is full",
    Outcome.LEASE_LOST: "the message is not this worker's any more",
    Outcome.WORKER_BROKEN: "the worker cannot go on",
    Outcome.UNEXPECTED: "an error that is not the task's",
}

# For these outcomes an attempt that had begun to train leaves an interruption record; for DISK_FULL any attempt does.
# FAILED leaves a failure record, COMPLETED its result. The others leave nothing: of WORKER_BROKEN, only the worker's
# last report is left in the bucket.
INTERRUPTED = (
    Outcome.SUPERSEDED,
    Outcome.CANCELLED,
    Outcome.SHUTDOWN,
    Outcome.HOLD_LIMIT,
    Outcome.LEASE_LOST,
)
