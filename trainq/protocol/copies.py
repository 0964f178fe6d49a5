"""Moving a message to a queue: send a copy, then delete the original. The crash points, for all who do it:

- before the copy is sent: the original comes back after its visibility timeout, as after any crash.
- after that, before the delete: both are there. Tasks are safe: of two attempts the first to commit its result wins,
  and the other is without effect. So are jobs: each goes on from the job's stored progress. On a dead letter queue
  there are two of the same, at worst.
- a lost answer to the send, and a retry: the same.
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
    """Send a copy of a message. `group`: its message group, which gives its job a fair share; `delay`: in seconds, the
    queue's own if None."""
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
    """Send a copy, then call `delete` for the original."""
    send(sqs, queue_url, body, group=group, attributes=attributes)
    delete()


def counts(**numbers: int) -> Attributes:
    """Return the attributes that carry counts over to a copy, whose receives SQS counts from one again."""
    return {name: {"DataType": "Number", "StringValue": str(number)} for name, number in numbers.items()}


def reason(message_id: str, body: str, why: str) -> Attributes:
    """Return the attributes of a dead letter: the reason, and which message it was.

    Raises MessageError if they do not fit beside its body.
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
    """SQS refuses control characters in an attribute, and nothing can be sent that is no UTF-8."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
