"""Makes the plan of a job once, from a listing of its dataset, and stores it. Later invocations read it."""

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

# The time is checked once in so many shards.
CHECK_EVERY = 1_000
# Transfers one part at a time: threads would hold ten parts of 8 MiB and more in memory.
SEQUENTIAL = TransferConfig(use_threads=False)


@dataclass(frozen=True)
class Plan:
    """The content of a plan's marker. `groups`: key of the object with the shard groups; `shards`, `bytes`: totals."""

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
    """The plans in the bucket. `check_time`: raises OutOfTime, with its argument as reason, when the time is up.
    `max_tasks`: the most that a new plan may have."""

    s3: Any
    bucket: str
    max_tasks: int
    check_time: Callable[[str], None]

    def find(self, job: Job) -> Plan | None:
        """Return the stored plan, or None. Raises MessageError if it belongs to a different job with the same id."""
        stored = markers.read(self.s3, self.bucket, layout.plan(job.job_id))
        return _checked(stored, job) if stored else None

    def read(self, plan: Plan, file: IO[bytes]) -> None:
        """Download the plan's groups into the file, one JSON line for each group."""
        self.check_time("its plan could not be read")
        file.seek(0)
        file.truncate()
        self.s3.download_fileobj(self.bucket, plan.groups, file, Config=SEQUENTIAL)

    def make(self, job: Job, file: IO[bytes]) -> Plan:
        """List the dataset, write the groups to the file, store them, then write the plan's marker.

        If another invocation has written the marker first, return its plan, with that plan's groups in the file.
        """
        mine = self._build(job, file)
        self.check_time("its plan could not be stored")
        file.seek(0)
        # A duplicate handle: boto3 closes the file that it has uploaded.
        with os.fdopen(os.dup(file.fileno()), "rb") as body:
            self.s3.upload_fileobj(body, self.bucket, mine.groups, Config=SEQUENTIAL)
        plan = _checked(markers.commit(self.s3, self.bucket, layout.plan(job.job_id), mine.to_dict()), job)
        if plan.groups != mine.groups:
            self.read(plan, file)
        return plan

    def _build(self, job: Job, file: IO[bytes]) -> Plan:
        """List the dataset and write its groups to the file. Return the plan, of which nothing is stored yet."""
        with tempfile.TemporaryFile() as listing:
            count, size = self._list(job, listing)
            shards = self._until_out_of_time(map(Shard._make, lines(listing)), "its shards could not be grouped")
            group_count, largest = _write_lines(file, tasks.groups(job, shards, count))
        if group_count * job.grid_points > self.max_tasks:
            raise MessageError(
                f"the job has {group_count * job.grid_points:,} tasks: allowed are at most {self.max_tasks:,} "
                "(the stack's max_tasks); raise 'shards_per_task' or 'bytes_per_task', or make 'grid' smaller"
            )
        tasks.check_size(job, group_count, json.loads(largest))
        return Plan(job, layout.plan_groups(job.job_id, uuid.uuid4().hex), group_count, count, size)

    def _list(self, job: Job, file: IO[bytes]) -> tuple[int, int]:
        """Write the dataset's shards to the file, one JSON line each. Return their number and total size in bytes."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=job.dataset)
        paths = SortedPaths()
        count = size = 0
        for page in pages:
            self.check_time(f"its dataset could not be listed, of which {count:,} objects were seen")
            # Skip keys that end in "/": empty objects by which consoles show folders.
            found = [(each["Key"], each["Size"]) for each in page.get("Contents", ()) if not each["Key"].endswith("/")]
            for key, _ in found:
                _refuse_unfit(key, paths)
            _write_lines(file, found)
            count += len(found)
            size += sum(each for _, each in found)
        if not count:
            raise job.without_dataset(self.bucket)
        return count, size

    def _until_out_of_time(self, values: Iterable[Any], what: str) -> Iterator[Any]:
        """Yield the values, and check the time every CHECK_EVERY values."""
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


def _checked(stored: dict[str, Any], job: Job) -> Plan:
    """Return the stored plan. Raises MessageError if it belongs to a different job with the same id."""
    plan = Plan.from_dict(stored)
    plan.job.refuse_other(job)
    return plan


def _write_lines(file: IO[bytes], values: Iterable[Any]) -> tuple[int, bytes]:
    """Write each value as a line of JSON. Return the number of lines and the longest line."""
    count, longest = 0, b""
    for value in values:
        line = tasks.encode(value).encode()
        file.write(line + b"\n")
        count += 1
        if len(line) > len(longest):
            longest = line
    return count, longest


def lines(file: IO[bytes]) -> Iterator[Any]:
    """Yield the value of each line of a file, from its beginning."""
    file.seek(0)
    return map(json.loads, file)
