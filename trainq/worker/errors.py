"""Decides the outcome of an attempt by the exception that ended it."""

import errno

from trainq.transfers import Cancelled
from trainq.worker.outcome import Outcome
from trainq.worker.training import TaskFailed, WorkerBroken

# No space on the device, and the quota of the user or project used up.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def outcome_of(error: Exception) -> tuple[Outcome, str]:
    """Return the outcome of an attempt that has raised this error, and the reason in words.

    A full disk is the machine's fault, whether a download, a checkpoint or the training function has met it.
    """
    if isinstance(error, Cancelled):
        # `Attempt.end` decides, then cancels: after it, this does nothing. Otherwise the worker closes its pool.
        return Outcome.SHUTDOWN, ""
    if isinstance(error, TaskFailed):
        return Outcome.FAILED, str(error)
    if isinstance(error, WorkerBroken):
        return Outcome.WORKER_BROKEN, str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return Outcome.DISK_FULL, str(error)
    return Outcome.FAILED, f"{type(error).__name__}: {error}"
