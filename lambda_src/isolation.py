"""Sets apart a message that may cut off its invocation, so that its neighbours do not lose their receives with it.

An invocation that is cut off (out of memory, out of time, a crash) answers for none of its batch. All of it comes back
after the visibility timeout with a receive used up, and as the same batch if nobody does anything about it. After five
receives good jobs would be on the dead letter queue beside the one that is to blame, and nobody could tell which it is.

So what has come back without an answer is a suspect, and is handled alone. Before it is touched, every other message of
its batch is handed on as a copy, which has been received no time yet, and deleted. Other suspects among them come back
one by one, over half a visibility timeout, the rest comes back at once. The crash points:

- in a batch without a suspect: every message loses one receive. What was dispatched is found so; all are suspects.
- before a neighbour's copy is sent: the neighbour loses one more receive.
- after that, before the neighbour is deleted: it is on the queue twice. Each goes on from the job's progress; of a job
  that is refused there are two dead letters.
- when the suspect is handled: it loses a receive, and nobody else does. At its fifth it is put aside with the reason,
  before it is read.

A message whose copy cannot be sent (it has made way too often, has no room for the attributes, or SQS fails) is left
for redelivery, at another time than the others. That uses up a receive, but is no reason for suspicion.
"""

import random
from collections.abc import Callable

from aws_lambda_powertools import Logger

from lambda_src.message_queue import MessageQueue, Record, carried, receives
from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.protocol.limits import MAX_BATCH, MAX_DELAY_SECONDS

logger = Logger()


def set_apart(
    queue: MessageQueue, records: list[Record], remaining: Callable[[], float]
) -> tuple[list[Record], list[Record]]:
    """The messages to handle now, and those that are to be delivered again; all others have been handed on.

    That takes no more than half of the seconds that `remaining` tells: the other half is the suspect's.
    """
    suspects = {each["messageId"] for each in records if queue.is_suspect(each)}
    if not suspects:
        return records, []
    # First what cannot make way any more, and what has few receives left.
    alone = max(
        (each for each in records if each["messageId"] in suspects),
        key=lambda each: (carried(each, "detours"), receives(each)),
    )
    others = [each for each in records if each is not alone]
    suspects.remove(alone["messageId"])
    half = remaining() / 2
    left = _make_way(queue, others, suspects, lambda: remaining() > half)
    handed_on = len(others) - len(left)
    message_id = alone["messageId"]
    tell(logger, events.JOB_ISOLATED, message_id=message_id, receives=receives(alone), handed_on=handed_on)
    return [alone], left


def _make_way(
    queue: MessageQueue, records: list[Record], suspects: set[str], has_time: Callable[[], bool]
) -> list[Record]:
    """Hand these on to later invocations; return those that could not be."""
    delays = _one_by_one(len(suspects), min(queue.timeout // 2, MAX_DELAY_SECONDS))
    left: list[Record] = []
    for start in range(0, len(records), MAX_BATCH):
        gone: list[Record] = []
        for each in records[start : start + MAX_BATCH]:
            suspect = each["messageId"] in suspects
            try:
                if not has_time():
                    raise TimeoutError("there was no time for it")
                queue.make_way(each, delays.pop() if suspect else 0, suspect=suspect)
                gone.append(each)
            except Exception as error:
                tell(logger, events.JOB_STAYED, message_id=each["messageId"], reason=str(error))
                left.append(each)
        try:
            queue.delete(gone)
        except Exception as error:
            tell(logger, events.JOB_DOUBLED, reason=str(error))
    return left


def _one_by_one(count: int, seconds: int) -> list[int]:
    """So many delays within so many seconds, each at a random time in a slot of its own: not with those of another
    batch either."""
    return [int((number + random.random()) * seconds / count) for number in range(count)]
