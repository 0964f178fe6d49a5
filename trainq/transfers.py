"""Transfers many files to and from the bucket at once, several requests in flight. A failure cancels the rest."""

import contextlib
import re
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
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

# Called once for each transferred file, in the order in which the caller has listed them.
OnDone = Callable[[Path], None]


class Cancelled(Exception):
    """Raised by a transfer whose `Cancel` was called."""


class Cancel:
    """A cancellation token: calling it cancels running and later transfers. May be called from any thread."""

    def __init__(self) -> None:
        self.called = False
        self._under_way: set[TransferFuture] = set()

    def __call__(self) -> None:
        self.called = True
        for each in list(self._under_way):
            each.cancel()

    def check(self) -> None:
        """Raise Cancelled if the token was called."""
        if self.called:
            raise Cancelled

    def wait(self, transfer: TransferFuture) -> None:
        """Wait for the end of the transfer. Raises Cancelled if the token is called meanwhile."""
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
    """Transfers files to and from one bucket. Threads may share it. A context manager: leaving it ends its threads.

    Files below 8 MiB take one request, larger ones are transferred in parts.
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
        """Download (key, path) pairs and create the folders. A file appears at its path only when it is complete.

        `on_done`: called with each path, in order. `cancel`: raises Cancelled here once another thread has called it.
        """
        pairs = list(files)
        for folder in {path.parent for _, path in pairs}:
            folder.mkdir(parents=True, exist_ok=True)
        self._run_all(self._fetch, pairs, on_done, cancel or Cancel())

    def upload(
        self,
        files: Iterable[tuple[Path, str]],
        on_done: OnDone = lambda path: None,
        cancel: Cancel | None = None,
        describe: Callable[[Path], dict[str, str]] = lambda path: {},
    ) -> None:
        """Upload (path, key) pairs. `describe`: returns the metadata of a file's object. The rest as in `download`."""

        def store(key: str, path: Path, cancel: Cancel) -> None:
            self._store(key, path, cancel, describe(path))

        self._run_all(store, [(key, path) for path, key in files], on_done, cancel or Cancel())

    def _run_all(
        self, one: Callable[[str, Path, Cancel], None], pairs: list[tuple[str, Path]], on_done: OnDone, cancel: Cancel
    ) -> None:
        """Call `one` for each pair in the pool. On the first error, cancel the rest, wait for its end, and raise it."""
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
        subscribers: list[BaseSubscriber] = []
        # If the connection breaks, the manager below downloads the file, with retries.
        with contextlib.suppress(*S3_RETRYABLE_DOWNLOAD_ERRORS):
            answer = self.s3.get_object(Bucket=self.bucket, Key=key)
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] < CONFIG.multipart_threshold:
                    with written_aside(path) as partial:
                        partial.write_bytes(body.read())
                    return
            subscribers = [_SizeAndETag(answer["ContentLength"], answer["ETag"])]
        with written_aside(path) as partial:
            cancel.wait(self._manager.download(self.bucket, key, str(partial), subscribers=subscribers))

    def _store(self, key: str, path: Path, cancel: Cancel, metadata: dict[str, str]) -> None:
        cancel.check()
        about = {"Metadata": metadata} if metadata else {}
        if path.stat().st_size < CONFIG.multipart_threshold:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes(), **about)
        else:
            cancel.wait(self._manager.upload(str(path), self.bucket, key, extra_args=about))


class _SizeAndETag(BaseSubscriber):
    """Tells the manager the size and ETag of an object, which saves it a HeadObject request."""

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
    """Download (key, path) pairs with a pool of its own, as `TransferPool.download`."""
    with TransferPool(s3, bucket) as pool:
        pool.download(files, on_done)


def listed(
    s3: Any, bucket: str, prefix: str, *, delimiter: str = "", page_size: int = MAX_PAGE
) -> Iterator[dict[str, Any]]:
    """Yield every object under the prefix (Key, Size, ETag, ...) in order of keys, page by page.

    `Age` is added: the seconds since it was stored, by S3's clock alone. Those of workers and readers may be wrong.
    `delimiter`: leave out objects whose keys have it after the prefix. `page_size`: objects a request, at most 1,000;
    fewer for a caller that stops at the first few. A page may have fewer, even none, and still not be the last.
    """
    about = {"Delimiter": delimiter} if delimiter else {}
    paging = {"PageSize": page_size}
    for page in s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, PaginationConfig=paging, **about
    ):
        answered = _date(page)
        for each in page.get("Contents", ()):
            stored = each.get("LastModified", answered)
            yield each | {"Age": max(0.0, (answered - stored).total_seconds())}


def _date(answer: dict[str, Any]) -> datetime:
    """Return the time at which S3 has answered; this machine's time if a proxy has removed it."""
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)
