"""Stand-ins for S3 and SQS, for faults and numbers that an emulator does not have. Tests and benchmarks share them."""

import io
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from botocore.exceptions import ClientError

from trainq.stack import Stack

# The largest page of a listing in S3.
PAGE = 1_000


def error(status: int, code: str = "Fault") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Call")


class FakeS3:
    """Stands in for S3: keeps objects in a dictionary, lists them in pages, counts requests. `fault`: called with
    (operation, key) before each request for an object; may raise."""

    def __init__(
        self, objects: dict[str, bytes], fault: Callable[[str, str], None] = lambda operation, key: None
    ) -> None:
        self.objects, self.fault = dict(objects), fault
        self.requests: Counter[str] = Counter()

    @property
    def listings(self) -> int:
        """Return the number of pages that were requested."""
        return self.requests["LIST"]

    def get_object(self, Bucket: str, Key: str, **other: Any) -> dict[str, Any]:
        self.fault("get", Key)
        self.requests["GET"] += 1
        if Key not in self.objects:
            raise error(404, "NoSuchKey")
        return {"Body": io.BytesIO(self.objects[Key]), "ContentLength": len(self.objects[Key])}

    def put_object(
        self, Bucket: str, Key: str, Body: bytes | IO[bytes], IfNoneMatch: str = "", **other: Any
    ) -> dict[str, Any]:
        self.fault("put", Key)
        self.requests["PUT"] += 1
        if IfNoneMatch == "*" and Key in self.objects:
            raise error(412, "PreconditionFailed")
        self.objects[Key] = Body if isinstance(Body, bytes) else Body.read()
        return {}

    def upload_fileobj(self, file: IO[bytes], bucket: str, key: str, **other: Any) -> None:
        self.put_object(bucket, key, file)
        # boto3 closes the file, too.
        file.close()

    def download_fileobj(self, bucket: str, key: str, file: IO[bytes], **other: Any) -> None:
        body = self.get_object(bucket, key)["Body"]
        while some := body.read(1 << 16):
            file.write(some)

    def get_paginator(self, name: str) -> "FakeS3":
        return self

    def paginate(self, Bucket: str, Prefix: str, **other: Any) -> Iterator[dict[str, Any]]:
        keys = [key for key in sorted(self.objects) if key.startswith(Prefix)]
        # S3 answers a page also for a prefix without objects.
        for start in range(0, len(keys) or 1, PAGE):
            self.requests["LIST"] += 1
            found = [{"Key": key, "Size": len(self.objects[key])} for key in keys[start : start + PAGE]]
            yield {"Contents": found, "KeyCount": len(found)} if found else {"KeyCount": 0}


class LargeS3(FakeS3):
    """Stands in for S3 with a dataset of `shards` objects, which exist only in listings. Stored objects are kept on
    disk, so that the process's memory is the function's alone."""

    def __init__(self, prefix: str, shards: int) -> None:
        super().__init__({})
        self.prefix, self.shards = prefix, shards
        self._folder = tempfile.TemporaryDirectory()
        self._stored: dict[str, Path] = {}

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
            raise error(404, "NoSuchKey")
        return {"Body": self._stored[Key].open("rb"), "ContentLength": self._stored[Key].stat().st_size}

    def put_object(
        self, Bucket: str, Key: str, Body: bytes | IO[bytes], IfNoneMatch: str = "", **other: Any
    ) -> dict[str, Any]:
        self.requests["PUT"] += 1
        file = io.BytesIO(Body) if isinstance(Body, bytes) else Body
        path = Path(self._folder.name) / str(len(self._stored))
        with path.open("wb") as stored:
            while some := file.read(1 << 16):
                stored.write(some)
        self._stored[Key] = path
        return {}


class FakeSqs:
    """Stands in for SQS: keeps sent messages. `answer`: returns the `Failed` entries of the answer to a batch."""

    def __init__(self, answer: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda entries: []) -> None:
        self.answer = answer
        self.bodies: list[str] = []
        self.batches: list[list[dict[str, Any]]] = []

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.batches.append(Entries)
        failed = self.answer(Entries)
        ids = {each["Id"] for each in failed}
        self.bodies += [entry["MessageBody"] for entry in Entries if entry["Id"] not in ids]
        return {"Failed": failed}


class CountingSqs:
    """Stands in for SQS: counts sent messages and keeps none, so that the process's memory is the sender's alone."""

    def __init__(self) -> None:
        # Threads may share these counters: `next` of a count is atomic.
        self._sends, self._tasks = itertools.count(), itertools.count()

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        next(self._sends)
        for _ in Entries:
            next(self._tasks)
        return {"Successful": [{"Id": each["Id"]} for each in Entries]}

    def counted(self) -> tuple[int, int]:
        """Return the numbers of requests and of tasks. Call this once: it counts on."""
        return next(self._sends), next(self._tasks)


def fake_stack(s3: Any, sqs: Any) -> Stack:
    """Return a stack whose clients are these stand-ins."""
    clients = {"s3": s3, "sqs": sqs}
    return Stack(
        bucket_name="b",
        message_queue_url="m",
        model_training_queue_url="q",
        message_dead_letter_queue_url="mdlq",
        dead_letter_queue_url="dlq",
        region="us-east-1",
        new_client=lambda service, *_: clients[service],
    )


def context(remaining: Callable[[], float] = lambda: 60) -> Any:
    """Return the context of an invocation, as Lambda passes it. `remaining`: returns its seconds left."""
    return SimpleNamespace(
        function_name="f",
        memory_limit_in_mb=512,
        invoked_function_arn="arn",
        aws_request_id="1",
        get_remaining_time_in_millis=lambda: remaining() * 1000,
    )
