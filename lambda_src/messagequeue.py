"""The message queue as the function uses it: hand a message on, have it delivered again, put it aside."""

import random
from dataclasses import dataclass
from typing import Any

from trainq import refusal
from trainq.messages import MessageError

# Lambda stops what looks like an endless loop, a message that leads to a message to the same function, after 16
# invocations, without a word to whoever waits for the job. We stop before, with the reason on the message. 13
# invocations of 300 s send several million tasks.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
MAX_CONTINUATIONS = 12
# SQS: the longest delay of a message.
MAX_DELAY_SECONDS = 900

Record = dict[str, Any]


@dataclass(frozen=True)
class MessageQueue:
    """`timeout` is the queue's visibility timeout, in seconds."""

    sqs: Any
    url: str
    dead_letter_url: str
    timeout: int

    def hand_on(self, record: Record, position: int, why: str) -> None:
        """Leave the message to another invocation, without using up one of its receives: SQS counts those of a message,
        so a copy is sent, and the caller has this one deleted. The crash points:

        - before the copy is sent: the message comes back, as after any crash.
        - after that, before the delete: two messages for one job. Each goes on from the job's progress.

        `position` is the message's place in its batch: what comes back one by one meets in no batch again. Raises
        MessageError if the message has been handed on too often.
        """
        continuations = int(record["messageAttributes"].get("continuations", {}).get("stringValue", "0"))
        if continuations >= MAX_CONTINUATIONS:
            raise MessageError(
                f"handed on {continuations} times, the last time since {why}: raise 'function_timeout', or "
                "'function_memory', which brings processor time; then move this message back with 'trainq dlq "
                "redrive', and the job goes on where it stopped"
            )
        self.sqs.send_message(
            QueueUrl=self.url,
            MessageBody=record["body"],
            DelaySeconds=min(position, MAX_DELAY_SECONDS),
            MessageAttributes={"continuations": {"DataType": "Number", "StringValue": str(continuations + 1)}},
        )

    def retry_soon(self, record: Record) -> None:
        """Have the message delivered again before its visibility timeout (30 min by default) is over.

        The first waits are short, for faults that pass in a moment; the later ones are long, so that five receives
        outlast an outage of an hour.
        """
        wait = {1: self.timeout // 30, 2: self.timeout // 6}.get(receives(record), self.timeout)
        # Jobs that failed together would otherwise come back together.
        wait = int(wait * random.uniform(0.75, 1))
        self.sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=wait
        )

    def put_aside(self, record: Record, reason: str) -> None:
        """Put a message that can never succeed on the dead letter queue, with the reason on it.

        If this fails, the message is delivered again and moves there after its receives, without a reason.
        """
        self.sqs.send_message(
            QueueUrl=self.dead_letter_url,
            MessageBody=record["body"],
            MessageAttributes=refusal.attributes(record["messageId"], record["body"], reason),
        )


def receives(record: Record) -> int:
    """How often SQS has delivered this message, from 1."""
    return int(record["attributes"]["ApproximateReceiveCount"])
