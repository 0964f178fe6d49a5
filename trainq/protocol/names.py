"""How the names of files become keys, and keys become paths."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> dict[str, Path]:
    """The files in a folder and in its folders, by their names with '/', in order.

    Raises ValueError for what could not become an object of that name: a broken link, a link to a folder, a socket, a
    name that is not printable UTF-8. Raises OSError, with the path, for a folder that is missing or cannot be read.
    """
    found = {}
    for path in sorted(_entries(folder)):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            raise ValueError(f"{name!r} is neither a file nor a folder")
        if not name.isprintable():
            raise ValueError(f"{name!r} is not a printable UTF-8 name")
        found[name] = path
    return found


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what is below the folder, except folders. Path.rglob leaves out, without a word, what it cannot read."""

    def refuse(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=refuse):
        links = [name for name in folders if Path(root, name).is_symlink()]
        yield from (Path(root, name) for name in [*files, *links])


def below(folder: Path, relative: str) -> Path:
    """The path of a relative name in a folder. Raises ValueError for one that leads out of it, or cannot be a name."""
    # By the names alone: to resolve the path takes longer than to write a small file. They must be the parts that the
    # system sees, for which a backslash or a colon may divide them, too.
    names = tuple(relative.split("/"))
    path = folder.joinpath(*names)
    is_text = "\0" not in relative and relative == relative.encode(errors="ignore").decode()
    if path.parts != folder.parts + names or ".." in names or not is_text:
        raise ValueError(f"{relative!r} is not a name within {str(folder)!r}")
    return path
