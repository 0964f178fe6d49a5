"""The function's entry point: takes a batch of SQS records and returns the ids of those that SQS is to redeliver."""

import os
import re
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from botocore.config import Config

from lambda_src.dispatch import Dispatcher, OutOfTime
from lambda_src.isolation import isolate
from lambda_src.message_queue import MessageQueue, Record, receives
from lambda_src.sender import IN_FLIGHT
from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.protocol.messages import Job, MessageError

CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},
    max_pool_connections=2 * IN_FLIGHT,
    connect_timeout=5,
    read_timeout=20,
)
# Refuse a job after 4 invocations without progress, of which each had nothing else to do or was cut off. One below the
# lowest receive limit (5), so that the function dead-letters the message with a reason before SQS does without one.
MAX_RECEIVES_WITHOUT_PROGRESS = 4
# With less time left, no message is touched: if an invocation is cut off, its whole batch is redelivered.
ANSWER_SECONDS = 0.4

logger = Logger()
metrics = Metrics()
s3 = boto3.client("s3", config=CONFIG)
sqs = boto3.client("sqs", config=CONFIG)

# Planning needs only the keys and sizes of a listing. To parse a million shards, botocore takes some 90 s of processor
# time, this pattern some 10 s; a function with 512 MB has less than a third of a processor.
OBJECT = re.compile(
    rb"<Contents><Key>([^<&]*)</Key>(?:<(?!Size>)\w+>[^<]*</\w+>)*<Size>(\d+)</Size>(?:<\w+>[^<]*</\w+>)*</Contents>"
)


def parse_listing(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Parse the objects of a listing and remove them from the body that botocore parses.

    Does nothing if the pattern does not match every object.
    """
    found: list[dict[str, Any]] = []

    def take(each: re.Match[bytes]) -> bytes:
        found.append({"Key": each[1].decode(), "Size": int(each[2])})
        return b""

    rest = OBJECT.sub(take, response_dict["body"])
    if found and b"<Contents>" not in rest:
        response_dict["body"] = rest
        customized_response_dict["Contents"] = found


s3.meta.events.register_first("before-parse.s3.ListObjectsV2", parse_listing)


# log_event=False holds even if POWERTOOLS_LOGGER_LOG_EVENT is set: an event has up to 6 MB of messages.
@logger.inject_lambda_context(log_event=False)
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of training messages. Lambda deletes those that are not among the failures of the answer."""
    dispatcher = Dispatcher(
        s3=s3,
        sqs=sqs,
        bucket=os.environ["BUCKET_NAME"],
        queue_url=os.environ["MODEL_TRAINING_QUEUE_URL"],
        max_tasks=int(os.environ["MAX_TASKS"]),
        remaining=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    queue = MessageQueue(
        sqs=sqs,
        url=os.environ["MESSAGE_QUEUE_URL"],
        dead_letter_url=os.environ["MESSAGE_DEAD_LETTER_QUEUE_URL"],
        timeout=int(os.environ["MESSAGE_QUEUE_VISIBILITY_TIMEOUT"]),
    )
    records, failed = isolate(queue, event["Records"], dispatcher.remaining)
    for record in failed:
        retry(dispatcher, queue, record)
    failed += [record for position, record in enumerate(records) if not handled(dispatcher, queue, record, position)]
    return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in failed]}


def handled(dispatcher: Dispatcher, queue: MessageQueue, record: Record, position: int) -> bool:
    """Handle one training message. Return False if SQS is to redeliver it."""
    if dispatcher.remaining() < ANSWER_SECONDS:
        retry(dispatcher, queue, record)
        return False
    try:
        try:
            process(dispatcher, queue, record, position)
        except MessageError as error:
            tell(logger, events.JOB_REFUSED, message_id=record["messageId"], reason=str(error))
            queue.dead_letter(record, str(error))
            metrics.add_metric("JobsRefused", MetricUnit.Count, 1)
        return True
    except Exception:
        tell(logger, events.JOB_RETRIED, traceback=True, message_id=record["messageId"])
    retry(dispatcher, queue, record)
    return False


def retry(dispatcher: Dispatcher, queue: MessageQueue, record: Record) -> None:
    """Set the time to the message's redelivery, if there is time for it. The caller reports the message as failed."""
    metrics.add_metric("JobsToRetry", MetricUnit.Count, 1)
    try:
        if dispatcher.remaining() >= ANSWER_SECONDS:
            queue.retry_soon(record)
    except Exception:
        tell(logger, events.JOB_LEFT, traceback=True, message_id=record["messageId"])


def process(dispatcher: Dispatcher, queue: MessageQueue, record: Record, position: int) -> None:
    """Dispatch the job. If the time does not suffice, leave the rest to a later invocation."""
    began = time.monotonic()
    if queue.unanswered(record) == receives(record) - 1 >= MAX_RECEIVES_WITHOUT_PROGRESS:
        raise MessageError(
            f"received {receives(record)} times, and no invocation that took it came to an end: out of memory, out of "
            "time, or throttled before it began; raise 'function_memory' or 'function_timeout', or split the dataset, "
            "then move this message back with 'trainq dlq redrive'"
        )
    job = Job.from_json(record["body"])
    try:
        sent = dispatcher.dispatch(job)
        metrics.add_metric("JobsDispatched", MetricUnit.Count, 1)
        tell(logger, events.JOB_DISPATCHED, job=job.job_id, tasks=sent)
    except OutOfTime as end:
        sent = end.sent
        if position == 0 and not end.progress:
            # The job had this invocation to itself and made no progress: continuing it might never end.
            if receives(record) < MAX_RECEIVES_WITHOUT_PROGRESS:
                raise
            raise MessageError(f"{end}: raise 'function_timeout' or 'function_memory', or split the dataset") from None
        queue.continue_later(record, position, str(end))
        metrics.add_metric("JobsContinued", MetricUnit.Count, 1)
        tell(logger, events.JOB_CONTINUED, job=job.job_id, tasks=sent, reason=str(end))
    metrics.add_metric("TasksSent", MetricUnit.Count, sent)
    metrics.add_metric("DispatchSeconds", MetricUnit.Seconds, time.monotonic() - began)
