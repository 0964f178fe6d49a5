"""The model training queue as workers use it: receive, finish, retry later, hand over, put aside.

A task has a number of attempts that may fail (the queue's maxReceiveCount). SQS counts receives, and would count an
interrupted attempt too. So whoever is interrupted hands the task over: it sends a copy of the message, which carries
what has been counted so far, and then deletes the one it has. The crash points:

- before the copy is sent: the message comes back after its visibility timeout, as after any crash.
- after that, before the delete: the task is on the queue twice. Both copies are worked on, at worst at the same time;
  the first to commit its result wins, and the other is deleted without effect. Nothing is lost, nothing counts twice.
- a lost answer to the send, and a retry: the same.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainq import refusal
from trainq.lease import now
from trainq.messages import Task
from trainq.stack import Stack

MAX_BACKOFF_SECONDS = 900


@dataclass(frozen=True)
class Delivery:
    """One receive of one message.

    `attempt` counts the task's deliveries from 1; `failures` those before this one that ended badly (a crash does,
    an interruption does not). `received` is from the clock of `lease.now`.
    """

    message_id: str
    receipt_handle: str
    body: str
    attempt: int
    failures: int
    received: float
    # Whether somebody may have committed the task's result already: this is not its first message, or not its first
    # delivery.
    again: bool

    @classmethod
    def of(cls, message: dict[str, Any], received: float) -> "Delivery":
        receives = int(message["Attributes"]["ApproximateReceiveCount"])
        carried = message.get("MessageAttributes", {})
        return cls(
            message_id=message["MessageId"],
            receipt_handle=message["ReceiptHandle"],
            body=message["Body"],
            attempt=_number(carried, "attempts") + receives,
            failures=_number(carried, "failures") + receives - 1,
            received=received,
            again=receives > 1 or bool(carried),
        )


class TaskQueue:
    """A stack's model training queue. `timeout` (seconds) and `max_failures` are the queue's own settings."""

    def __init__(self, stack: Stack) -> None:
        self.sqs, self.url, self.dead_letter_url = (
            stack.sqs,
            stack.model_training_queue_url,
            stack.dead_letter_queue_url,
        )
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"])
        self.timeout = int(answer["Attributes"]["VisibilityTimeout"])
        self.max_failures = int(json.loads(answer["Attributes"]["RedrivePolicy"])["maxReceiveCount"])

    def message(self, delivery: Delivery) -> dict[str, str]:
        return {"QueueUrl": self.url, "ReceiptHandle": delivery.receipt_handle}

    def receive(self, wait: int, number: int = 1) -> list[Delivery]:
        """Up to `number` tasks' messages (1 to 10); none if none came within `wait` seconds (0 to 20)."""
        asked = now()
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            WaitTimeSeconds=wait,
            # What the heartbeat goes by, also when the queue has been given another one since.
            VisibilityTimeout=self.timeout,
            MaxNumberOfMessages=number,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
            MessageAttributeNames=["attempts", "failures"],
        )
        # From when it was asked, not answered, unless it waited: the message is hidden from some time in between.
        return [Delivery.of(each, max(asked, now() - 1)) for each in answer.get("Messages", ())]

    def delete(self, delivery: Delivery) -> None:
        """Its effect is durable."""
        self.sqs.delete_message(**self.message(delivery))

    def delete_all(self, deliveries: Sequence[Delivery]) -> list[str]:
        """The same for up to ten; returns what SQS says of those that it has not deleted."""
        entries = [{"Id": str(number), "ReceiptHandle": each.receipt_handle} for number, each in enumerate(deliveries)]
        answer = self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)
        return [f"{each['Code']} {each.get('Message', '')}" for each in answer.get("Failed", ())]

    def retry_after(self, delivery: Delivery, seconds: int) -> None:
        """Have it delivered again then; 0 is at once."""
        self.sqs.change_message_visibility(**self.message(delivery), VisibilityTimeout=seconds)

    def hand_over(self, delivery: Delivery, task: Task, *, begun: bool = True) -> None:
        """Give a task to whoever is next, with its count of failures as it is; `begun`: this was an attempt at it."""
        carried = {"attempts": delivery.attempt - (not begun), "failures": delivery.failures}
        self.sqs.send_message(
            QueueUrl=self.url,
            MessageBody=delivery.body,
            MessageGroupId=task.job_id,
            MessageAttributes={
                name: {"DataType": "Number", "StringValue": str(number)} for name, number in carried.items()
            },
        )
        self.delete(delivery)

    def put_aside(self, delivery: Delivery, reason: str) -> None:
        """Put it on the dead letter queue, with the reason on it. A crash in between leaves it on both, at worst."""
        self.sqs.send_message(
            QueueUrl=self.dead_letter_url,
            MessageBody=delivery.body,
            MessageAttributes=refusal.attributes(delivery.message_id, delivery.body, reason),
        )
        self.delete(delivery)


def backoff(failures: int, base: float) -> int:
    """Seconds until a task that has failed so often is tried again: doubled each time, spread by up to half."""
    return round(min(MAX_BACKOFF_SECONDS, base * 2 ** (failures - 1)) * random.uniform(0.5, 1))


def _number(attributes: dict[str, Any], name: str) -> int:
    text = attributes.get(name, {}).get("StringValue", "0")
    # Attributes are anybody's, and may be 1 MiB: what is no such number is none.
    return int(text) if text.isdecimal() and len(text) < 10 else 0
