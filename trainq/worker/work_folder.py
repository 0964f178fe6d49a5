"""The folder of one worker, locked while the worker or its guard runs.

If both are killed together, as when a container ends, neither removes the folder: the next worker in the same place
does.
"""

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainq import folders

PREFIX = "trainq-worker-"


@dataclass(frozen=True)
class WorkFolder:
    """A worker's folder. `lock`: descriptor that keeps it locked; None if its file system has no locks."""

    path: Path
    lock: int | None

    def remove(self) -> None:
        """Remove the folder with everything in it, and unlock it."""
        folders.remove(self.path)
        if self.lock is not None:
            os.close(self.lock)


def make(workdir: Path | None = None) -> WorkFolder:
    """Make and lock a folder below `workdir` (the system's temporary folder if None), which is made if need be.

    Removes the folders there whose worker and guard have been killed.
    """
    place = (workdir or Path(tempfile.gettempdir())).absolute()
    place.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        try:
            lock = folders.lock(folder)
        except FileNotFoundError:
            continue
        except OSError:
            # Without locks nobody can sweep it either.
            return WorkFolder(folder, None)
        # Another worker's sweep may have come before the lock: it removes the folder.
        if lock is not None and folder.exists():
            return WorkFolder(folder, lock)
        if lock is not None:
            os.close(lock)


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        # It may be gone by now, or be no folder, or its file system may have no locks.
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = folders.lock(folder)
            if lock is not None:
                folders.remove(folder)
                os.close(lock)
