"""The events that workers, the function and `local/` log: each with its name, level and sentence.

`tell` logs an event. Text logs have the sentence; JSON logs also have `event` and the fields, so that programs need not
parse sentences. An event may have more fields than its sentence names.
"""

import logging
from dataclasses import dataclass
from logging import ERROR, INFO, WARNING
from typing import Any


@dataclass(frozen=True)
class Event:
    """An event that can be logged. `sentence`: a str.format template; `tell` requires the fields that it names."""

    name: str
    level: int
    sentence: str


_TASK = "task {task} of job {job}, attempt {attempt}: "

# Start, pauses and end of a worker.
WORKER_STARTED = Event(
    "worker.started", INFO, "worker {worker}: waiting for tasks; the visibility timeout is {timeout} s"
)
WORKER_IDLE = Event("worker.idle", INFO, "worker {worker}: no task for {seconds:.0f} s")
WORKER_STOPPED = Event("worker.stopped", INFO, "worker {worker}: ended{how}")
WORKER_PAUSED = Event("worker.paused", WARNING, "worker {worker}: {failures} failures in a row, waiting {seconds} s")
RECEIVE_FAILED = Event("receive.failed", WARNING, "no task could be received, trying again in {seconds} s: {reason}")
FLEET_WORKER_FAILED = Event("fleet.worker_failed", ERROR, "the worker of slot {slot} ended with status {status}")

# A task on a worker: TASK_STARTED, then one event for its end.
TASK_STARTED = Event("task.started", INFO, _TASK + "started")
TASK_RESUMED = Event("task.resumed", INFO, _TASK + "goes on from checkpoint {checkpoint}")
TASK_DONE = Event("task.done", INFO, _TASK + "done, {files} files")
TASK_SUPERSEDED = Event("task.superseded", INFO, _TASK + "worker {winner} was first, this result is not committed")
TASK_CANCELLED = Event("task.cancelled", INFO, _TASK + "ended, since the job is cancelled")
TASK_FAILED = Event(
    "task.failed", WARNING, _TASK + "failed ({failures} of {max_failures}), again in {seconds} s: {reason}"
)
TASK_GIVEN_UP = Event("task.given_up", WARNING, _TASK + "failed for the last time, to the dead letter queue: {reason}")
TASK_EXHAUSTED = Event("task.exhausted", WARNING, _TASK + "not started, to the dead letter queue: {reason}")
TASK_RELEASED = Event("task.released", INFO, _TASK + "interrupted ({reason}), back to the queue")
TASK_LEFT = Event("task.left", WARNING, _TASK + "left to its visibility timeout: {reason}")
LEASE_LOST = Event("lease.lost", WARNING, _TASK + "lost its lease, another worker may have it by now: {reason}")
CHECKPOINT_SAVED = Event("checkpoint.saved", INFO, _TASK + "checkpoint {number} saved")
CHECKPOINT_FAILED = Event("checkpoint.failed", WARNING, _TASK + "a checkpoint could not be saved: {reason}")
CHECKPOINT_REFUSED = Event("checkpoint.refused", WARNING, _TASK + "checkpoint {checkpoint} is passed over: {reason}")
CHECKPOINT_INCOMPLETE = Event("checkpoint.incomplete", WARNING, _TASK + "{reason}")
REPORT_FAILED = Event("report.failed", WARNING, _TASK + "its state could not be reported: {reason}")
RECORD_FAILED = Event("record.failed", WARNING, _TASK + "its end could not be recorded: {reason}")

# Messages and the queue.
MESSAGE_INVALID = Event("message.invalid", ERROR, "message {message_id} is no task, to the dead letter queue: {reason}")
MESSAGE_LEFT = Event("message.left", ERROR, "message {message_id}: left to its visibility timeout")
HEARTBEAT_FAILED = Event("heartbeat.failed", WARNING, "a heartbeat failed and is tried again: {reason}")
DELETE_FAILED = Event(
    "delete.failed",
    WARNING,
    "a message of a task that is done was not deleted; it comes back, and is deleted then: {reason}",
)

# A command on its machine.
COMMAND_ENDING = Event(
    "command.ending",
    INFO,
    "the command has up to {seconds:.0f} s to end (a second signal to this worker ends it at once)",
)
FILES_LEFT = Event("files.left", WARNING, "files in {folder} could not be removed: {reason}")
COMMAND_LEFT = Event("command.left", WARNING, "processes {processes} of the command could not be ended")

# A training message in the function.
JOB_DISPATCHED = Event("job.dispatched", INFO, "job {job} dispatched: {tasks} tasks sent")
JOB_CONTINUED = Event("job.continued", INFO, "job {job}: the next invocation goes on, {tasks} tasks sent: {reason}")
JOB_REFUSED = Event("job.refused", WARNING, "training message {message_id} refused: {reason}")
JOB_RETRIED = Event("job.retried", ERROR, "training message {message_id} left for redelivery")
JOB_LEFT = Event("job.left", ERROR, "training message {message_id} comes back after its visibility timeout")
JOB_ISOLATED = Event(
    "job.isolated",
    WARNING,
    "training message {message_id} came back without an answer and is handled alone; {handed_on} others are postponed",
)
JOB_STAYED = Event("job.stayed", WARNING, "training message {message_id} could not be postponed: {reason}")
JOB_DOUBLED = Event("job.doubled", WARNING, "postponed messages come twice if this invocation is cut off: {reason}")


def printable(text: str) -> str:
    """Replace unprintable characters by U+FFFD: they may control a terminal, and XML (SVG) does not allow them."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def one_line(text: str) -> str:
    """Return the text as one printable line."""
    return printable(" ".join(text.splitlines()))


def tell(log: Any, event: Event, *, traceback: bool | BaseException | None = None, **fields: Any) -> None:
    """Log the event with its fields. `traceback`: add that of an exception, or of the one being handled if True.

    The sentence is made one printable line: others have chosen names in it.
    """
    sentence = one_line(event.sentence.format(**fields))
    log.log(event.level, "%s", sentence, exc_info=traceback, extra={"event": event.name, **fields})


_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return `event` and the fields of a log record that `tell` has made; {} for other records."""
    return {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
