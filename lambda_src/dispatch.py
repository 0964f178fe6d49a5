"""Dispatches a job: plans it and sends its tasks to the model training queue.

Three objects in the bucket survive an invocation: the plan's marker, so that the dataset is listed only once; the
progress, the number of tasks that have been sent; and the marker that all have been sent. The progress is
stored when sending ends, also by an exception. After a crash, the tasks sent since are sent again: of two messages of
one task, the first attempt to commit wins.

An invocation starts at the stored progress and stores a new one: all tasks before it have been sent. Two invocations
may dispatch the same job at once. Each stores a true progress; the last write may be behind the other, but it is never
ahead of what has been sent.
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

# No work begins in the last seconds of an invocation: they are for requests in flight (DRAIN_SECONDS), then for storing
# the progress and leaving messages to later invocations.
RESERVED_SECONDS = 2.0
DRAIN_SECONDS = 1.0


class OutOfTime(Exception):
    """Raised if the invocation has no time left and the job is not done.

    `sent`: number of tasks that this invocation has sent. `progress`: True if less is left to the next invocation than
    was left to this one.
    """

    def __init__(self, what: str, sent: int = 0, *, progress: bool = False) -> None:
        super().__init__(f"the job could not be dispatched within one invocation: {what}")
        self.sent, self.progress = sent, progress


@dataclass(frozen=True)
class Dispatcher:
    """Plans jobs of `max_tasks` at most and sends their tasks. `remaining`: returns the seconds left."""

    s3: Any
    sqs: Any
    bucket: str
    queue_url: str
    max_tasks: int
    remaining: Callable[[], float]

    def dispatch(self, job: Job) -> int:
        """Send the tasks of the job that have not been sent. Return their number, which is 0 if the job is cancelled.

        Raises OutOfTime after storing the progress, MessageError if the job can never succeed, and any other exception
        for a fault that may pass.
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
        """Raise OutOfTime if no new work may begin. `what`: what was left undone, for the error's text."""
        if self._seconds() < 0:
            raise OutOfTime(what)

    def _seconds(self) -> float:
        """Return for how many more seconds new work may begin."""
        return self.remaining() - RESERVED_SECONDS

    def _send(self, plan: Plan, begin: int, batches: Iterator[list[str]]) -> int:
        """Send as many tasks as there is time for. Store and return the progress: all tasks before it are sent."""
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
