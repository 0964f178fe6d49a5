"""Decides which names files and keys may have. Turns names of files into keys, and keys into paths."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

# Linux and macOS take no longer name of a file (NAME_MAX).
# https://man7.org/linux/man-pages/man7/path_resolution.7.html
MAX_NAME_BYTES = 255
ALLOWED = (
    f"UTF-8 without control characters, with no segment that is empty, '.', '..' or longer than {MAX_NAME_BYTES} bytes"
)
# Control characters: they make two lines of one, and change what a terminal shows. Surrogates: no UTF-8.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NO_SEGMENTS = {b"", b".", b".."}


def is_name(name: str) -> bool:
    """Return whether a file below a folder can have this relative name, and the name be part of a key."""
    if _UNFIT.search(name):
        return False
    segments = name.encode().split(b"/")
    return not _NO_SEGMENTS & set(segments) and max(map(len, segments)) <= MAX_NAME_BYTES


class SortedPaths:
    """Finds a path that would be both a file and a folder, among paths that come in order of their characters.

    Remembers only the paths that the last one begins with: no later path can be below any other.
    """

    def __init__(self) -> None:
        self._beginnings: list[str] = []

    def folder_of(self, path: str) -> str | None:
        """Take the next path. Return the earlier path that is a folder of it, None if there is none."""
        while self._beginnings and not path.startswith(self._beginnings[-1]):
            self._beginnings.pop()
        # If the path is below a shorter one, the longest is, too: it would have been found before.
        if self._beginnings and path.startswith(f"{self._beginnings[-1]}/"):
            return self._beginnings[-1]
        self._beginnings.append(path)
        return None


def files_below(folder: Path) -> dict[str, Path]:
    """Return all files below a folder, sorted, by their relative names with '/'.

    Raises ValueError for an entry that cannot become an object: a broken link, a link to a folder, a socket, a name
    that `is_name` refuses. Raises OSError, with the path, if a folder is missing or cannot be read.
    """
    found = {}
    for path in sorted(_entries(folder)):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            raise ValueError(f"{name!r} is neither a file nor a folder")
        if not is_name(name):
            raise ValueError(f"{name!r} is not a name that can be stored: allowed is {ALLOWED}")
        found[name] = path
    return found


def _entries(folder: Path) -> Iterator[Path]:
    """Yield all entries below the folder except folders. Path.rglob would skip unreadable folders silently."""

    def refuse(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=refuse):
        links = [name for name in folders if Path(root, name).is_symlink()]
        yield from (Path(root, name) for name in [*files, *links])


def below(folder: Path, relative: str) -> Path:
    """Return the path of a relative name below a folder. Raises ValueError if it leads out or is not a valid name."""
    # Compare names only: Path.resolve takes longer than writing a small file. The names must equal the parts that the
    # operating system sees: on some systems a backslash or a colon separates parts, too.
    names = tuple(relative.split("/"))
    path = folder.joinpath(*names)
    if path.parts != folder.parts + names or not is_name(relative):
        raise ValueError(f"{relative!r} is not a name within {str(folder)!r}")
    return path
