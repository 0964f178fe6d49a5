"""Writes an attempt's objects in the bucket: result marker, failure or interruption record, worker heartbeat."""

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
    """Writes the objects of one attempt. `id`: unique to the attempt, part of all its keys. May be used from any
    thread."""

    def __init__(self, s3: Any, bucket_name: str, worker: str, task: Task, delivery: Delivery) -> None:
        self.s3, self.bucket_name = s3, bucket_name
        self.worker, self.task, self.delivery = worker, task, delivery
        self.id = uuid.uuid4().hex
        self.started = _now()

    @property
    def about(self) -> dict[str, Any]:
        """Return the fields of this attempt's events."""
        return {
            "job": self.task.job_id,
            "task": self.task.task,
            "attempt": self.delivery.attempt,
            "worker": self.worker,
        }

    @property
    def output(self) -> str:
        """Return the prefix of the attempt's output in the bucket."""
        return layout.attempt_output(self.task.job_id, self.task.task, self.id)

    def begin(self) -> None:
        """Set the start time to now."""
        self.started = _now()

    def result(self, s3: Any = None) -> dict[str, Any] | None:
        """Return the task's result marker, of any attempt, or None. Raises MarkerError if the marker is invalid."""
        key = layout.result(self.task.job_id, self.task.task)
        marker = markers.read(s3 or self.s3, self.bucket_name, key)
        return marker if marker is None else checked(marker, key)

    def commit(self, files: list[dict[str, Any]], notes: dict[str, Any]) -> dict[str, Any]:
        """Commit this attempt's result with a conditional write. Return the marker that counts: this one, or an earlier
        one of another attempt. Raises MarkerError if the marker is too large, or ClientError from S3."""
        about = {"shards": self.task.shards, "parameters": self.task.parameters, "output": self.output, "files": files}
        key = layout.result(self.task.job_id, self.task.task)
        return markers.commit(self.s3, self.bucket_name, key, self._fields() | about | {"notes": notes})

    def interrupted(self, why: str, problem: str | None = None) -> None:
        """Write the interruption record. `why`: the value of the outcome. `problem`: what `trainq status` shows."""
        about = {"why": why} | ({"problem": problem} if problem else {})
        self._write(layout.interruption(self.task.job_id, self.task.task, self.id), about)

    def failed(self, reason: str, details: dict[str, Any]) -> None:
        """Write the failure record."""
        self._write(layout.failure(self.task.job_id, self.task.task, self.id), {"reason": reason} | details)

    def report(self, s3: Any, problem: str | None = None) -> None:
        """Write which task this worker trains, for `trainq status`. `problem`: with its checkpoint. Raises ClientError
        from S3."""
        key = layout.report(self.task.job_id, self.worker, self.id)
        about = {"heartbeat": _now()} | ({"problem": problem} if problem else {})
        body = json.dumps(self._fields() | about).encode()
        s3.put_object(Bucket=self.bucket_name, Key=key, Body=body, ContentType="application/json")

    def _write(self, key: str, about: dict[str, Any]) -> None:
        """Record how the attempt ended. Best effort: only status, logs and timeline read it."""
        try:
            markers.commit(self.s3, self.bucket_name, key, about | self._fields())
        except Exception as error:
            tell(log, events.RECORD_FAILED, **self.about, reason=str(error))

    def _fields(self) -> dict[str, Any]:
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
