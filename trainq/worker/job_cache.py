"""What a worker knows of jobs as a whole, asked once for all of their tasks."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from trainq.protocol import layout, markers
from trainq.stack import Stack
from trainq.transfers import listed

# For how long a worker believes that a job is not cancelled, so that short tasks do not each cost a request.
BELIEVED_SECONDS = 1.0
# For how long a worker believes that a job has no checkpoints.
NO_CHECKPOINTS_SECONDS = 60.0


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
        if job_id not in self._cancelled and markers.exists(s3, self.stack.bucket_name, layout.cancelled(job_id)):
            self._cancelled.add(job_id)
        # Only now: nobody may believe what no answer has told.
        self._asked[job_id] = time.monotonic()
        return job_id in self._cancelled


@dataclass
class CheckpointedJobs:
    """Which jobs have checkpoints at all, so that the first attempts at tasks of other jobs do not look for any."""

    stack: Stack
    _asked: dict[str, float] = field(default_factory=dict)
    _found: set[str] = field(default_factory=set)
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def has(self, job_id: str) -> bool:
        """Whether the job had a checkpoint a minute ago."""
        # One asks for all: tasks that are fetched ahead together do not each cost a request.
        with self._asking:
            if job_id in self._found:
                return True
            if time.monotonic() - self._asked.get(job_id, -NO_CHECKPOINTS_SECONDS) < NO_CHECKPOINTS_SECONDS:
                return False
            prefix = layout.all_checkpoints(job_id)
            if any(listed(self.stack.s3, self.stack.bucket_name, prefix, page_size=1)):
                self._found.add(job_id)
            # Only now: nobody may believe what no answer has told.
            self._asked[job_id] = time.monotonic()
            return job_id in self._found
