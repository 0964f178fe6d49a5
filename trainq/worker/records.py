"""What is written of an attempt: its result, or how else it ended, and that it is going on."""

import json
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from trainq.protocol import events, layout, markers
from trainq.protocol.events import tell
from trainq.protocol.messages import Task
from trainq.protocol.result_marker import checked
from trainq.worker.delivery import Delivery

log = logging.getLogger(__name__)


class Record:
    """`id` is the attempt's own: what it uploads and commits carries it."""

    def __init__(self, s3: Any, bucket_name: str, worker: str, task: Task, delivery: Delivery) -> None:
        self.s3, self.bucket_name = s3, bucket_name
        self.worker, self.task, self.delivery = worker, task, delivery
        self.id = uuid.uuid4().hex
        self.started = _now()

    @property
    def about(self) -> dict[str, Any]:
        """The fields of this attempt's events."""
        return {
            "job": self.task.job_id,
            "task": self.task.task,
            "attempt": self.delivery.attempt,
            "worker": self.worker,
        }

    @property
    def output(self) -> str:
        return layout.attempt_output(self.task.job_id, self.task.task, self.id)

    def begin(self) -> None:
        self.started = _now()

    def result(self, s3: Any = None) -> dict[str, Any] | None:
        """The task's result, if there is one by now, by whomever. Raises MarkerError for one that no worker writes."""
        key = layout.result(self.task.job_id, self.task.task)
        marker = markers.read(s3 or self.s3, self.bucket_name, key)
        return marker if marker is None else checked(marker, key)

    def commit(self, files: list[dict[str, Any]], notes: dict[str, Any]) -> dict[str, Any]:
        """Make this attempt's result the task's, unless there is one; return the one that counts."""
        about = {"shards": self.task.shards, "parameters": self.task.parameters, "output": self.output, "files": files}
        key = layout.result(self.task.job_id, self.task.task)
        return markers.commit(self.s3, self.bucket_name, key, self._about() | about | {"notes": notes})

    def interrupted(self, why: str) -> None:
        self._keep(layout.interruption(self.task.job_id, self.task.task, self.id), {"why": why})

    def failed(self, reason: str, details: dict[str, Any]) -> None:
        self._keep(layout.failure(self.task.job_id, self.task.task, self.id), {"reason": reason} | details)

    def report(self, s3: Any) -> None:
        """Say that this worker is at this task, for `trainq status`. Raises what S3 answers."""
        key = layout.worker(self.task.job_id, self.worker)
        body = json.dumps(self._about() | {"heartbeat": _now()}).encode()
        s3.put_object(Bucket=self.bucket_name, Key=key, Body=body, ContentType="application/json")

    def _keep(self, key: str, about: dict[str, Any]) -> None:
        """Record how the attempt ended. Best effort: only status, logs and timeline read it."""
        try:
            markers.commit(self.s3, self.bucket_name, key, about | self._about())
        except Exception as error:
            tell(log, events.RECORD_FAILED, **self.about, reason=str(error))

    def _about(self) -> dict[str, Any]:
        return {
            "job_id": self.task.job_id,
            "task": self.task.task,
            "attempt": self.id,
            "attempt_number": self.delivery.attempt,
            "failures_before": self.delivery.failures,
            "worker": self.worker,
            "started": self.started,
            "finished": _now(),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
