"""What is written of an attempt: its result, or how else it ended, and that it is going on."""

import json
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

from trainq.client.results import checked
from trainq.protocol import layout, markers
from trainq.protocol.messages import Task
from trainq.worker.task_queue import Delivery

log = logging.getLogger(__name__)


class Record:
    """`id` is the attempt's own: what it uploads and commits carries it."""

    def __init__(self, s3: Any, bucket_name: str, worker: str, task: Task, delivery: Delivery) -> None:
        self.s3, self.bucket_name = s3, bucket_name
        self.worker, self.task, self.delivery = worker, task, delivery
        self.id = uuid.uuid4().hex
        self.started = _now()

    def __str__(self) -> str:
        return f"task {self.task.task} of job {self.task.job_id}, attempt {self.delivery.attempt}"

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

    def commit(self, files: list[dict[str, Any]], notes: dict[str, Any]) -> None:
        """This attempt's result becomes the task's, unless there is one."""
        about = {"shards": self.task.shards, "parameters": self.task.parameters, "output": self.output, "files": files}
        key = layout.result(self.task.job_id, self.task.task)
        committed = markers.commit(self.s3, self.bucket_name, key, self._about() | about | {"notes": notes})
        if committed["attempt"] == self.id:
            log.info("%s: done, %s", self, f"{len(files)} files" if files else "without any output")
        else:
            log.info("%s: worker %s was first, this result is thrown away", self, committed["worker"])
            self.interrupted("beaten")

    def interrupted(self, why: str) -> None:
        self._keep(layout.interruption(self.task.job_id, self.task.task, self.id), {"why": why})

    def failed(self, reason: str, details: dict[str, Any]) -> None:
        self._keep(layout.failure(self.task.job_id, self.task.task, self.id), {"reason": reason} | details)

    def report(self, s3: Any) -> None:
        """Say that this worker is at this task, for `trainq status`."""
        key = layout.worker(self.task.job_id, self.worker)
        body = json.dumps(self._about() | {"heartbeat": _now()}).encode()
        s3.put_object(Bucket=self.bucket_name, Key=key, Body=body, ContentType="application/json")

    def _keep(self, key: str, about: dict[str, Any]) -> None:
        """How this attempt ended, if not with a result: for people, so that nothing depends on it."""
        try:
            markers.commit(self.s3, self.bucket_name, key, self._about() | about)
        except Exception as error:
            log.warning("%s: its end could not be recorded: %s", self, error)

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
