"""From a job to messages on the model training queue: the AWS edge of the function.

What survives a crash: the plan's marker (the dataset is never listed a second time) and the marker that all tasks
have been sent. A crash in between sends tasks again; workers find their results committed.
"""

import json
import random
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

from lambda_src import planning
from lambda_src.planning import Shard
from trainq import bucket, markers
from trainq.messages import Job, MessageError, is_shard

# Requests in flight: one costs some 10 ms of waiting, so that 16 keep the function busy.
IN_FLIGHT = 16
SEND_ATTEMPTS = 6
# Kept free of new work, to end what is in flight and to answer.
RESERVED_SECONDS = 2.0
# Our limit: what one invocation of 5 min surely sends.
MAX_TASKS = 1_000_000


class OutOfTime(Exception):
    """The invocation ends before all tasks are sent; the message will be delivered again."""


@dataclass(frozen=True)
class Plan:
    """What a job's marker says: `groups` is the key of the object with the shard groups."""

    job: Job
    groups: str
    group_count: int
    shards: int
    bytes: int

    @property
    def tasks(self) -> int:
        return self.group_count * self.job.grid_points

    def to_dict(self) -> dict[str, Any]:
        return {
            "job": self.job.to_dict(),
            "tasks": self.tasks,
            "shards": self.shards,
            "bytes": self.bytes,
            "groups": self.groups,
            "group_count": self.group_count,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Plan":
        return cls(
            job=Job.from_dict(value["job"]),
            groups=value["groups"],
            group_count=value["group_count"],
            shards=value["shards"],
            bytes=value["bytes"],
        )


@dataclass(frozen=True)
class Dispatcher:
    """Plans jobs and sends their tasks; `remaining` tells the seconds left to this invocation."""

    s3: Any
    sqs: Any
    bucket: str
    queue_url: str
    remaining: Callable[[], float]

    def dispatch(self, job: Job) -> int:
        """Send all tasks of the job and return how many; 0 if all were sent before or the job is cancelled.

        Raises MessageError if the job can never succeed, any other exception for a fault that may pass.
        """
        stored = markers.read(self.s3, self.bucket, bucket.plan(job.job_id))
        plan = self._same_job(job, stored) if stored else self._make_plan(job)
        for marker in (bucket.dispatched(job.job_id), bucket.cancelled(job.job_id)):
            if markers.read(self.s3, self.bucket, marker):
                return 0
        with tempfile.TemporaryFile() as file:
            self.s3.download_fileobj(self.bucket, plan.groups, file)
            tasks = planning.tasks(job, _read_lines(file), plan.group_count)
            self._send_all(job.job_id, planning.batches(task.to_json() for task in tasks))
        done = {"tasks": plan.tasks, "dispatch": uuid.uuid4().hex}
        markers.commit(self.s3, self.bucket, bucket.dispatched(job.job_id), done)
        return plan.tasks

    def _same_job(self, job: Job, stored: dict[str, Any]) -> Plan:
        plan = Plan.from_dict(stored)
        plan.job.refuse_other(job)
        return plan

    def _make_plan(self, job: Job) -> Plan:
        """List the dataset, store the groups, then the marker; if another invocation was first, its plan counts."""
        with tempfile.TemporaryFile() as listing, tempfile.TemporaryFile() as file:
            count, size = self._list(job, listing)
            group_count, largest = _write_lines(
                file, planning.groups(job, map(Shard._make, _read_lines(listing)), count)
            )
            if group_count * job.grid_points > MAX_TASKS:
                raise MessageError(
                    f"the job has {group_count * job.grid_points:,} tasks: allowed are at most {MAX_TASKS:,}; "
                    "raise 'shards_per_task' or 'bytes_per_task', or make 'grid' smaller"
                )
            planning.check_size(job, group_count, json.loads(largest))
            plan = Plan(job, bucket.plan_groups(job.job_id, uuid.uuid4().hex), group_count, count, size)
            file.seek(0)
            self.s3.upload_fileobj(file, self.bucket, plan.groups)
        committed = markers.commit(self.s3, self.bucket, bucket.plan(job.job_id), plan.to_dict())
        return self._same_job(job, committed)

    def _list(self, job: Job, file: IO[bytes]) -> tuple[int, int]:
        """Write the dataset's shards to the file, a line each; return their number and their bytes in all."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=job.dataset)
        count = size = 0
        for page in pages:
            self._check_time()
            # Consoles make empty objects that end in "/" to show folders.
            found = [(each["Key"], each["Size"]) for each in page.get("Contents", ()) if not each["Key"].endswith("/")]
            if bad := [key for key, _ in found if not is_shard(key)]:
                raise MessageError(
                    f"the dataset has an object {bad[0]!r}: allowed are keys without empty, '.' or '..' segments, "
                    "since workers turn them into paths"
                )
            _write_lines(file, found)
            count += len(found)
            size += sum(each for _, each in found)
        if not count:
            raise job.without_dataset(self.bucket)
        file.seek(0)
        return count, size

    def _send_all(self, job_id: str, batches: Iterable[list[str]]) -> None:
        pool = ThreadPoolExecutor(IN_FLIGHT)
        try:
            under_way: deque[Future[None]] = deque()
            for batch in batches:
                self._check_time()
                under_way.append(pool.submit(self._send, job_id, batch))
                if len(under_way) >= 2 * IN_FLIGHT:
                    under_way.popleft().result()
            for sending in under_way:
                sending.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _check_time(self) -> None:
        if self.remaining() < RESERVED_SECONDS:
            raise OutOfTime("the job could not be planned and sent within one invocation")

    def _send(self, job_id: str, bodies: list[str]) -> None:
        """Send one batch. SQS answers 200 also when it did not take some entries: those are sent again."""
        # The group turns on fair queues: a huge job does not starve a small one.
        entries = [
            {"Id": str(number), "MessageBody": body, "MessageGroupId": job_id} for number, body in enumerate(bodies)
        ]
        for attempt in range(SEND_ATTEMPTS):
            answer = self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries)
            failed = {each["Id"]: each for each in answer.get("Failed", ())}
            if not failed:
                return
            entries = [entry for entry in entries if entry["Id"] in failed]
            if refused := [each for each in failed.values() if each["SenderFault"]]:
                raise MessageError(f"SQS refused a task: {refused[0]['Code']}: {refused[0].get('Message', '')}")
            time.sleep(min(0.1 * 2**attempt, 2.0) * random.uniform(0.5, 1.0))
        raise RuntimeError(f"SQS did not take {len(entries)} tasks in {SEND_ATTEMPTS} attempts: {failed}")


def _write_lines(file: IO[bytes], values: Iterable[Any]) -> tuple[int, str]:
    """Write each value as a line of JSON; return their number and the longest line."""
    count, longest = 0, ""
    for value in values:
        line = json.dumps(value)
        file.write(line.encode() + b"\n")
        count += 1
        longest = max(longest, line, key=len)
    return count, longest


def _read_lines(file: IO[bytes]) -> Iterator[Any]:
    file.seek(0)
    return map(json.loads, file)
