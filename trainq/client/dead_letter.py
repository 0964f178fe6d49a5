"""A message on a dead letter queue.

Such a message may have any content. Reading it never raises, so that one bad message cannot hide the others.
"""

import json
from dataclasses import dataclass
from typing import Any

from trainq.protocol.fields import is_count


@dataclass(frozen=True)
class DeadLetter:
    """A message on a dead letter queue. Immutable.

    `queue`: the queue that it was on before. `job`: the job's id, if it has one. `task`: None for a job. `sent`:
    seconds since 1970, None if unknown. `unreadable`: why the body is not a JSON object; None if it is one.
    """

    queue: str
    id: str
    body: str
    reason: str
    sent: float | None
    receipt_handle: str
    job: str | None
    task: int | None
    unreadable: str | None

    @classmethod
    def of(cls, queue: str, message: dict[str, Any]) -> "DeadLetter":
        """Return the dead letter in a received message. Never raises, whatever the message contains."""
        body, unreadable = _parsed(message["Body"])
        job, task = body.get("job_id"), body.get("task")
        sent = message.get("Attributes", {}).get("SentTimestamp", "")
        return cls(
            queue=queue,
            id=message["MessageId"],
            body=message["Body"],
            reason=_reason(message.get("MessageAttributes", {}).get("reason")),
            sent=int(sent) / 1000 if sent.isdecimal() and len(sent) < 20 else None,
            receipt_handle=message["ReceiptHandle"],
            job=job if isinstance(job, str) else None,
            task=task if is_count(task) else None,
            unreadable=unreadable,
        )


def _parsed(text: str) -> tuple[dict[str, Any], str | None]:
    """Return the JSON object in a body and None, or {} and the reason why there is none."""
    try:
        body = json.loads(text)
    except RecursionError:
        return {}, "its body cannot be read as JSON: it is nested too deeply"
    except ValueError as error:
        return {}, f"its body cannot be read as JSON: {error}"
    return (body, None) if isinstance(body, dict) else ({}, "its body is no JSON object")


def _reason(attribute: dict[str, Any] | None) -> str:
    if attribute is None:
        return "moved by SQS: it was received too often without an end (workers died, or timed out)"
    return attribute.get("StringValue") or f"its reason is no text: {attribute.get('BinaryValue', b'')[:100]!r}"
