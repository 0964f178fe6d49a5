"""Checkpoints in the bucket, so that the next attempt at a task goes on where the last one ended, on any machine.

The marker of a checkpoint is written last: a checkpoint without a marker is incomplete and ignored. The newest is the
one that S3 has dated last: anybody who may write checkpoints can claim any attempt in a name, and after a redrive
attempts count from 1 again. A worker that has lost its lease saves none, since it would be the newest.
"""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from trainq import folders
from trainq.protocol import events, layout, markers
from trainq.protocol.events import tell
from trainq.protocol.names import SortedPaths, below
from trainq.transfers import Cancel, TransferPool, listed
from trainq.worker import checkpoint_files
from trainq.worker.checkpoint_files import Contents

log = logging.getLogger(__name__)

MARKER = re.compile(r"\d{6}-\d{6}-[0-9a-f]{32}\.json")
# A marker names at most so many of the entries that are left out of its checkpoint.
MAX_LEFT_OUT = 100
# S3's error codes for a file that is not there, or cannot be.
NO_FILE = {"NoSuchKey", "KeyTooLongError"}


@dataclass
class Checkpoints:
    """Restores the newest checkpoint of earlier attempts at a task, and saves those of this attempt.

    Call `restore` before the first `save`. `save` may be called from any thread.
    """

    pool: TransferPool
    job_id: str
    task: int
    attempt_number: int
    attempt: str
    # Returns whether this attempt still holds its lease.
    is_held: Callable[[], bool] = lambda: True
    saved: int = 0
    # False until the newest checkpoint is in the folder: a folder that is half restored must not be saved.
    restored: bool = False
    # What was wrong with the last save, in words; None if nothing was. For records that people read.
    problem: str | None = None
    # The fields of this attempt's events.
    about: dict[str, Any] = field(init=False)
    _last: Contents | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.about = {"job": self.job_id, "task": self.task, "attempt": self.attempt_number}

    def restore(self, folder: Path, cancel: Cancel | None = None) -> str | None:
        """Download the newest complete checkpoint into the folder. Return its name, None if there is none.

        Passes over those that no worker can have written: they would fail every attempt. Raises Cancelled, or
        ClientError from S3.
        """
        prefix = layout.checkpoints(self.job_id, self.task)
        found = listed(self.pool.s3, self.pool.bucket, prefix, delimiter="/")
        # S3's dates have whole seconds: within one the names decide, which begin with attempt and number.
        dated = [(each["LastModified"], each["Key"]) for each in found if MARKER.fullmatch(each["Key"], len(prefix))]
        newest = None
        for _, key in sorted(dated, reverse=True):
            name = key.removeprefix(prefix).removesuffix(".json")
            try:
                self._download(key, folder, cancel)
            except ValueError as error:
                tell(log, events.CHECKPOINT_REFUSED, **self.about, checkpoint=name, reason=str(error))
                folders.remove(folder)
                folder.mkdir(mode=0o700)
            else:
                newest, self._last = name, checkpoint_files.look(folder)
                break
        self.restored = True
        return newest

    def _download(self, key: str, folder: Path, cancel: Cancel | None) -> None:
        """Download the checkpoint whose marker is at this key. Raises ValueError if no worker can have written it."""
        marker = markers.read(self.pool.s3, self.pool.bucket, key) or {}
        files, links = _contents(marker)
        base = key.removesuffix(".json") + "/"
        try:
            self.pool.download([(base + name, below(folder, name)) for name in files], cancel=cancel)
        except ClientError as error:
            if error.response["Error"]["Code"] in NO_FILE:
                raise ValueError(f"{key!r} names a file that is not there") from None
            raise
        checkpoint_files.restore_links(folder, links)

    def save(self, folder: Path) -> bool:
        """Upload the folder as a new checkpoint. Return False if it is empty, unchanged or not restored yet.

        The command may write meanwhile: hard links keep the files as they are now. Entries that are neither files nor
        links within the folder are left out, and `problem` names them. Raises ClientError from S3, OSError; then
        `problem` says so.
        """
        with self._lock:
            if not self.restored:
                return False
            try:
                return self._save(folder)
            except Exception as error:
                self.problem = f"the checkpoint could not be saved: {error}"
                raise

    def _save(self, folder: Path) -> bool:
        now = checkpoint_files.look(folder)
        if now == self._last or not (now.files or now.left_out):
            return False
        copy = folder.with_name("checkpoint-copy")
        try:
            kept = checkpoint_files.keep(folder, copy)
            self.problem = kept.problem
            if self.problem:
                tell(log, events.CHECKPOINT_INCOMPLETE, **self.about, reason=self.problem)
            if kept.files:
                self._upload(copy, kept)
        finally:
            folders.remove(copy)
        self._last = now
        return bool(kept.files)

    def _upload(self, copy: Path, kept: Contents) -> None:
        self.saved += 1
        name = f"{self.attempt_number:06}-{self.saved:06}-{self.attempt}"
        base = layout.checkpoints(self.job_id, self.task) + name
        files = sorted(kept.files)
        self.pool.upload([(copy / each, f"{base}/{each}") for each in files])
        if not self.is_held():
            raise RuntimeError("the lease was lost, another attempt may have a later one")
        marker: dict[str, Any] = {"attempt": self.attempt, "files": files}
        # Only where there are any: workers of earlier versions read `files` alone.
        if kept.links:
            marker["links"] = kept.links
        if kept.left_out:
            marker["left_out"] = dict(sorted(kept.left_out.items())[:MAX_LEFT_OUT])
        markers.commit(self.pool.s3, self.pool.bucket, f"{base}.json", marker)
        tell(log, events.CHECKPOINT_SAVED, **self.about, number=self.saved)


def _contents(marker: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Return the names of files and the targets of links in a marker. Raises ValueError if they do not fit together."""
    files, links = marker.get("files"), marker.get("links", {})
    if not isinstance(files, list) or not isinstance(links, dict):
        raise ValueError("its marker lists no files")
    names = [*files, *links]
    if not all(isinstance(each, str) for each in [*names, *links.values()]):
        raise ValueError("its marker has a name that is no text")
    paths = SortedPaths()
    if len(set(names)) < len(names) or any(paths.folder_of(name) for name in sorted(names)):
        raise ValueError("its marker has names that cannot be in one folder")
    return files, links
