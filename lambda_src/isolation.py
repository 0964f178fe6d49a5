"""Isolates a message that may have cut off its invocation, so that the rest of its batch loses no more receives.

An invocation that is cut off (out of memory, out of time, a crash) answers for no message of its batch. After the
visibility timeout the batch is redelivered, often as the same batch, and each message has used up a receive. After five
receives SQS would dead-letter the good jobs together with the bad one, and nothing would tell which one it is.

So a message that was redelivered without an answer is a suspect, and is handled alone. Before that, every other message
of its batch is postponed: a copy is sent, whose receives count from 1 again, and the original is deleted. The copies of
other suspects come back one at a time, spread over half a visibility timeout; the rest come back at once. The crash
points:

- in a batch without a suspect: every message uses up one receive, and is a suspect from then on. Jobs that were
  dispatched completely have their marker.
- before the copy of a message is sent: the message uses up one more receive.
- after that, before the original is deleted: the message is on the queue twice. Both continue from the job's progress;
  a job that is refused is dead-lettered twice.
- while the suspect is handled: it alone uses up a receive. At its fifth receive it is dead-lettered with the reason,
  before its body is parsed.

A message whose copy cannot be sent (it was postponed too often, has no room for the attributes, or SQS fails) is left
for redelivery, after a time of its own. That uses up a receive, but does not make it a suspect.
"""

import random
from collections.abc import Callable

from aws_lambda_powertools import Logger

from lambda_src.message_queue import MessageQueue, Record, carried, receives
from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.protocol.limits import MAX_BATCH, MAX_DELAY_SECONDS

logger = Logger()


def isolate(
    queue: MessageQueue, records: list[Record], remaining: Callable[[], float]
) -> tuple[list[Record], list[Record]]:
    """Choose one suspect of the batch, if there is any, and postpone all other messages.

    Returns the messages to handle now, which are all if there is no suspect, and those that could not be postponed,
    which SQS is to redeliver. Takes at most half of the `remaining` seconds: the other half is for the suspect.
    """
    suspects = {each["messageId"] for each in records if queue.is_suspect(each)}
    if not suspects:
        return records, []
    # The suspect that was postponed most often, since that is limited; of those, the one with the fewest receives left.
    alone = max(
        (each for each in records if each["messageId"] in suspects),
        key=lambda each: (carried(each, "detours"), receives(each)),
    )
    others = [each for each in records if each is not alone]
    suspects.remove(alone["messageId"])
    half = remaining() / 2
    left = _postpone(queue, others, suspects, lambda: remaining() > half)
    handed_on = len(others) - len(left)
    message_id = alone["messageId"]
    tell(logger, events.JOB_ISOLATED, message_id=message_id, receives=receives(alone), handed_on=handed_on)
    return [alone], left


def _postpone(
    queue: MessageQueue, records: list[Record], suspects: set[str], has_time: Callable[[], bool]
) -> list[Record]:
    """Leave the messages to later invocations. Return those that could not be postponed."""
    delays = _spread_delays(len(suspects), min(queue.timeout // 2, MAX_DELAY_SECONDS))
    left: list[Record] = []
    for start in range(0, len(records), MAX_BATCH):
        gone: list[Record] = []
        for each in records[start : start + MAX_BATCH]:
            suspect = each["messageId"] in suspects
            try:
                if not has_time():
                    raise TimeoutError("there was no time for it")
                queue.postpone(each, delays.pop() if suspect else 0, suspect=suspect)
                gone.append(each)
            except Exception as error:
                tell(logger, events.JOB_STAYED, message_id=each["messageId"], reason=str(error))
                left.append(each)
        try:
            queue.delete(gone)
        except Exception as error:
            tell(logger, events.JOB_DOUBLED, reason=str(error))
    return left


def _spread_delays(count: int, seconds: int) -> list[int]:
    """Return `count` delays, spread over `seconds`: each is random within a slot of its own, so that suspects of other
    batches rarely come at the same time."""
    return [int((number + random.random()) * seconds / count) for number in range(count)]
