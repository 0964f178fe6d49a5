"""What is put on a message that goes to a dead letter queue: the reason, and which message it was.

Standard library only: the function's archive carries this file.
"""

from datetime import UTC, datetime
from typing import Any

from trainq.protocol.messages import MAX_MESSAGE_BYTES, MAX_REASON_CHARACTERS, MessageError


def attributes(message_id: str, body: str, reason: str) -> dict[str, Any]:
    """SQS message attributes for a copy of this message. Raises MessageError if they do not fit beside its body."""
    reason = reason[:MAX_REASON_CHARACTERS]
    texts = {
        "reason": _printable(reason),
        "message_id": message_id,
        "refused_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Attributes count toward the size of a message: names, types and values.
    size = len(body.encode()) + sum(len(f"{name}String{text}".encode()) for name, text in texts.items())
    if size > MAX_MESSAGE_BYTES:
        raise MessageError(f"no room is left in the message for the reason why it is refused: {reason}")
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def _printable(text: str) -> str:
    """SQS refuses control characters in an attribute, and nothing can be sent that is no UTF-8."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)
