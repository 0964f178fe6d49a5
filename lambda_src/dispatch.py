"""From a job to messages on the model training queue.

What survives an invocation's end: the plan's marker (the dataset is never listed a second time), how far the tasks have
been sent, and the marker that all have been. A crash in between sends again what was sent since; workers find their
results committed.

The progress is what one invocation knows for sure: it began where the former progress said, and has sent everything
from there up to the first batch that may be missing. So of two invocations that work on the same job at once each says
the truth, and whichever is written last may be behind the other's, but never ahead of what has been sent.
"""

import errno
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lambda_src import tasks
from lambda_src.plan import Plan, Plans, lines
from lambda_src.sender import Sending
from trainq.protocol import layout, markers
from trainq.protocol.messages import Job, MessageError

# Kept free of new work: for what is in flight, then for storing the progress and handing messages on.
RESERVED_SECONDS = 2.0
DRAIN_SECONDS = 1.0


class OutOfTime(Exception):
    """The invocation ends before the job is done. `sent`: how many of its tasks this invocation has sent; `progress`:
    whether the next one has less to do than this one had.
    """

    def __init__(self, what: str, sent: int = 0, *, progress: bool = False) -> None:
        super().__init__(f"the job could not be dispatched within one invocation: {what}")
        self.sent, self.progress = sent, progress


@dataclass(frozen=True)
class Dispatcher:
    """Plans jobs of `max_tasks` at most and sends their tasks; `remaining` tells the seconds left to the invocation."""

    s3: Any
    sqs: Any
    bucket: str
    queue_url: str
    max_tasks: int
    remaining: Callable[[], float]

    def dispatch(self, job: Job) -> int:
        """Send the job's tasks that have not been sent and return how many; 0 if the job is cancelled.

        Raises OutOfTime with the progress stored, MessageError if the job can never succeed, any other exception for a
        fault that may pass.
        """
        self._check_time("no time was left for it")
        try:
            return self._dispatch(job)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise MessageError(
                f"the keys of the dataset {job.dataset!r} do not fit into the function's temporary storage: split the "
                "dataset, or give its objects shorter keys"
            ) from None

    def _dispatch(self, job: Job) -> int:
        plans = Plans(self.s3, self.bucket, self.max_tasks, self._check_time)
        with tempfile.TemporaryFile() as file:
            stored = plans.find(job)
            if stored and markers.exists(self.s3, self.bucket, layout.dispatched(job.job_id)):
                return 0
            plan = stored or plans.make(job, file)
            if markers.exists(self.s3, self.bucket, layout.cancelled(job.job_id)):
                return 0
            begin = 0
            if stored:
                plans.read(stored, file)
                progress = markers.read(self.s3, self.bucket, layout.plan_progress(plan.groups))
                begin = progress["sent"] if progress else 0
            messages = tasks.messages(job, lines(file), plan.group_count, begin)
            sent = self._send(plan, begin, tasks.batches(messages))
        if sent < plan.tasks:
            what = f"{sent:,} of its {plan.tasks:,} tasks have been sent"
            raise OutOfTime(what, sent - begin, progress=sent > begin or not stored)
        done = {"tasks": plan.tasks, "dispatch": uuid.uuid4().hex}
        markers.commit(self.s3, self.bucket, layout.dispatched(job.job_id), done)
        return plan.tasks - begin

    def _check_time(self, what: str) -> None:
        if self._seconds() < 0:
            raise OutOfTime(what)

    def _seconds(self) -> float:
        """For how long new work may be begun."""
        return self.remaining() - RESERVED_SECONDS

    def _send(self, plan: Plan, begin: int, batches: Iterator[list[str]]) -> int:
        """Send what there is time for, and store how far that is; return it."""
        sending = Sending(
            self.sqs, self.queue_url, plan.job.job_id, batches, begin, seconds=self._seconds, grace=DRAIN_SECONDS
        )
        try:
            sending.run(plan.tasks - begin)
        finally:
            sent = sending.sent
            if begin < sent < plan.tasks:
                key, body = layout.plan_progress(plan.groups), json.dumps({"sent": sent}).encode()
                self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType="application/json")
        return sent
