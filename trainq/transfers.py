"""Many files to and from the bucket at once: large ones in parts, several requests in flight, all or an error."""

import contextlib
import re
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from s3transfer.manager import TransferConfig, TransferFuture, TransferManager
from s3transfer.subscribers import BaseSubscriber
from s3transfer.utils import S3_RETRYABLE_DOWNLOAD_ERRORS

from trainq.protocol.limits import MAX_PAGE
from trainq.threads import leave_signals_to_the_main_thread

CONFIG = TransferConfig(max_request_concurrency=10, max_submission_concurrency=5)

# Names of files that are not complete; s3transfer adds eight digits to the names of large ones.
PIECE = re.compile(r"\.[0-9a-f]{32}(\.[0-9a-fA-F]{8})?")

# Called once for each file when it has arrived, in the order that they were named.
OnDone = Callable[[Path], None]


class Cancelled(Exception):
    """A transfer was cancelled by somebody else."""


class Cancel:
    """What ends transfers from another thread, for good: those under way, and those that would follow."""

    def __init__(self) -> None:
        self.called = False
        self._under_way: set[TransferFuture] = set()

    def __call__(self) -> None:
        self.called = True
        for each in list(self._under_way):
            each.cancel()

    def check(self) -> None:
        if self.called:
            raise Cancelled

    def wait(self, transfer: TransferFuture) -> None:
        self._under_way.add(transfer)
        try:
            if self.called:
                transfer.cancel()
            transfer.result()
        except CancelledError:
            raise Cancelled from None
        finally:
            self._under_way.discard(transfer)


class TransferPool:
    """A bucket to transfer with; a context manager that keeps its threads and connections. May be shared by threads.

    A small file is one request; a large one goes in ranged parts.
    """

    def __init__(self, s3: Any, bucket: str) -> None:
        self.s3, self.bucket = s3, bucket
        self._manager = TransferManager(s3, CONFIG)
        self._pool = ThreadPoolExecutor(CONFIG.max_request_concurrency, "transfer", leave_signals_to_the_main_thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._manager.shutdown(cancel=error is not None)

    def download(
        self,
        files: Iterable[tuple[str, Path]],
        on_done: OnDone = lambda path: None,
        cancel: Cancel | None = None,
    ) -> None:
        """Fetch (key, path) pairs; folders are made. A file appears under its name only when it is complete."""
        pairs = list(files)
        for folder in {path.parent for _, path in pairs}:
            folder.mkdir(parents=True, exist_ok=True)
        self._all(self._fetch, pairs, on_done, cancel or Cancel())

    def upload(
        self,
        files: Iterable[tuple[Path, str]],
        on_done: OnDone = lambda path: None,
        cancel: Cancel | None = None,
        describe: Callable[[Path], dict[str, str]] = lambda path: {},
    ) -> None:
        """Store (path, key) pairs; what `describe` says of a file becomes its object's metadata."""

        def store(key: str, path: Path, cancel: Cancel) -> None:
            self._store(key, path, cancel, describe(path))

        self._all(store, [(key, path) for path, key in files], on_done, cancel or Cancel())

    def _all(
        self, one: Callable[[str, Path, Cancel], None], pairs: list[tuple[str, Path]], on_done: OnDone, cancel: Cancel
    ) -> None:
        if len(pairs) == 1:
            one(*pairs[0], cancel)
            on_done(pairs[0][1])
            return
        under_way: list[Future[None]] = []
        try:
            under_way += [self._pool.submit(one, key, path, cancel) for key, path in pairs]
            for each, (_, path) in zip(under_way, pairs, strict=True):
                each.result()
                on_done(path)
        except BaseException:
            cancel()
            for each in under_way:
                each.cancel()
            wait(under_way)
            raise

    def _fetch(self, key: str, path: Path, cancel: Cancel) -> None:
        cancel.check()
        known: list[BaseSubscriber] = []
        # What breaks off is left to the manager, which tries it again.
        with contextlib.suppress(*S3_RETRYABLE_DOWNLOAD_ERRORS):
            answer = self.s3.get_object(Bucket=self.bucket, Key=key)
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] < CONFIG.multipart_threshold:
                    with written_aside(path) as partial:
                        partial.write_bytes(body.read())
                    return
            known = [_Known(answer["ContentLength"], answer["ETag"])]
        with written_aside(path) as partial:
            cancel.wait(self._manager.download(self.bucket, key, str(partial), subscribers=known))

    def _store(self, key: str, path: Path, cancel: Cancel, metadata: dict[str, str]) -> None:
        cancel.check()
        about = {"Metadata": metadata} if metadata else {}
        if path.stat().st_size < CONFIG.multipart_threshold:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes(), **about)
        else:
            cancel.wait(self._manager.upload(str(path), self.bucket, key, extra_args=about))


class _Known(BaseSubscriber):
    """Saves the manager a request for what is known of an object."""

    def __init__(self, size: int, etag: str) -> None:
        self.size, self.etag = size, etag

    def on_queued(self, future: TransferFuture, **other: Any) -> None:
        future.meta.provide_transfer_size(self.size)
        future.meta.provide_object_etag(self.etag)


@contextlib.contextmanager
def written_aside(path: Path) -> Generator[Path]:
    """Yield a path beside `path` to write to. After the block the file is renamed; if the block raises, it is removed.

    Only a process that is killed leaves it: `PIECE` is the form of its name.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
