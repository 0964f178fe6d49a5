"""The two dead letter queues: look, move back, drop.

Looking receives every message and gives it back at once, so that nothing is hidden or used up: on a dead letter queue
the number of receives does not matter. Moving copies first and deletes then: a crash in between duplicates, at worst.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from trainq.messages import MAX_BATCH
from trainq.stack import Stack

# For how long the messages that are looked at are hidden from others, should this process be killed.
LOOK_SECONDS = 120
UNSUPPORTED = {"InvalidAction", "UnknownOperationException"}


@dataclass(frozen=True)
class DeadLetter:
    """A message on a dead letter queue; `queue` is the name of the queue that it was on. `task` is None for a job."""

    queue: str
    id: str
    body: str
    reason: str
    sent: float
    receipt_handle: str
    job: str | None
    task: int | None


class DeadLetterQueue:
    """One of the stack's dead letter queues: of the 'message' or of the 'model-training' queue."""

    def __init__(self, stack: Stack, queue: str) -> None:
        self.sqs, self.queue = stack.sqs, queue
        urls = {
            "message": (stack.message_dead_letter_queue_url, stack.message_queue_url),
            "model-training": (stack.dead_letter_queue_url, stack.model_training_queue_url),
        }
        self.url, self.source_url = urls[queue]

    def look(self) -> list[DeadLetter]:
        """Every message, oldest first. They can be received again when this returns."""
        found = self._receive_all()
        self.give_back(found)
        return found

    def take(self, wanted: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
        """The wanted messages, hidden from others for two minutes; the rest can be received again."""
        found = self._receive_all()
        self.give_back([each for each in found if not wanted(each)])
        return [each for each in found if wanted(each)]

    def give_back(self, letters: list[DeadLetter]) -> None:
        for start in range(0, len(letters), MAX_BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": each.receipt_handle, "VisibilityTimeout": 0}
                for number, each in enumerate(letters[start : start + MAX_BATCH])
            ]
            # One that has become visible meanwhile needs nothing.
            self.sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)

    def move_back(self, letter: DeadLetter) -> None:
        """Send it to the queue that it was on, where its count begins anew, then delete it here."""
        group = {"MessageGroupId": letter.job} if letter.job and letter.task is not None else {}
        self.sqs.send_message(QueueUrl=self.source_url, MessageBody=letter.body, **group)
        self.drop(letter)

    def drop(self, letter: DeadLetter) -> None:
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=letter.receipt_handle)

    def move_all_on_aws(self) -> Iterator[tuple[int, int]]:
        """Have SQS move everything back; yields (moved, of how many, about) until it is done.

        Raises ClientError with a code in UNSUPPORTED where SQS cannot do it, an emulator for instance.
        """
        arn, destination = (self._arn(url) for url in (self.url, self.source_url))
        # The destination is named: what a worker or the function put here itself has no queue that it came from.
        self.sqs.start_message_move_task(SourceArn=arn, DestinationArn=destination)
        while True:
            newest = self.sqs.list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"][0]
            yield newest.get("ApproximateNumberOfMessagesMoved", 0), newest.get("ApproximateNumberOfMessagesToMove", 0)
            if newest["Status"] == "COMPLETED":
                return
            if newest["Status"] != "RUNNING":
                raise RuntimeError(
                    f"the move ended as {newest['Status']}: {newest.get('FailureReason', 'no reason given')}"
                )
            time.sleep(1)

    def _arn(self, url: str) -> str:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    def _receive_all(self) -> list[DeadLetter]:
        found: dict[str, DeadLetter] = {}
        while True:
            # A long poll asks all of SQS's servers, so that an empty answer means an empty queue.
            messages = self.sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=MAX_BATCH,
                VisibilityTimeout=LOOK_SECONDS,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["SentTimestamp"],
            ).get("Messages", ())
            # When all of them are known, the first are visible again: there are more than can be seen in the time.
            if all(each["MessageId"] in found for each in messages):
                return sorted(found.values(), key=lambda each: each.sent)
            found |= {each["MessageId"]: self._letter(each) for each in messages}

    def _letter(self, message: dict[str, Any]) -> DeadLetter:
        try:
            body = json.loads(message["Body"])
        except ValueError:
            body = None
        known = body if isinstance(body, dict) else {}
        job, task = known.get("job_id"), known.get("task")
        reason = message.get("MessageAttributes", {}).get("reason", {}).get("StringValue")
        return DeadLetter(
            queue=self.queue,
            id=message["MessageId"],
            body=message["Body"],
            reason=reason or "moved by SQS: it was received too often without an end (workers died, or timed out)",
            sent=int(message["Attributes"]["SentTimestamp"]) / 1000,
            receipt_handle=message["ReceiptHandle"],
            job=job if isinstance(job, str) else None,
            task=task if type(task) is int else None,
        )


def is_unsupported(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in UNSUPPORTED
