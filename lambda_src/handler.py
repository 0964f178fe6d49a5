"""The function's entry point: a batch of SQS records in, the ids of those to deliver again out."""

import datetime
import os
import random
from functools import partial

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from lambda_src.dispatch import IN_FLIGHT, RESERVED_SECONDS, Dispatcher, OutOfTime
from trainq.messages import MAX_MESSAGE_BYTES, Job, MessageError

CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},
    max_pool_connections=2 * IN_FLIGHT,
    connect_timeout=5,
    read_timeout=20,
)
MAX_REASON_CHARACTERS = 2_000

logger = Logger()
metrics = Metrics()
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
s3 = boto3.client("s3", config=CONFIG)
sqs = boto3.client("sqs", config=CONFIG)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict, context: LambdaContext) -> PartialItemFailureResponse:
    dispatcher = Dispatcher(
        s3=s3,
        sqs=sqs,
        bucket=os.environ["BUCKET_NAME"],
        queue_url=os.environ["MODEL_TRAINING_QUEUE_URL"],
        remaining=lambda: context.get_remaining_time_in_millis() / 1000,
    )
    return process_partial_response(event, partial(process, dispatcher), processor, context)


def process(dispatcher: Dispatcher, record: SQSRecord) -> None:
    """One training message. An exception means: deliver it again."""
    try:
        if dispatcher.remaining() < RESERVED_SECONDS:
            raise OutOfTime("no time was left in this invocation")
        job = Job.from_json(record.body)
        sent = dispatcher.dispatch(job)
    except MessageError as error:
        put_aside(record, str(error))
    except Exception:
        logger.exception("the training message is left for redelivery", message_id=record.message_id)
        metrics.add_metric("JobsToRetry", MetricUnit.Count, 1)
        retry_soon(record)
        raise
    else:
        logger.info("job dispatched", job_id=job.job_id, tasks_sent=sent)
        metrics.add_metric("JobsDispatched", MetricUnit.Count, 1)
        metrics.add_metric("TasksSent", MetricUnit.Count, sent)


def put_aside(record: SQSRecord, reason: str) -> None:
    """Put a message that can never succeed on the dead letter queue, with the reason on it.

    If this fails, the message is delivered again and moves there after its receives, without a reason.
    """
    logger.warning("training message refused", message_id=record.message_id, reason=reason)
    metrics.add_metric("JobsRefused", MetricUnit.Count, 1)
    attributes = {
        "reason": reason[:MAX_REASON_CHARACTERS],
        "message_id": record.message_id,
        "refused_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    # Attributes count toward the size of a message: names, types and values.
    room = MAX_MESSAGE_BYTES - sum(len(f"{name}String{value}".encode()) for name, value in attributes.items())
    if len(record.body.encode()) > room:
        raise MessageError(f"no room is left in the message for the reason why it is refused: {reason}")
    sqs.send_message(
        QueueUrl=os.environ["MESSAGE_DEAD_LETTER_QUEUE_URL"],
        MessageBody=record.body,
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )


def retry_soon(record: SQSRecord) -> None:
    """Have the message delivered again before its visibility timeout (30 min by default) is over.

    The first waits are short, for faults that pass in a moment; the later ones are long, so that five receives
    outlast an outage of an hour.
    """
    timeout = int(os.environ["MESSAGE_QUEUE_VISIBILITY_TIMEOUT"])
    receives = int(record.attributes.approximate_receive_count or 1)
    wait = {1: timeout // 30, 2: timeout // 6}.get(receives, timeout)
    # Jobs that ran out of time together would otherwise come back together.
    wait = int(wait * random.uniform(0.75, 1))
    try:
        sqs.change_message_visibility(
            QueueUrl=os.environ["MESSAGE_QUEUE_URL"], ReceiptHandle=record.receipt_handle, VisibilityTimeout=wait
        )
    except Exception:
        logger.exception("the message comes back after its visibility timeout", message_id=record.message_id)
