"""Files to and from the bucket, and how their names become keys and paths."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainq.transfer_pool import OnDone, TransferPool

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (max-keys)
MAX_PAGE = 1_000


def download(s3: Any, bucket: str, files: Iterable[tuple[str, Path]], on_done: OnDone = lambda path: None) -> None:
    """As `TransferPool.download`, once."""
    with TransferPool(s3, bucket) as pool:
        pool.download(files, on_done)


def listed(
    s3: Any, bucket: str, prefix: str, *, delimiter: str = "", page_size: int = MAX_PAGE
) -> Iterator[dict[str, Any]]:
    """Yield every object under the prefix (Key, Size, ETag, ...) in order of keys, over as many pages as it takes.

    `delimiter`: leave out the objects that have it after the prefix. `page_size`: objects a request, at most 1,000; a
    caller that stops at the first few needs no more. A page may have fewer, even none, and still not be the last.
    """
    about = {"Delimiter": delimiter} if delimiter else {}
    paging = {"PageSize": page_size}
    for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, PaginationConfig=paging, **about
    ):
        yield from page.get("Contents", ())


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
