"""Runs the function with stand-ins for S3 and SQS: jobs, invocations and their records."""

import json
import time
from collections.abc import Callable
from typing import Any

from lambda_src import dispatch
from lambda_src.dispatch import Dispatcher
from local.standins import FakeS3, FakeSqs, context
from trainq.protocol.messages import Job

JOB = Job(job_id="j", dataset="datasets/d/")
SHARDS = {f"datasets/d/{number:05}": b"x" for number in range(35)}
MANY = {f"datasets/d/{number:05}": b"x" for number in range(1000)}


def dispatcher(
    s3: Any, sqs: Any, remaining: Callable[[], float] = lambda: 60, *, max_tasks: int = 1_000_000
) -> Dispatcher:
    return Dispatcher(s3=s3, sqs=sqs, bucket="b", queue_url="q", max_tasks=max_tasks, remaining=remaining)


def tasks_in(sqs: FakeSqs) -> list[int]:
    return sorted(json.loads(body)["task"] for body in sqs.bodies)


def stopping_after(sqs: FakeSqs, batches: int) -> Callable[[], float]:
    """Return the remaining seconds of an invocation whose time is up after so many batches."""
    return lambda: 60 if len(sqs.batches) < batches else dispatch.RESERVED_SECONDS - 0.1


def progress(s3: FakeS3) -> int:
    return next((json.loads(s3.objects[key])["sent"] for key in s3.objects if key.endswith("progress.json")), 0)


class Times:
    """Returns the given seconds one after the other, and the last one from then on."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def __call__(self) -> float:
        return self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]


class Queue(FakeSqs):
    """Stands in for SQS, also for the calls of the entry point to the message queue and its dead letter queue."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self.waits: list[int] = []

    @property
    def dead_lettered(self) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["QueueUrl"] == "dlq"]

    @property
    def handed_on(self) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["QueueUrl"] == "m"]

    def send_message(self, **message: Any) -> None:
        self.messages.append(message)

    def change_message_visibility(self, VisibilityTimeout: int, **message: Any) -> None:
        self.waits.append(VisibilityTimeout)


CONTEXT = context()


def record(body: str, number: int = 0, receives: int = 1, continuations: int = 0) -> dict[str, Any]:
    return {
        "messageId": f"m{number}",
        "receiptHandle": f"r{number}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "ApproximateFirstReceiveTimestamp": str(int(time.time() * 1000)),
        },
        "messageAttributes": {"continuations": {"stringValue": str(continuations), "dataType": "Number"}}
        if continuations
        else {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:m",
        "awsRegion": "us-east-1",
    }


def run(entry: Any, s3: FakeS3, sqs: Queue, records: list[dict[str, Any]], remaining: Callable[[], float]) -> list[str]:
    """Run one invocation. Return the ids of the messages that are redelivered."""
    entry.s3, entry.sqs = s3, sqs
    answer = entry.handler({"Records": records}, context(remaining))
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def handed_on(sqs: Queue) -> list[dict[str, Any]]:
    """Return the records of continued messages for the next invocation: received for the first time."""
    found = []
    for number, each in enumerate(sqs.handed_on):
        continuations = int(each["MessageAttributes"]["continuations"]["StringValue"])
        found.append(record(each["MessageBody"], number, 1, continuations))
    return found
