"""Committed results: which tasks of a job are done, and fetching what they brought."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainq import bucket, markers, transfer
from trainq.stack import Stack

# Markers are small; reading them is waiting, mostly.
READERS = 16


class FetchError(Exception):
    """Results cannot go where they are asked to; says why."""


def done_tasks(stack: Stack, job_id: str) -> dict[int, float]:
    """The tasks whose results are committed, and when (seconds since 1970)."""
    prefix = bucket.results(job_id)
    return {
        int(each["Key"].removeprefix(prefix).removesuffix(".json")): each["LastModified"].timestamp()
        for each in transfer.listed(stack.s3, stack.bucket_name, prefix)
    }


def committed(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """The markers of all tasks that are done, in the order of tasks."""
    return read_all(stack, [bucket.result(job_id, task) for task in sorted(done_tasks(stack, job_id))])


def read_all(stack: Stack, keys: list[str]) -> list[dict[str, Any]]:
    """The markers at these keys, in their order, without those that are not there."""
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
