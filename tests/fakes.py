"""Stand-ins for S3 and SQS, for faults and for numbers that an emulator does not have."""

import io
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import IO, Any

from botocore.exceptions import ClientError

from trainq.stack import Stack


def error(status: int, code: str = "Fault") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Call")


class FakeS3:
    """Objects in a dictionary; `fault` is called with (operation, key) before each request and may raise."""

    def __init__(
        self, objects: dict[str, bytes], fault: Callable[[str, str], None] = lambda operation, key: None
    ) -> None:
        self.objects, self.fault = dict(objects), fault
        self.listings = 0

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        self.fault("get", Key)
        if Key not in self.objects:
            raise error(404, "NoSuchKey")
        return {"Body": io.BytesIO(self.objects[Key]), "ContentLength": len(self.objects[Key])}

    def put_object(self, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "", **other: Any) -> None:
        self.fault("put", Key)
        if IfNoneMatch == "*" and Key in self.objects:
            raise error(412, "PreconditionFailed")
        self.objects[Key] = Body

    def upload_fileobj(self, file: IO[bytes], bucket: str, key: str, **other: Any) -> None:
        self.put_object(bucket, key, file.read())
        # As boto3 does.
        file.close()

    def download_fileobj(self, bucket: str, key: str, file: IO[bytes], **other: Any) -> None:
        file.write(self.get_object(bucket, key)["Body"].read())

    def get_paginator(self, name: str) -> "FakeS3":
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        self.listings += 1
        found = [
            {"Key": key, "Size": len(body)} for key, body in sorted(self.objects.items()) if key.startswith(Prefix)
        ]
        for start in range(0, len(found), 1000):
            yield {"Contents": found[start : start + 1000]}


class FakeSqs:
    """Keeps what is sent; `answer` may turn a batch's entries into others that failed."""

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


def fake_stack(s3: Any, sqs: Any) -> Stack:
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
    """What Lambda gives an invocation; `remaining` tells its seconds."""
    return SimpleNamespace(
        function_name="f",
        memory_limit_in_mb=512,
        invoked_function_arn="arn",
        aws_request_id="1",
        get_remaining_time_in_millis=lambda: remaining() * 1000,
    )
