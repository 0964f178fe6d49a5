"""What a worker knows of jobs as a whole, asked once for all of their tasks."""

import threading
import time
from collections.abc import Callable
from typing import Any

from trainq.protocol import layout, markers
from trainq.stack import Stack
from trainq.transfers import listed

# How long a job may have been cancelled before a worker hears of it as a task begins: short tasks do not each ask.
CANCELLED_SECONDS = 1.0
CHECKPOINTED_SECONDS = 60.0


class JobCache:
    """Caches the answer to a question about jobs: `yes` for good, `no` for some seconds. For any thread."""

    def __init__(self, stack: Stack, ask: Callable[[Any, str, str], bool], seconds: float) -> None:
        """`ask(s3, bucket, job_id)` asks S3."""
        self.stack, self.ask, self.seconds = stack, ask, seconds
        self._yes: set[str] = set()
        self._asked: dict[str, float] = {}
        self._asking = threading.Lock()

    def get(self, job_id: str, s3: Any = None) -> bool:
        """Return the answer, which may be some seconds old; with an S3 client of the caller's it is asked now."""
        if s3 is not None:
            return self._ask(job_id, s3)
        # One thread asks for all: tasks that are fetched ahead together do not each cost a request.
        with self._asking:
            if job_id in self._yes:
                return True
            if time.monotonic() - self._asked.get(job_id, -self.seconds) < self.seconds:
                return False
            return self._ask(job_id, self.stack.s3)

    def _ask(self, job_id: str, s3: Any) -> bool:
        if job_id not in self._yes and self.ask(s3, self.stack.bucket_name, job_id):
            self._yes.add(job_id)
        # Cache the answer only if the request succeeded.
        self._asked[job_id] = time.monotonic()
        return job_id in self._yes


def is_cancelled(s3: Any, bucket: str, job_id: str) -> bool:
    """Whether the job is cancelled: the marker counts, whatever is in it."""
    return markers.exists(s3, bucket, layout.cancelled(job_id))


def has_checkpoints(s3: Any, bucket: str, job_id: str) -> bool:
    """Whether any task of the job has a checkpoint, so that first attempts at tasks of other jobs look for none."""
    return any(listed(s3, bucket, layout.all_checkpoints(job_id), page_size=1))
