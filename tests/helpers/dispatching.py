"""The function with stand-ins for S3 and SQS: jobs, invocations and the records that they get."""

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
    """An invocation whose time is up when SQS has been asked to take so many batches."""
    return lambda: 60 if len(sqs.batches) < batches else dispatch.RESERVED_SECONDS - 0.1


def progress(s3: FakeS3) -> int:
    return next((json.loads(s3.objects[key])["sent"] for key in s3.objects if key.endswith("progress.json")), 0)


class Times:
    """Says one after another of these numbers of seconds, and the last one for ever."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def __call__(self) -> float:
        return self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]


class Queue(FakeSqs):
    """Also the calls that the entry point makes on the message queue and its dead letter queue."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self.waits: list[int] = []

    @property
    def put_aside(self) -> list[dict[str, Any]]:
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
    """One invocation; returns the ids of the messages that are delivered again."""
    entry.s3, entry.sqs = s3, sqs
    answer = entry.handler({"Records": records}, context(remaining))
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def handed_on(sqs: Queue) -> list[dict[str, Any]]:
    """What was handed on, as the next invocation gets it: received for the first time."""
    found = []
    for number, each in enumerate(sqs.handed_on):
        continuations = int(each["MessageAttributes"]["continuations"]["StringValue"])
        found.append(record(each["MessageBody"], number, 1, continuations))
    return found
