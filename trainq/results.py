"""What has become of a job: its plan, committed results and failures, and fetching the results."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainq import bucket, markers, transfer
from trainq.stack import Stack

# Markers are small; reading them is waiting, mostly.
READERS = 16


class FetchError(Exception):
    """Results cannot go where they are asked to; says why."""


@dataclass(frozen=True)
class JobStatus:
    """A job's numbers: `failed_attempts` by task, for tasks that are not done."""

    job_id: str
    dispatched: bool
    tasks: int
    shards: int
    done: int
    failed_attempts: dict[int, int] = field(default_factory=dict)
    last_failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return self.done == self.tasks


def status(stack: Stack, job_id: str, *, reasons: int = 5) -> JobStatus | None:
    """What the bucket says of the job, with the newest failure of up to `reasons` tasks; None if it has no plan."""
    s3, name = stack.s3, stack.bucket_name
    plan = markers.read(s3, name, bucket.plan(job_id))
    if plan is None:
        return None
    done = set(_committed_tasks(stack, job_id))
    newest: dict[int, dict[str, Any]] = {}
    attempts: dict[int, int] = {}
    for each in transfer.listed(s3, name, bucket.failures(job_id)):
        task = int(each["Key"].removeprefix(bucket.failures(job_id)).split("/")[0])
        if task in done:
            continue
        attempts[task] = attempts.get(task, 0) + 1
        if task not in newest or each["LastModified"] >= newest[task]["LastModified"]:
            newest[task] = each
    shown = [newest[task] for task in sorted(newest)[:reasons]]
    return JobStatus(
        job_id=job_id,
        dispatched=markers.read(s3, name, bucket.dispatched(job_id)) is not None,
        tasks=plan["tasks"],
        shards=plan["shards"],
        done=len(done),
        failed_attempts=dict(sorted(attempts.items())),
        last_failures=[record for each in shown if (record := markers.read(s3, name, each["Key"]))],
    )


def committed(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """The markers of all tasks that are done, in the order of tasks."""
    keys = [bucket.result(job_id, task) for task in sorted(_committed_tasks(stack, job_id))]
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda key: markers.read(stack.s3, stack.bucket_name, key), keys)
        return [marker for marker in read if marker]


def fetch(stack: Stack, found: list[dict[str, Any]], folder: Path, on_done: Callable[[Path], None]) -> None:
    """Download what these markers name to FOLDER/TASK/...; the markers themselves to FOLDER/results.jsonl.

    A file that an earlier fetch of the same attempt has brought is kept. Raises FetchError for a folder that has
    another job's results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "results.jsonl"
    before = [json.loads(line) for line in listed.read_text().splitlines()] if listed.exists() else []
    if others := {each["job_id"] for each in before} - {each["job_id"] for each in found}:
        raise FetchError(f"{str(folder)!r} has results of job {others.pop()!r}: name another folder")
    fetched = {each["attempt"] for each in before}
    # Before the first file: what this folder is being filled with, should somebody end this in the middle.
    listed.write_text("".join(json.dumps(marker) + "\n" for marker in found))
    wanted = []
    for marker in found:
        own = folder / str(marker["task"])
        own.mkdir(exist_ok=True)
        for file in marker["files"]:
            path = transfer.below(own, file["path"])
            if marker["attempt"] in fetched and path.is_file() and path.stat().st_size == file["bytes"]:
                on_done(path)
            else:
                wanted.append((marker["output"] + file["path"], path))
    transfer.download(stack.s3, stack.bucket_name, wanted, on_done)


def _committed_tasks(stack: Stack, job_id: str) -> Iterator[int]:
    for each in transfer.listed(stack.s3, stack.bucket_name, bucket.results(job_id)):
        yield int(each["Key"].removeprefix(bucket.results(job_id)).removesuffix(".json"))
