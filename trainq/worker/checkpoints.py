"""Checkpoints in the bucket, so that the next attempt at a task goes on where the last one ended, on any machine.

The marker of a checkpoint is written last: a checkpoint without a marker is incomplete and ignored. Names sort by
attempt first, so that the late checkpoint of a worker that has lost its lease is never the newest.
"""

import contextlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from trainq.protocol import events, layout, markers
from trainq.protocol.events import tell
from trainq.protocol.names import below, files_below
from trainq.transfers import Cancel, TransferPool, listed

log = logging.getLogger(__name__)

MARKER = re.compile(r"\d{6}-\d{6}-[0-9a-f]{32}\.json")
# A training command may rename a file while the folder is read; three times in a row is unlikely.
LINK_ATTEMPTS = 3

T = TypeVar("T")


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
    saved: int = 0
    # False until the newest checkpoint is in the folder: a folder that is half restored must not be saved.
    restored: bool = False
    # The fields of this attempt's events.
    about: dict[str, Any] = field(init=False)
    _last: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.about = {"job": self.job_id, "task": self.task, "attempt": self.attempt_number}

    def restore(self, folder: Path, cancel: Cancel | None = None) -> str | None:
        """Download the newest complete checkpoint into the folder. Return its name, None if there is none.

        Raises Cancelled, or ClientError from S3.
        """
        prefix = layout.checkpoints(self.job_id, self.task)
        found = listed(self.pool.s3, self.pool.bucket, prefix, delimiter="/")
        names = (each["Key"].removeprefix(prefix) for each in found)
        newest = max((name for name in names if MARKER.fullmatch(name)), default=None)
        if newest is None:
            self.restored = True
            return None
        # SQS counts a redriven task's receives from 1 again. New checkpoints must still sort after the old ones.
        self.attempt_number = max(self.attempt_number, int(newest.split("-")[0]) + 1)
        marker = markers.read(self.pool.s3, self.pool.bucket, prefix + newest) or {"files": []}
        base = prefix + newest.removesuffix(".json") + "/"
        files = [(base + name, below(folder, name)) for name in marker["files"]]
        self.pool.download(files, cancel=cancel)
        self._last = _signature(folder)
        self.restored = True
        return newest.removesuffix(".json")

    def save(self, folder: Path) -> bool:
        """Upload the folder as a new checkpoint. Return False if it is empty, unchanged or not restored yet.

        The command may write meanwhile: hard links keep the files as they are now. Raises ClientError from S3, OSError.
        """
        with self._lock:
            signature = _retry_if_renamed(_signature, folder) if self.restored else []
            if not signature or signature == self._last:
                return False
            copy = folder.with_name("checkpoint-copy")
            try:
                _retry_if_renamed(_link_all, folder, copy)
                files = files_below(copy)
                self.saved += 1
                name = f"{self.attempt_number:06}-{self.saved:06}-{self.attempt}"
                base = layout.checkpoints(self.job_id, self.task) + name
                pairs = [(path, f"{base}/{relative}") for relative, path in files.items()]
                self.pool.upload(pairs)
                marker = {"attempt": self.attempt, "files": list(files)}
                markers.commit(self.pool.s3, self.pool.bucket, f"{base}.json", marker)
            finally:
                shutil.rmtree(copy, ignore_errors=True)
            self._last = signature
            tell(log, events.CHECKPOINT_SAVED, **self.about, number=self.saved)
            return True


def _retry_if_renamed(look: Callable[..., T], *arguments: Path) -> T:
    """Call the function; call it again if a file was renamed or removed after it was listed."""
    for _ in range(LINK_ATTEMPTS - 1):
        with contextlib.suppress(shutil.Error, FileNotFoundError):
            return look(*arguments)
    return look(*arguments)


def _link_all(folder: Path, copy: Path) -> None:
    """Make hard links of all files in `copy`. They keep their content if the command replaces the files later."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=os.link)


def _signature(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size and modification time of each file, to tell whether the folder has changed."""
    found = []
    for name, path in files_below(folder).items():
        status = path.stat()
        found.append((name, status.st_size, status.st_mtime_ns))
    return found
