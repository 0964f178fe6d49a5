"""S3 and SQS without a network: a dataset of any size in S3's pages, and a queue that counts. Requests are counted."""

import io
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from botocore.exceptions import ClientError

PAGE = 1_000


class S3:
    """A dataset of `shards` objects that are listed as S3 does; what is stored is kept on disk, as S3's memory is not
    the function's."""

    def __init__(self, prefix: str, shards: int) -> None:
        self.prefix, self.shards = prefix, shards
        self.requests: Counter[str] = Counter()
        self._folder = tempfile.TemporaryDirectory()
        self._stored: dict[str, Path] = {}

    def get_paginator(self, name: str) -> "S3":
        return self

    def paginate(self, Bucket: str, Prefix: str, **other: Any) -> Iterator[dict[str, Any]]:
        for start in range(0, self.shards, PAGE):
            self.requests["LIST"] += 1
            numbers = range(start, min(start + PAGE, self.shards))
            yield {"Contents": [self._listed(number) for number in numbers], "KeyCount": len(numbers)}

    def _listed(self, number: int) -> dict[str, Any]:
        return {
            "Key": f"{self.prefix}part-{number:07}.tar",
            "Size": 1_000_000 + number % 1_000,
            "ETag": f'"{number:032x}"',
            "StorageClass": "STANDARD",
        }

    def get_object(self, Bucket: str, Key: str, **other: Any) -> dict[str, Any]:
        self.requests["GET"] += 1
        if Key not in self._stored:
            answer: Any = {"Error": {"Code": "NoSuchKey", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 404}}
            raise ClientError(answer, "GetObject")
        return {"Body": self._stored[Key].open("rb"), "ContentLength": self._stored[Key].stat().st_size}

    def put_object(self, Bucket: str, Key: str, Body: bytes | IO[bytes], **other: Any) -> dict[str, Any]:
        self.upload_fileobj(io.BytesIO(Body) if isinstance(Body, bytes) else Body, Bucket, Key)
        return {}

    def upload_fileobj(self, file: IO[bytes], bucket: str, key: str, **other: Any) -> None:
        self.requests["PUT"] += 1
        path = Path(self._folder.name) / str(len(self._stored))
        with path.open("wb") as stored:
            while some := file.read(1 << 16):
                stored.write(some)
        # As boto3 does.
        file.close()
        self._stored[key] = path

    def download_fileobj(self, bucket: str, key: str, file: IO[bytes], **other: Any) -> None:
        self.requests["GET"] += 1
        with self._stored[key].open("rb") as stored:
            while some := stored.read(1 << 16):
                file.write(some)


class Sqs:
    """A queue that takes everything."""

    def __init__(self) -> None:
        # Counters that threads may share: `next` of a count is one step.
        self._sends, self._tasks = itertools.count(), itertools.count()

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        next(self._sends)
        for _ in Entries:
            next(self._tasks)
        return {"Successful": [{"Id": each["Id"]} for each in Entries]}

    def counted(self) -> tuple[int, int]:
        """How many requests, and how many tasks; to be asked once."""
        return next(self._sends), next(self._tasks)
