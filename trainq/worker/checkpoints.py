"""A task's checkpoints: what one attempt leaves to the next, on whatever machine that is.

A checkpoint counts when its marker is there, which is written last. The newest is the one of the latest attempt, so
that a worker which had lost its task and comes back late cannot put its older state in front.
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
LINK_ATTEMPTS = 3

T = TypeVar("T")


@dataclass
class Checkpoints:
    """The checkpoints of one attempt, and those of the attempts before it."""

    pool: TransferPool
    job_id: str
    task: int
    attempt_number: int
    attempt: str
    saved: int = 0
    # Until the folder is as the attempt before left it, there is nothing in it that is worth keeping.
    restored: bool = False
    # The fields of its events.
    about: dict[str, Any] = field(init=False)
    _last: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.about = {"job": self.job_id, "task": self.task, "attempt": self.attempt_number}

    def restore(self, folder: Path, cancel: Cancel | None = None) -> str | None:
        """Fill the folder with the newest complete checkpoint; return its name, None if there is none."""
        prefix = layout.checkpoints(self.job_id, self.task)
        found = listed(self.pool.s3, self.pool.bucket, prefix, delimiter="/")
        names = (each["Key"].removeprefix(prefix) for each in found)
        newest = max((name for name in names if MARKER.fullmatch(name)), default=None)
        if newest is None:
            self.restored = True
            return None
        # A task that was redriven begins to count anew; what it saves must not stand behind what is there.
        self.attempt_number = max(self.attempt_number, int(newest.split("-")[0]) + 1)
        marker = markers.read(self.pool.s3, self.pool.bucket, prefix + newest) or {"files": []}
        base = prefix + newest.removesuffix(".json") + "/"
        files = [(base + name, below(folder, name)) for name in marker["files"]]
        self.pool.download(files, cancel=cancel)
        self._last = _signature(folder)
        self.restored = True
        return newest.removesuffix(".json")

    def save(self, folder: Path) -> bool:
        """Store what is in the folder, unless it is empty or has not changed; whether it was stored."""
        with self._lock:
            signature = _patiently(_signature, folder) if self.restored else []
            if not signature or signature == self._last:
                return False
            copy = folder.with_name("checkpoint-copy")
            try:
                _patiently(_link_all, folder, copy)
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


def _patiently(look: Callable[..., T], *arguments: Path) -> T:
    """Call the function again if a file or folder was renamed between being seen and being taken."""
    for _ in range(LINK_ATTEMPTS - 1):
        with contextlib.suppress(shutil.Error, FileNotFoundError):
            return look(*arguments)
    return look(*arguments)


def _link_all(folder: Path, copy: Path) -> None:
    """Links keep what was there under each name, while the command goes on and puts new files in their place."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=os.link)


def _signature(folder: Path) -> list[tuple[str, int, int]]:
    """What is in the folder, by name, size and time; the same for the same files."""
    found = []
    for name, path in files_below(folder).items():
        status = path.stat()
        found.append((name, status.st_size, status.st_mtime_ns))
    return found
