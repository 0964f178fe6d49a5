"""Caches answers about whole jobs (cancelled? any checkpoints?), so that not every task costs a request."""

import threading
import time
from collections.abc import Callable
from typing import Any

from trainq.protocol import layout, markers
from trainq.stack import Stack
from trainq.transfers import listed

# The answer "no" is cached this long. A cancelled job may start tasks for 1 s more; short tasks cost no request each.
CANCELLED_SECONDS = 1.0
CHECKPOINTED_SECONDS = 60.0


class JobCache:
    """Caches the answer to one question about jobs: "yes" for good, "no" for `seconds`. May be used from any thread."""

    def __init__(self, stack: Stack, ask: Callable[[Any, str, str], bool], seconds: float) -> None:
        """Make an empty cache. `ask(s3, bucket, job_id)` asks S3 and returns the answer."""
        self.stack, self.ask, self.seconds = stack, ask, seconds
        self._yes: set[str] = set()
        self._asked: dict[str, float] = {}
        self._asking = threading.Lock()

    def get(self, job_id: str, s3: Any = None) -> bool:
        """Return the answer for a job. With `s3`, ask now; otherwise a "no" may be up to `seconds` old.

        Raises what `ask` raises, and caches nothing then.
        """
        if s3 is not None:
            return self._ask(job_id, s3)
        # The lock is held during the request: prefetched tasks of one job share one request.
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
    """Return whether the job's cancel marker exists. Its content does not matter."""
    return markers.exists(s3, bucket, layout.cancelled(job_id))


def has_checkpoints(s3: Any, bucket: str, job_id: str) -> bool:
    """Return whether any task of the job has a checkpoint. If none has, first attempts need not look for theirs."""
    return any(listed(s3, bucket, layout.all_checkpoints(job_id), page_size=1))
