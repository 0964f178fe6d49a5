"""Many files to and from the bucket at once: large ones in parts, several requests in flight, all or an error."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from s3transfer.manager import TransferConfig, TransferManager

CONFIG = TransferConfig(max_request_concurrency=10, max_submission_concurrency=5)

# Called once for each file when it has arrived, in the order that they were named.
OnDone = Callable[[Path], None]


def download(s3: Any, bucket: str, files: Iterable[tuple[str, Path]], on_done: OnDone = lambda path: None) -> None:
    """Fetch (key, path) pairs; folders are made. A file appears under its name only when it is complete."""
    pairs = list(files)
    for folder in {path.parent for _, path in pairs}:
        folder.mkdir(parents=True, exist_ok=True)
    # Leaving the block by an exception, an interruption included, cancels what is under way.
    with TransferManager(s3, CONFIG) as manager:
        under_way = [(manager.download(bucket, key, str(path)), path) for key, path in pairs]
        for transfer, path in under_way:
            transfer.result()
            on_done(path)


def upload(s3: Any, bucket: str, files: Iterable[tuple[Path, str]], on_done: OnDone = lambda path: None) -> None:
    """Store (path, key) pairs."""
    with TransferManager(s3, CONFIG) as manager:
        under_way = [(manager.upload(str(path), bucket, key), path) for path, key in files]
        for transfer, path in under_way:
            transfer.result()
            on_done(path)


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
    """The path of a relative name in a folder. Raises ValueError for one that leads out of it."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or path == folder.resolve():
        raise ValueError(f"{relative!r} is not a name within {str(folder)!r}")
    return folder / relative
