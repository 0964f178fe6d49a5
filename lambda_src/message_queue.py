"""The function's calls to the message queue: continue a message later, postpone, retry or dead-letter it."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainq.protocol import copies
from trainq.protocol.limits import MAX_DELAY_SECONDS
from trainq.protocol.messages import MessageError

# If messages lead to messages to the same function, Lambda takes it for an endless loop and stops it after 16
# invocations without telling the submitter. This limit is lower, so that the job is refused with a reason. 13
# invocations of 300 s send several million tasks.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
MAX_CONTINUATIONS = 12
# How often a message may be postponed because another one of its batch is isolated. Counted separately, so that a large
# job keeps its continuations. 12 + 2 is still below Lambda's limit.
MAX_DETOURS = 2

Record = dict[str, Any]


@dataclass(frozen=True)
class MessageQueue:
    """The message queue and its dead letter queue. `timeout`: the message queue's visibility timeout in seconds."""

    sqs: Any
    url: str
    dead_letter_url: str
    timeout: int

    def continue_later(self, record: Record, position: int, why: str) -> None:
        """Leave the rest of the job to a later invocation: send a copy of the message, whose receives count from 1
        again. The invocation's answer deletes the original. `protocol.copies` has the crash points.

        `position`: index in the batch, used as delay in seconds, so that continued jobs spread over invocations. `why`:
        the reason, for the error's text. Raises MessageError if the message has been continued too often.
        """
        continuations = carried(record, "continuations")
        if continuations >= MAX_CONTINUATIONS:
            raise MessageError(
                f"handed on {continuations} times, the last time since {why}: raise 'function_timeout', or "
                "'function_memory', which brings processor time; then move this message back with 'trainq dlq "
                "redrive', and the job goes on where it stopped"
            )
        delay = min(position, MAX_DELAY_SECONDS)
        self._send_copy(record, delay, continuations=continuations + 1, detours=carried(record, "detours"))

    def postpone(self, record: Record, delay: int, *, suspect: bool) -> None:
        """Send a copy of the message with a delay in seconds, since another message of its batch is handled alone. The
        caller deletes the original. Uses up no receive and no continuation. `protocol.copies` has the crash points.

        `suspect`: the copy carries that the message is one, since its receives count from 1 again. Raises RuntimeError
        if the message has been postponed too often.
        """
        detours = carried(record, "detours")
        if detours >= MAX_DETOURS:
            raise RuntimeError(f"it was postponed for others {detours} times")
        counts = {"continuations": carried(record, "continuations"), "detours": detours + 1, "suspect": int(suspect)}
        self._send_copy(record, min(delay, MAX_DELAY_SECONDS), **counts)

    def _send_copy(self, record: Record, delay: int, **counts: int) -> None:
        attributes = copies.counts(**{name: count for name, count in counts.items() if count})
        copies.send(self.sqs, self.url, record["body"], attributes=attributes, delay=delay)

    def delete(self, records: Sequence[Record]) -> None:
        """Delete up to ten messages now, without waiting for the invocation's answer."""
        entries = [{"Id": str(number), "ReceiptHandle": each["receiptHandle"]} for number, each in enumerate(records)]
        if entries:
            self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def is_suspect(self, record: Record) -> bool:
        """Return whether an invocation that had received this message may have been cut off."""
        return carried(record, "suspect") > 0 or self.unanswered(record) > 0

    def unanswered(self, record: Record) -> int:
        """Return an upper bound of how many earlier receives were not answered: the number of visibility timeouts that
        have passed since the first receive. A message that nobody answers for is redelivered after one.

        After a passing fault the message is redelivered sooner (see `retry_soon`), at least the first two times: then
        the number is below that of its earlier receives.
        """
        if receives(record) == 1:
            return 0
        first = int(record["attributes"]["ApproximateFirstReceiveTimestamp"]) / 1000
        return min(receives(record) - 1, max(0, round((time.time() - first) / self.timeout)))

    def retry_soon(self, record: Record) -> None:
        """Set the time to the message's redelivery: below its visibility timeout, which is 30 min by default.

        The first waits are short, for faults that pass in a moment. From the third receive on they are nearly a
        visibility timeout long: by default five receives take 50 to 66 min.
        """
        wait = {1: self.timeout // 30, 2: self.timeout // 6}.get(receives(record), self.timeout)
        # Random, so that jobs that failed together are not redelivered together.
        wait = int(wait * random.uniform(0.75, 1))
        self.sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=wait
        )

    def dead_letter(self, record: Record, reason: str) -> None:
        """Send a copy with the reason to the dead letter queue; the invocation's answer deletes the message.

        If the send fails, the message is redelivered; after its last receive SQS dead-letters it without a reason.
        """
        attributes = copies.reason(record["messageId"], record["body"], reason)
        copies.send(self.sqs, self.dead_letter_url, record["body"], attributes=attributes)


def receives(record: Record) -> int:
    """Return how often SQS has delivered this message, this time included."""
    return int(record["attributes"]["ApproximateReceiveCount"])


def carried(record: Record, name: str) -> int:
    """Return a count from the attributes of a message; 0 if there is no valid one: any sender may set attributes."""
    text = record["messageAttributes"].get(name, {}).get("stringValue", "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0
