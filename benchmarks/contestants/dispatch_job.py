"""Dispatches one job, from its message to its tasks on the work queue: by the function's handler or a competitor.

Prints its peak memory and how many requests it had in flight at most.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from benchmarks.contestants import SETTINGS
from benchmarks.memory import peak_mb

for name in ("MODEL_TRAINING_QUEUE_URL", "MESSAGE_QUEUE_URL", "MESSAGE_DEAD_LETTER_QUEUE_URL"):
    os.environ[name] = SETTINGS["queue_url"]
os.environ |= {
    "BUCKET_NAME": SETTINGS["bucket"],
    "MESSAGE_QUEUE_VISIBILITY_TIMEOUT": "1800",
    "MAX_TASKS": "1000000",
    "POWERTOOLS_SERVICE_NAME": "bench",
    "POWERTOOLS_METRICS_NAMESPACE": "Bench",
}

from lambda_src import handler  # noqa: E402
from trainq.protocol.messages import Job, Task  # noqa: E402

JOB = Job(job_id=SETTINGS["job_id"], dataset=SETTINGS["dataset"])
QUEUE = SETTINGS["queue_url"]


def by_handler() -> None:
    record = {
        "messageId": "m",
        "receiptHandle": "r",
        "body": JOB.to_json(),
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:m",
        "awsRegion": "us-east-1",
    }
    context = SimpleNamespace(
        function_name="bench",
        memory_limit_in_mb=512,
        invoked_function_arn="arn",
        aws_request_id="1",
        get_remaining_time_in_millis=lambda: 300_000,
    )
    answer = handler.handler({"Records": [record]}, context)
    if answer != {"batchItemFailures": []}:
        raise RuntimeError(f"the handler answered {answer}")


def by_flood() -> None:
    """Send full batches that were made before, with as many in flight as the function has: the ceiling."""
    bodies = [_body(f"{SETTINGS['dataset']}{number:06}", number) for number in range(SETTINGS["tasks"])]
    batches = [bodies[start : start + 10] for start in range(0, len(bodies), 10)]

    def send(batch: list[str]) -> None:
        entries: Any = [
            {"Id": str(number), "MessageBody": body, "MessageGroupId": JOB.job_id} for number, body in enumerate(batch)
        ]
        handler.sqs.send_message_batch(QueueUrl=QUEUE, Entries=entries)

    with ThreadPoolExecutor(handler.IN_FLIGHT) as pool:
        list(pool.map(send, batches))


def by_single_sends() -> None:
    """List the dataset and send each task at once, as a simple handler does."""
    number = 0
    pages = handler.s3.get_paginator("list_objects_v2").paginate(Bucket=SETTINGS["bucket"], Prefix=JOB.dataset)
    for page in pages:
        for each in page["Contents"]:
            handler.sqs.send_message(QueueUrl=QUEUE, MessageBody=_body(each["Key"], number))
            number += 1


def _body(key: str, number: int) -> str:
    return Task(job_id=JOB.job_id, task=number, tasks=SETTINGS["tasks"], shards=[key], parameters={}).to_json()


if __name__ == "__main__":
    {"handler": by_handler, "flood": by_flood, "single sends": by_single_sends}[SETTINGS["how"]]()
    print(json.dumps({"peak_mb": peak_mb(), "in_flight": handler.IN_FLIGHT}))
