"""Cancelled jobs: a marker in the job's run, which workers and the function look for."""

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from trainq import bucket, markers
from trainq.stack import Stack

# For how long a worker believes that a job is not cancelled, so that short tasks do not each cost a request.
BELIEVED_SECONDS = 1.0


def cancel(stack: Stack, job_id: str, by: str) -> dict[str, str]:
    """Cancel the job, for good; return who did it, now or before."""
    marker = {"job_id": job_id, "by": by, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return markers.commit(stack.s3, stack.bucket_name, bucket.cancelled(job_id), marker | {"id": uuid.uuid4().hex})


@dataclass
class Cancellations:
    """What one worker knows of cancelled jobs."""

    stack: Stack
    _asked: dict[str, float] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def has(self, job_id: str, *, asking: Any = None) -> bool:
        """Whether the job is cancelled, as of a second ago; or as of now, by `asking` with that S3 client."""
        if asking is not None:
            return self._ask(job_id, asking)
        # One asks for all: tasks that are fetched ahead together do not each cost a request.
        with self._asking:
            if time.monotonic() - self._asked.get(job_id, -BELIEVED_SECONDS) < BELIEVED_SECONDS:
                return job_id in self._cancelled
            return self._ask(job_id, self.stack.s3)

    def _ask(self, job_id: str, s3: Any) -> bool:
        if job_id not in self._cancelled and markers.read(s3, self.stack.bucket_name, bucket.cancelled(job_id)):
            self._cancelled.add(job_id)
        # Only now: nobody may believe what no answer has told.
        self._asked[job_id] = time.monotonic()
        return job_id in self._cancelled
