"""One receive of one message, and what SQS and earlier workers have counted of it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Delivery:
    """One receive of one message.

    `attempt` counts the task's deliveries from 1; `failures` those before this one that ended badly (a crash does, an
    interruption does not). `received` is from the clock of `leases.now`. `group` is the message's group, if it has one.
    `again`: somebody may have committed the task's result already, since this is not its first message, or not its
    first delivery.
    """

    message_id: str
    receipt_handle: str
    body: str
    attempt: int
    failures: int
    received: float
    again: bool
    group: str | None = None

    @classmethod
    def of(cls, message: dict[str, Any], received: float) -> "Delivery":
        attributes = message["Attributes"]
        receives = int(attributes["ApproximateReceiveCount"])
        carried = message.get("MessageAttributes", {})
        return cls(
            message_id=message["MessageId"],
            receipt_handle=message["ReceiptHandle"],
            body=message["Body"],
            attempt=_number(carried, "attempts") + receives,
            failures=_number(carried, "failures") + receives - 1,
            received=received,
            again=receives > 1 or bool(carried),
            group=attributes.get("MessageGroupId"),
        )


def _number(attributes: dict[str, Any], name: str) -> int:
    text = attributes.get(name, {}).get("StringValue", "0")
    # Nothing that is sent may end a worker: Python takes no more than 4,300 digits.
    return int(text) if text.isdecimal() and len(text) < 10 else 0
