"""Lists the tasks of a job that are done and fetches their results.

Any principal that may write to the bucket may write any marker, so only markers that `checked` has accepted become
paths or keys.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainq import folders
from trainq.protocol import layout, markers
from trainq.protocol.markers import MarkerError
from trainq.protocol.names import below
from trainq.protocol.result_marker import RESULT, checked
from trainq.stack import Stack
from trainq.transfers import PIECE, download, listed, written_aside

# Threads that read markers. Markers are small: a reader mostly waits for S3.
READERS = 16

# Called with the error of each invalid marker.
OnRefused = Callable[[MarkerError], None]


class FetchError(Exception):
    """Raised if results cannot be written to the folder. The text says why and what to do."""


def _raise(error: MarkerError) -> None:
    raise error


def done_tasks(stack: Stack, job_id: str, tasks: float = math.inf) -> dict[int, float]:
    """Return the tasks whose results are committed, each with the seconds since the commit, by S3's clock.

    `tasks`: the job's number of tasks. Skips results of tasks from that number on, and keys of another form.
    """
    objects = listed(stack.s3, stack.bucket_name, layout.results(job_id))
    return {
        int(found[2]): each["Age"]
        for each in objects
        if (found := RESULT.fullmatch(each["Key"])) and int(found[2]) < tasks
    }


def committed(
    stack: Stack, job_id: str, on_refused: OnRefused = _raise, tasks: float = math.inf
) -> list[dict[str, Any]]:
    """Return the valid result markers of a job in the order of tasks. `tasks`: as in `done_tasks`.

    `on_refused`: called with the error of each invalid marker. By default the first one is raised.
    """
    keys = [layout.result(job_id, task) for task in sorted(done_tasks(stack, job_id, tasks))]
    return read_checked(stack, keys, checked, on_refused)


def read_checked(
    stack: Stack,
    keys: list[str],
    check: Callable[[dict[str, Any], str], dict[str, Any]],
    on_refused: OnRefused,
) -> list[dict[str, Any]]:
    """Return the valid markers at these keys, in the order of keys. Skips missing and invalid markers.

    `check(marker, key)`: returns the marker or raises MarkerError. `on_refused`: called with each such error.
    """

    def read(key: str) -> dict[str, Any] | MarkerError | None:
        try:
            marker = markers.read(stack.s3, stack.bucket_name, key)
            return None if marker is None else check(marker, key)
        except MarkerError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(read, keys))
    for each in found:
        if isinstance(each, MarkerError):
            on_refused(each)
    return [each for each in found if isinstance(each, dict)]


def fetch(
    stack: Stack,
    job_id: str,
    found: list[dict[str, Any]],
    folder: Path,
    on_done: Callable[[Path], None],
    on_note: Callable[[str], None] = lambda text: None,
) -> None:
    """Download the files that result markers name to FOLDER/TASK/..., and write the markers to FOLDER/results.jsonl.

    `found`: checked markers, from `committed`. `on_done`: called with each file's path. `on_note`: called with a
    sentence if results.jsonl is not what a fetch has written; it is renamed and counts as none. Skips files that an
    earlier fetch of the same attempt has downloaded, and removes the incomplete files of one that was killed. Raises
    FetchError if the folder has another job's results, another fetch is writing to it or a link would lead out of it,
    ClientError from S3.
    """
    paths = {
        (marker["task"], file["path"]): below(folder / str(marker["task"]), file["path"])
        for marker in found
        for file in marker["files"]
    }
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        wanted = _prepare(job_id, found, folder, paths, on_done, on_note)
        download(stack.s3, stack.bucket_name, wanted, on_done)


def _prepare(
    job_id: str,
    found: list[dict[str, Any]],
    folder: Path,
    paths: dict[tuple[int, str], Path],
    on_done: Callable[[Path], None],
    on_note: Callable[[str], None],
) -> list[tuple[str, Path]]:
    """Write the index and the folders of the tasks. Return the keys and paths of files that are not there yet."""
    listed = folder / "results.jsonl"
    _refuse_links(folder, [listed, *(folder / str(marker["task"]) for marker in found), *paths.values()])
    before = _fetched_before(listed, on_note)
    if others := set(before.values()) - {job_id}:
        raise FetchError(f"{str(folder)!r} has results of job {others.pop()!r}: name another folder")
    _sweep(folder, [folder / str(marker["task"]) for marker in found], set(paths.values()))
    # Written before the first file: after an interruption, the next fetch knows which attempts' files are here.
    with written_aside(listed) as partial:
        partial.write_text("".join(json.dumps(marker, allow_nan=False) + "\n" for marker in found))
    wanted = []
    for marker in found:
        (folder / str(marker["task"])).mkdir(exist_ok=True)
        for file in marker["files"]:
            path = paths[marker["task"], file["path"]]
            if marker["attempt"] in before and path.is_file() and path.stat().st_size == file["bytes"]:
                on_done(path)
            else:
                wanted.append((marker["output"] + file["path"], path))
    return wanted


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Lock the folder during the block. Raises FetchError if another fetch has locked it."""
    lock = None
    # Some file systems have no locks.
    with contextlib.suppress(OSError):
        lock = folders.lock(folder.resolve())
        if lock is None:
            raise FetchError(f"another fetch writes to {str(folder)!r}: wait for its end, or name another folder")
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _sweep(folder: Path, tasks: list[Path], results: set[Path]) -> None:
    """Remove the incomplete files of a fetch that was killed, unless they are named like a file of a result."""
    of_tasks = (Path(root, name) for task in tasks for root, _, files in os.walk(task) for name in files)
    for path in [*folder.iterdir(), *of_tasks]:
        if PIECE.fullmatch(path.name) and path not in results and path.is_file():
            path.unlink()


def _fetched_before(listed: Path, on_note: Callable[[str], None]) -> dict[str, str]:
    """Return the attempts in FOLDER/results.jsonl of an earlier fetch, each with its job; rename the file if it is not
    what a fetch has written."""
    if not listed.exists():
        return {}
    try:
        lines = [json.loads(line) for line in listed.read_text().splitlines()]
        found = {each["attempt"]: each["job_id"] for each in lines}
        if not all(isinstance(each, str) for each in found.values()):
            raise ValueError("a job's id is no text")
        return found
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        old = listed.replace(listed.with_name("results.jsonl.old"))
        why = f"is not what a fetch has written ({type(error).__name__}: {error})"
        on_note(f"{str(listed)!r} {why}: it is {old.name!r} now, and all files are fetched")
        return {}


def _refuse_links(folder: Path, paths: Iterable[Path]) -> None:
    """Raise FetchError if a path below the folder is or passes a link: its file would be written elsewhere."""
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
