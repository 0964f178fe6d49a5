"""Files to and from the bucket, and how their names become keys and paths."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainq.transfer_pool import OnDone, TransferPool


def download(s3: Any, bucket: str, files: Iterable[tuple[str, Path]], on_done: OnDone = lambda path: None) -> None:
    """As `TransferPool.download`, once."""
    with TransferPool(s3, bucket) as pool:
        pool.download(files, on_done)


def listed(s3: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Every object under the prefix (Key, Size, ETag, ...), in order of keys; 1,000 a request."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", ())


def files_below(folder: Path) -> dict[str, Path]:
    """The files in a folder and in its folders, by their names with '/', in order.

    Raises ValueError for what could not become an object of that name: a broken link, a link to a folder, a socket, a
    name that is not printable UTF-8.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if not path.is_file():
            raise ValueError(f"{name!r} is neither a file nor a folder")
        if not name.isprintable():
            raise ValueError(f"{name!r} is not a printable UTF-8 name")
        found[name] = path
    return found


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
