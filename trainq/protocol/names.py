"""Turns names of files into keys, and keys into paths."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> dict[str, Path]:
    """Return all files below a folder, sorted, by their relative names with '/'.

    Raises ValueError for an entry that cannot become an object: a broken link, a link to a folder, a socket, a name
    that is not printable UTF-8. Raises OSError, with the path, if a folder is missing or cannot be read.
    """
    found = {}
    for path in sorted(_entries(folder)):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            raise ValueError(f"{name!r} is neither a file nor a folder")
        if not is_name(name):
            raise ValueError(f"{name!r} is not a printable UTF-8 name")
        found[name] = path
    return found


def is_name(name: str) -> bool:
    """Return whether a file's relative name can be part of a key."""
    return name.isprintable()


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
    is_text = "\0" not in relative and relative == relative.encode(errors="ignore").decode()
    if path.parts != folder.parts + names or ".." in names or not is_text:
        raise ValueError(f"{relative!r} is not a name within {str(folder)!r}")
    return path
