"""One receive of one message, with its counts of attempts and failures."""

from dataclasses import dataclass
from typing import Any

# The name of a checkpoint has six digits for it. A task that is released every second gets there in 11 days.
MAX_ATTEMPT = 999_999


@dataclass(frozen=True)
class Delivery:
    """One receive of one message. Immutable: may be used from any thread.

    `attempt`: number of this delivery of the task, from 1. `failures`: earlier deliveries that ended without a release,
    which are failures and also crashes: SQS counts receives and cannot tell them apart. `received`: time by the clock
    of `leases.now`. `group`: the message group, if any. `again`: True for a redelivery or a released copy: the task's
    result may be committed already. False also for a second message of the task, redriven or sent by the function: its
    result is found while it trains, or at the commit.
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
        """Return the delivery of a message as SQS returned it. Copies carry earlier counts as message attributes."""
        attributes = message["Attributes"]
        receives = int(attributes["ApproximateReceiveCount"])
        carried = message.get("MessageAttributes", {})
        return cls(
            message_id=message["MessageId"],
            receipt_handle=message["ReceiptHandle"],
            body=message["Body"],
            attempt=min(_number(carried, "attempts") + receives, MAX_ATTEMPT),
            failures=_number(carried, "failures") + receives - 1,
            received=received,
            again=receives > 1 or bool(carried),
            group=attributes.get("MessageGroupId"),
        )


def _number(attributes: dict[str, Any], name: str) -> int:
    text = attributes.get(name, {}).get("StringValue", "0")
    # Any sender can set the attribute, and int() raises ValueError above 4,300 digits. The counts have at most 6.
    # https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation
    return int(text) if text.isdecimal() and len(text) <= 6 else 0
