"""Uploads a folder as a dataset: each file becomes a shard."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainq.protocol.layout import DATASETS
from trainq.protocol.limits import MAX_KEY_BYTES
from trainq.protocol.messages import DATASET
from trainq.protocol.names import files_below
from trainq.stack import Stack
from trainq.transfers import OnDone, TransferPool, listed

# Name of the object's metadata that holds the MD5 of the uploaded file.
CONTENT = "content-md5"
COMPARED_AT_ONCE = 16


class DatasetError(ValueError):
    """Raised if a folder or a name cannot become a dataset. The text says why."""


@dataclass(frozen=True)
class Upload:
    """The plan of an upload. `to_send`: paths and keys of new or changed files. `unchanged`: number of files that are
    in the bucket already. `others`: keys below the prefix that no file of the folder has."""

    prefix: str
    to_send: list[tuple[Path, str]]
    unchanged: int
    others: list[str]

    @property
    def bytes(self) -> int:
        """Return the size of all files to send."""
        return sum(path.stat().st_size for path, _ in self.to_send)


def prefix_of(name: str) -> str:
    """Return the prefix of the dataset with this name. Raises DatasetError if the name is invalid."""
    prefix = f"{DATASETS}{name.removeprefix(DATASETS).strip('/')}/"
    if not DATASET.fullmatch(prefix):
        raise DatasetError(
            f"the dataset's name is {name!r}: allowed are segments of A-Z a-z 0-9 . _ -, each beginning with a letter "
            "or a digit, with '/' between them"
        )
    return prefix


def plan_upload(stack: Stack, folder: Path, name: str, on_compared: OnDone = lambda path: None) -> Upload:
    """Compare the folder with the bucket and return what to upload: an interrupted upload continues where it stopped.

    `on_compared`: called with the path of each file, from several threads. Raises DatasetError if the folder cannot
    become a dataset, OSError, ClientError from S3.
    """
    prefix = prefix_of(name)
    if not folder.is_dir():
        raise DatasetError(f"{str(folder)!r} is not a folder: name one whose files are the shards")
    try:
        files = {prefix + name: path for name, path in files_below(folder).items()}
    except ValueError as error:
        raise DatasetError(f"{str(folder)!r} cannot become a dataset: {error}") from None
    if not files:
        raise DatasetError(f"{str(folder)!r} has no files in it: a dataset needs at least one shard")
    for key in files:
        if len(key.encode()) > MAX_KEY_BYTES:
            raise DatasetError(f"the key {key!r} is too long: allowed are {MAX_KEY_BYTES} bytes (S3)")
    there = {each["Key"]: each for each in listed(stack.s3, stack.bucket_name, prefix)}

    def is_there(key: str) -> bool:
        found = key in there and _is_same(stack, there[key], files[key])
        on_compared(files[key])
        return found

    with ThreadPoolExecutor(COMPARED_AT_ONCE) as pool:
        same = list(pool.map(is_there, files))
    to_send = [(path, key) for (key, path), kept in zip(files.items(), same, strict=True) if not kept]
    others = sorted(key for key in there.keys() - files.keys() if not key.endswith("/"))
    return Upload(prefix, to_send, len(files) - len(to_send), others)


def send(stack: Stack, upload: Upload, on_done: OnDone) -> None:
    """Upload the files of the plan. `on_done`: called with the path of each file."""
    with TransferPool(stack.s3, stack.bucket_name) as pool:
        pool.upload(upload.to_send, on_done, describe=lambda path: {CONTENT: _md5(path)})


def _is_same(stack: Stack, there: dict[str, Any], path: Path) -> bool:
    """Return whether a listed object has the file's content.

    The ETag equals the MD5 only if S3 encrypts with its own keys and the object was sent in one part: that saves a
    request. Otherwise the object's metadata have the MD5.
    """
    if there["Size"] != path.stat().st_size:
        return False
    content = _md5(path)
    if there["ETag"].strip('"') == content:
        return True
    head = stack.s3.head_object(Bucket=stack.bucket_name, Key=there["Key"])
    return head["Metadata"].get(CONTENT) == content


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
