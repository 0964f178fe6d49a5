"""Moves a message to a queue: sends a copy, then deletes the original. The crash points, for every caller:

- before the copy is sent: SQS redelivers the original after its visibility timeout, as after any crash.
- after the send, before the delete: original and copy are both on a queue. Two attempts at a task are safe: the first
  to commit its result wins. Two dispatches of a job are safe: each continues from the job's stored progress. On a dead
  letter queue the message may stand twice.
- the answer to the send is lost and the client retries: as above.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from trainq.protocol.limits import MAX_MESSAGE_BYTES, MAX_REASON_CHARACTERS
from trainq.protocol.messages import MessageError

Attributes = dict[str, Any]


def send(
    sqs: Any,
    queue_url: str,
    body: str,
    *,
    group: str | None = None,
    attributes: Attributes | None = None,
    delay: int | None = None,
) -> None:
    """Send a copy of a message. `group`: message group, by which SQS shares workers fairly between jobs. `delay`: in
    seconds; the queue's own delay if None."""
    more: dict[str, Any] = {"MessageGroupId": group} if group else {}
    if delay is not None:
        more["DelaySeconds"] = delay
    sqs.send_message(QueueUrl=queue_url, MessageBody=body, MessageAttributes=attributes or {}, **more)


def move(
    sqs: Any,
    queue_url: str,
    body: str,
    *,
    delete: Callable[[], object],
    group: str | None = None,
    attributes: Attributes | None = None,
) -> None:
    """Send a copy, then call `delete`, which deletes the original."""
    send(sqs, queue_url, body, group=group, attributes=attributes)
    delete()


def counts(**numbers: int) -> Attributes:
    """Return message attributes that carry counts. SQS counts the receives of a copy from 1 again."""
    return {name: {"DataType": "Number", "StringValue": str(number)} for name, number in numbers.items()}


def reason(message_id: str, body: str, why: str) -> Attributes:
    """Return the attributes of a dead letter: the reason, the original message's id and the time.

    Raises MessageError if body and attributes together exceed the size of a message.
    """
    why = why[:MAX_REASON_CHARACTERS]
    texts = {
        "reason": _printable(why),
        "message_id": message_id,
        "refused_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Attributes count toward the size of a message: names, types and values.
    size = len(body.encode()) + sum(len(f"{name}String{text}".encode()) for name, text in texts.items())
    if size > MAX_MESSAGE_BYTES:
        raise MessageError(f"no room is left in the message for the reason why it is refused: {why}")
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def _printable(text: str) -> str:
    """Replace unprintable characters by "?": SQS rejects control characters and text that is not valid UTF-8."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
