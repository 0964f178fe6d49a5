"""The message queue as the function uses it: hand a message on, have it delivered again, put it aside."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainq.protocol import copies
from trainq.protocol.limits import MAX_DELAY_SECONDS
from trainq.protocol.messages import MessageError

# Lambda stops what looks like an endless loop, a message that leads to a message to the same function, after 16
# invocations, without a word to whoever waits for the job. We stop before, with the reason on the message. 13
# invocations of 300 s send several million tasks.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
MAX_CONTINUATIONS = 12
# How often a message makes way for another one. Counted apart, so that a large job keeps its continuations, and below
# Lambda's limit together with them.
MAX_DETOURS = 2

Record = dict[str, Any]


@dataclass(frozen=True)
class MessageQueue:
    """`timeout` is the queue's visibility timeout, in seconds."""

    sqs: Any
    url: str
    dead_letter_url: str
    timeout: int

    def continue_later(self, record: Record, position: int, why: str) -> None:
        """Leave the message to another invocation, without using up one of its receives: as a copy, while the
        invocation's answer deletes this one (the crash points are those of `protocol.copies`).

        `position`: index in the batch, used as delay in seconds, so that continued jobs spread over invocations. Raises
        MessageError if the message has been continued too often.
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

    def make_way(self, record: Record, delay: int, *, suspect: bool) -> None:
        """Leave the message to an invocation in `delay` seconds, since one of its batch is handled alone. It uses up
        none of its receives, and none of its continuations. A copy does not show how often the message was received
        before: `suspect` says so. The crash points are those of
        `protocol.copies`.

        Raises RuntimeError if the message has made way too often.
        """
        detours = carried(record, "detours")
        if detours >= MAX_DETOURS:
            raise RuntimeError(f"it has made way for others {detours} times")
        counts = {"continuations": carried(record, "continuations"), "detours": detours + 1, "suspect": int(suspect)}
        self._send_copy(record, min(delay, MAX_DELAY_SECONDS), **counts)

    def _send_copy(self, record: Record, delay: int, **counts: int) -> None:
        attributes = copies.counts(**{name: count for name, count in counts.items() if count})
        copies.send(self.sqs, self.url, record["body"], attributes=attributes, delay=delay)

    def delete(self, records: Sequence[Record]) -> None:
        """Delete up to ten messages, before the invocation's answer would have it done."""
        entries = [{"Id": str(number), "ReceiptHandle": each["receiptHandle"]} for number, each in enumerate(records)]
        if entries:
            self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def is_suspect(self, record: Record) -> bool:
        """Whether an invocation that had this message may have been cut off."""
        return carried(record, "suspect") > 0 or self.unanswered(record) > 0

    def unanswered(self, record: Record) -> int:
        """After how many of its receives the message may have come back because its visibility timeout was over, which
        is how it comes back when nobody has answered for it.

        After a passing fault it comes back sooner (see `retry_soon`), at least the first two times: in such a case this
        is never as many as its former receives.
        """
        if receives(record) == 1:
            return 0
        first = int(record["attributes"]["ApproximateFirstReceiveTimestamp"]) / 1000
        return min(receives(record) - 1, max(0, round((time.time() - first) / self.timeout)))

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

    def dead_letter(self, record: Record, reason: str) -> None:
        """Send a copy with the reason to the dead letter queue; the invocation's answer deletes the message.

        If this fails, the message is delivered again and moves there after its receives, without a reason.
        """
        attributes = copies.reason(record["messageId"], record["body"], reason)
        copies.send(self.sqs, self.dead_letter_url, record["body"], attributes=attributes)


def receives(record: Record) -> int:
    """How often SQS has delivered this message, from 1."""
    return int(record["attributes"]["ApproximateReceiveCount"])


def carried(record: Record, name: str) -> int:
    """A count that a copy of a message carries. Attributes are anybody's: what is no such number is none."""
    text = record["messageAttributes"].get(name, {}).get("stringValue", "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0
