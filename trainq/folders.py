"""Locks folders against other processes, and removes them with everything in them."""

import contextlib
import fcntl
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from trainq.protocol import events
from trainq.protocol.events import tell

log = logging.getLogger(__name__)

# A folder may have a million files that cannot be removed: the log names the first ones.
NAMED = 3


def lock(folder: Path) -> int | None:
    """Lock a folder until the returned descriptor is closed, in this process and in all that inherit it.

    Returns None if another process has locked the folder. Raises OSError if there is no such folder, if it is a link,
    or if its file system has no locks. Nothing is written.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def remove(folder: Path) -> None:
    """Remove a folder, also if folders in it are read-only. Log what cannot be removed: files of another user."""
    if folder.is_symlink():
        folder.unlink()
        return
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    _make_writable(folder)
    left: list[str] = []

    def note(function: object, path: str, raised: tuple[type, Any, object]) -> None:
        # The folders that contain it are left, too.
        if not any(each.startswith(path) for each in left):
            left.append(f"{path}: {raised[1].strerror}")

    shutil.rmtree(str(folder), onerror=note)
    if left:
        more = f", and {len(left) - NAMED:,} more" if len(left) > NAMED else ""
        tell(log, events.FILES_LEFT, folder=str(folder), reason="; ".join(left[:NAMED]) + more)


def _make_writable(folder: Path) -> None:
    """Let the owner change every folder below. `os.walk` enters a folder after the loop has changed its mode."""
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
    for root, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(root, name)
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
