"""Committed results: which tasks of a job are done, and fetching what they brought.

Whoever may write a marker may write anything into it: only what `checked` lets through becomes a path or a key.
"""

import json
import re
import reprlib
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainq import bucket, markers, transfer
from trainq.dataset import MAX_KEY_BYTES
from trainq.markers import MarkerError
from trainq.stack import Stack

# Markers are small; reading them is waiting, mostly.
READERS = 16
RESULT = re.compile(r"runs/([^/]+)/results/(0|[1-9][0-9]*)\.json")
ATTEMPT = re.compile(r"[0-9a-f]{32}")

_shortened = reprlib.Repr()
_shortened.maxstring = 120


class FetchError(Exception):
    """Results cannot go where they are asked to; says why."""


def done_tasks(stack: Stack, job_id: str) -> dict[int, float]:
    """The tasks whose results are committed, and when (seconds since 1970). Keys of another form are left out."""
    listed = transfer.listed(stack.s3, stack.bucket_name, bucket.results(job_id))
    return {
        int(found[2]): each["LastModified"].timestamp() for each in listed if (found := RESULT.fullmatch(each["Key"]))
    }


def committed(
    stack: Stack, job_id: str, on_refused: Callable[[MarkerError], None] | None = None
) -> list[dict[str, Any]]:
    """The markers of all tasks that are done, checked, in the order of tasks.

    `on_refused` is told of those that are refused; without it the first of them is raised.
    """

    def read(key: str) -> dict[str, Any] | MarkerError | None:
        try:
            marker = markers.read(stack.s3, stack.bucket_name, key)
            return marker if marker is None else checked(marker, key)
        except MarkerError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        read_all = list(pool.map(read, [bucket.result(job_id, task) for task in sorted(done_tasks(stack, job_id))]))
    for refused in (each for each in read_all if isinstance(each, MarkerError)):
        if on_refused is None:
            raise refused
        on_refused(refused)
    return [each for each in read_all if isinstance(each, dict)]


def checked(marker: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the result marker that was read at this key.

    Raises MarkerError unless its job, task, attempt and output are those of the key, and its files can be beside each
    other below one folder.
    """
    found = RESULT.fullmatch(key)
    if not found:
        raise MarkerError(f"{key!r} is no key of a result")
    job_id, task, attempt = found[1], int(found[2]), marker.get("attempt")
    if not (isinstance(attempt, str) and ATTEMPT.fullmatch(attempt)):
        raise MarkerError(f"{key!r}: field 'attempt' is {_shown(attempt)}: allowed are 32 of the characters 0-9 a-f")
    for name, own in (("job_id", job_id), ("task", task), ("output", bucket.attempt_output(job_id, task, attempt))):
        value = marker.get(name)
        # By type, too: True is 1 in Python.
        if type(value) is not type(own) or value != own:
            raise MarkerError(f"{key!r}: field {name!r} is {_shown(value)}: allowed at this key is {own!r}")
    try:
        _check_files(marker.get("files"), str(task))
    except ValueError as error:
        raise MarkerError(f"{key!r}: field 'files': {error}") from None
    return marker


def _check_files(files: Any, folder: str) -> None:
    if not isinstance(files, list):
        raise ValueError(f"{_shown(files)} is no list")
    names, folders = set(), set()
    for file in files:
        path, size = (file.get("path"), file.get("bytes")) if isinstance(file, dict) else (None, None)
        if not isinstance(path, str) or len(path) > MAX_KEY_BYTES or type(size) is not int or size < 0:
            raise ValueError(f"{_shown(file)} is no file with a path and a number of bytes")
        relative = transfer.below(Path(folder), path).relative_to(folder)
        if path in names:
            raise ValueError(f"{path!r} is there twice")
        names.add(path)
        folders.update(each.as_posix() for each in relative.parents)
    if both := names & folders:
        raise ValueError(f"{min(both)!r} is both a file and a folder")


def _shown(value: Any) -> str:
    """A value, cut to what fits into a sentence, however deep or long it is."""
    return _shortened.repr(value)


def read_all(stack: Stack, keys: list[str]) -> list[dict[str, Any]]:
    """The markers at these keys, in their order, without those that are not there."""
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(lambda key: markers.read(stack.s3, stack.bucket_name, key), keys)
        return [marker for marker in read if marker]


def fetch(
    stack: Stack, job_id: str, found: list[dict[str, Any]], folder: Path, on_done: Callable[[Path], None]
) -> None:
    """Download what these markers of a job name to FOLDER/TASK/...; the markers themselves to FOLDER/results.jsonl.

    `found`: as `committed` gives them, which has checked them. A file that an earlier fetch of the same attempt has
    brought is kept. Raises FetchError for a folder that has another job's results, or links in the way.
    """
    paths = {
        (marker["task"], file["path"]): transfer.below(folder / str(marker["task"]), file["path"])
        for marker in found
        for file in marker["files"]
    }
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "results.jsonl"
    _refuse_links(folder, [listed, *(folder / str(marker["task"]) for marker in found), *paths.values()])
    before = _fetched_before(listed)
    if others := set(before.values()) - {job_id}:
        raise FetchError(f"{str(folder)!r} has results of job {others.pop()!r}: name another folder")
    # Before the first file: what this folder is being filled with, should somebody end this in the middle.
    partial = folder / f".{uuid.uuid4().hex}"
    partial.write_text("".join(json.dumps(marker) + "\n" for marker in found))
    partial.replace(listed)
    wanted = []
    for marker in found:
        (folder / str(marker["task"])).mkdir(exist_ok=True)
        for file in marker["files"]:
            path = paths[marker["task"], file["path"]]
            if marker["attempt"] in before and path.is_file() and path.stat().st_size == file["bytes"]:
                on_done(path)
            else:
                wanted.append((marker["output"] + file["path"], path))
    transfer.download(stack.s3, stack.bucket_name, wanted, on_done)


def _fetched_before(listed: Path) -> dict[str, str]:
    """The attempts that an earlier fetch wrote down in FOLDER/results.jsonl, each with its job."""
    try:
        lines = [json.loads(line) for line in listed.read_text().splitlines()] if listed.exists() else []
        return {each["attempt"]: each["job_id"] for each in lines}
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise FetchError(
            f"{str(listed)!r} is not what a fetch has written ({error}): remove it, or name another folder"
        ) from None


def _refuse_links(folder: Path, paths: Iterable[Path]) -> None:
    """Raise FetchError if there is a link on the way from the folder to one of these: a file would go elsewhere."""
    seen = {folder}
    for path in paths:
        for each in (path, *path.parents):
            if each in seen:
                break
            seen.add(each)
            if each.is_symlink():
                raise FetchError(
                    f"{str(each)!r} is a link, and what is fetched must stay below {str(folder)!r}: remove it, or name "
                    "another folder"
                )
