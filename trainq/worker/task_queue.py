"""The model training queue as workers use it: receive, acknowledge, retry, release, dead-letter.

A task may fail as often as the queue's maxReceiveCount says. SQS counts every receive, also one that ended with an
interruption. So an interrupted worker releases the task: it moves the message to the same queue, as a copy whose
attributes carry the counts. `protocol.copies` has the crash points.
"""

import random
from collections.abc import Sequence

from trainq.protocol import copies
from trainq.stack import Stack
from trainq.worker.delivery import Delivery
from trainq.worker.leases import now

MAX_BACKOFF_SECONDS = 900


class TaskQueue:
    """A stack's model training queue. `timeout` (visibility timeout, seconds) and `max_failures` are the queue's own
    settings. May be used from any thread."""

    def __init__(self, stack: Stack) -> None:
        self.sqs, self.url, self.dead_letter_url = (
            stack.sqs,
            stack.model_training_queue_url,
            stack.dead_letter_queue_url,
        )
        settings = stack.training_queue_settings()
        self.timeout, self.max_failures = settings.timeout, settings.max_failures

    def receive(self, wait: int, number: int = 1) -> list[Delivery]:
        """Receive up to `number` messages (1 to 10). Wait up to `wait` seconds (0 to 20); return [] if none came."""
        asked = now()
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            WaitTimeSeconds=wait,
            # The timeout by which heartbeats are sent, also if the queue's setting has changed since.
            VisibilityTimeout=self.timeout,
            MaxNumberOfMessages=number,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
            MessageAttributeNames=["attempts", "failures"],
        )
        # SQS hides the message at some time between request and answer. The earlier time is the safe one; after a long
        # poll that is at most 1 s before the answer.
        return [Delivery.of(each, max(asked, now() - 1)) for each in answer.get("Messages", ())]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> list[str]:
        """Delete up to ten messages. Call this only after the result is committed or the job cancelled.

        Returns one error text per message that SQS has not deleted.
        """
        entries = [{"Id": str(number), "ReceiptHandle": each.receipt_handle} for number, each in enumerate(deliveries)]
        answer = self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)
        return [f"{each['Code']} {each.get('Message', '')}" for each in answer.get("Failed", ())]

    def retry(self, delivery: Delivery, seconds: int) -> None:
        """Let SQS redeliver the message after `seconds`. This receive counts as a failure."""
        self.sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=delivery.receipt_handle, VisibilityTimeout=seconds
        )

    def release(self, delivery: Delivery, *, counted: bool) -> None:
        """Return the task to the queue. Its failure count stays as it is. `counted`: count this delivery as attempt."""
        carried = copies.counts(attempts=delivery.attempt - (not counted), failures=delivery.failures)
        self._move(delivery, self.url, carried)

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Send a copy with the reason to the dead letter queue, then delete the message."""
        self._move(delivery, self.dead_letter_url, copies.reason(delivery.message_id, delivery.body, reason))

    def _move(self, delivery: Delivery, url: str, attributes: copies.Attributes) -> None:
        copies.move(
            self.sqs,
            url,
            delivery.body,
            delete=lambda: self.delete(delivery),
            group=delivery.group,
            attributes=attributes,
        )

    def delete(self, delivery: Delivery) -> None:
        """Delete the message. Call this only after its copy is sent."""
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=delivery.receipt_handle)


def backoff(failures: int, base: float) -> int:
    """Return the delay in seconds before a retry: `base`, doubled with each failure up to 900 s, less up to half of it
    at random, so that tasks which failed together do not return together."""
    return round(min(MAX_BACKOFF_SECONDS, base * 2 ** (failures - 1)) * random.uniform(0.5, 1))
