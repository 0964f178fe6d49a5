"""A job's plan: made once from a listing of the dataset, stored, and from then on read."""

import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from boto3.s3.transfer import TransferConfig

from lambda_src import tasks
from lambda_src.tasks import Shard
from trainq.protocol import layout, markers
from trainq.protocol.messages import Job, MessageError, is_shard
from trainq.protocol.names import ALLOWED, SortedPaths

# Our limit: what a few invocations of 5 min surely send.
MAX_TASKS = 1_000_000
# Lines between two looks at the clock.
CHECK_EVERY = 1_000
# One part after another: threads would hold ten parts of 8 MiB and more in memory.
ONE_BY_ONE = TransferConfig(use_threads=False)


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
class Plans:
    """The plans in the bucket. `check_time` is called with what is being done, and raises when the time is up."""

    s3: Any
    bucket: str
    check_time: Callable[[str], None]

    def find(self, job: Job) -> Plan | None:
        """The stored plan; None if there is none yet. Raises MessageError if it is that of another job."""
        stored = markers.read(self.s3, self.bucket, layout.plan(job.job_id))
        return _same_job(job, stored) if stored else None

    def read(self, plan: Plan, file: IO[bytes]) -> None:
        """Write the plan's groups to the file, a line each."""
        self.check_time("its plan could not be read")
        file.seek(0)
        file.truncate()
        self.s3.download_fileobj(self.bucket, plan.groups, file, Config=ONE_BY_ONE)

    def make(self, job: Job, file: IO[bytes]) -> Plan:
        """List the dataset, write the groups to the file, store them, then the marker.

        If another invocation was first, its plan counts, and the file holds its groups.
        """
        mine = self._draw_up(job, file)
        self.check_time("its plan could not be stored")
        file.seek(0)
        # boto3 closes what it has uploaded, so it gets a handle of its own.
        with os.fdopen(os.dup(file.fileno()), "rb") as body:
            self.s3.upload_fileobj(body, self.bucket, mine.groups, Config=ONE_BY_ONE)
        plan = _same_job(job, markers.commit(self.s3, self.bucket, layout.plan(job.job_id), mine.to_dict()))
        if plan.groups != mine.groups:
            self.read(plan, file)
        return plan

    def _draw_up(self, job: Job, file: IO[bytes]) -> Plan:
        with tempfile.TemporaryFile() as listing:
            count, size = self._list(job, listing)
            shards = self._timed(map(Shard._make, lines(listing)), "its shards could not be grouped")
            group_count, largest = _write_lines(file, tasks.groups(job, shards, count))
        if group_count * job.grid_points > MAX_TASKS:
            raise MessageError(
                f"the job has {group_count * job.grid_points:,} tasks: allowed are at most {MAX_TASKS:,}; "
                "raise 'shards_per_task' or 'bytes_per_task', or make 'grid' smaller"
            )
        tasks.check_size(job, group_count, json.loads(largest))
        return Plan(job, layout.plan_groups(job.job_id, uuid.uuid4().hex), group_count, count, size)

    def _list(self, job: Job, file: IO[bytes]) -> tuple[int, int]:
        """Write the dataset's shards to the file, a line each; return their number and their bytes in all."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=job.dataset)
        paths = SortedPaths()
        count = size = 0
        for page in pages:
            self.check_time(f"its dataset could not be listed, of which {count:,} objects were seen")
            # Consoles make empty objects that end in "/" to show folders.
            found = [(each["Key"], each["Size"]) for each in page.get("Contents", ()) if not each["Key"].endswith("/")]
            for key, _ in found:
                _refuse_unfit(key, paths)
            _write_lines(file, found)
            count += len(found)
            size += sum(each for _, each in found)
        if not count:
            raise job.without_dataset(self.bucket)
        return count, size

    def _timed(self, values: Iterable[Any], what: str) -> Iterator[Any]:
        for number, value in enumerate(values):
            if number % CHECK_EVERY == 0:
                self.check_time(what)
            yield value


def _refuse_unfit(key: str, earlier: SortedPaths) -> None:
    """Raise MessageError for a key that no worker can turn into a path beside those of the earlier keys."""
    if not is_shard(key):
        raise MessageError(
            f"the dataset has an object {key!r}: allowed are keys of {ALLOWED}, since workers turn them into paths"
        )
    if folder := earlier.folder_of(key):
        raise MessageError(
            f"the dataset has the objects {folder!r} and {key!r}: allowed are keys that can be files together, since "
            "workers turn them into paths; give one of them another name"
        )


def _same_job(job: Job, stored: dict[str, Any]) -> Plan:
    plan = Plan.from_dict(stored)
    plan.job.refuse_other(job)
    return plan


def _write_lines(file: IO[bytes], values: Iterable[Any]) -> tuple[int, bytes]:
    """Write each value as a line of JSON; return their number and the longest line, that of the largest message."""
    count, longest = 0, b""
    for value in values:
        line = tasks.encode(value).encode()
        file.write(line + b"\n")
        count += 1
        if len(line) > len(longest):
            longest = line
    return count, longest


def lines(file: IO[bytes]) -> Iterator[Any]:
    """What is on each line of a file of JSON."""
    file.seek(0)
    return map(json.loads, file)
