"""SQS's fair queues, as AWS documents them: a small simulation.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html

A group is noisy when it has more than 10% of the messages in flight and at least 30 of them, or more than 10% of the
recent processing time. Messages of quiet groups come first; if all groups are noisy, those of the one with the fewest
in flight. AWS calls its thresholds approximate; here they hold at once, and "recent" is since the beginning.
"""

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass

SHARE = 0.10
IN_FLIGHT = 30


@dataclass(frozen=True)
class Job:
    """So many tasks, which are on the queue from `submitted` on."""

    group: str
    tasks: int
    submitted: float


def finish_times(jobs: list[Job], workers: int, *, grouped: bool) -> dict[str, float]:
    """When each job's last task is done. Each task takes 1; workers take one message at a time.

    Without groups each message is a tenant of its own, so that the oldest comes first.
    """
    left = {job.group: job.tasks for job in sorted(jobs, key=lambda job: job.submitted)}
    submitted = {job.group: job.submitted for job in jobs}
    in_flight: Counter[str] = Counter()
    processed: Counter[str] = Counter()
    finished: dict[str, float] = {}
    # (when, in this order, what was worked on)
    order = itertools.count()
    events: list[tuple[float, int, str | None]] = [(0.0, next(order), None) for _ in range(workers)]
    while events:
        now, _, done = heapq.heappop(events)
        if done:
            in_flight[done] -= 1
            processed[done] += 1
            finished[done] = now
        waiting = [group for group, number in left.items() if number and submitted[group] <= now]
        if not waiting:
            if later := [submitted[group] for group, number in left.items() if number]:
                heapq.heappush(events, (min(later), next(order), None))
            continue
        noisy = disproportionate(in_flight, processed)
        chosen = (
            min(waiting, key=lambda group: (group in noisy, in_flight[group] * (group in noisy)))
            if grouped
            else waiting[0]
        )
        left[chosen] -= 1
        in_flight[chosen] += 1
        heapq.heappush(events, (now + 1, next(order), chosen))
    return finished


def disproportionate(in_flight: Counter[str], processed: Counter[str]) -> set[str]:
    """The groups that have more than a fair share, by either of the two measures."""
    return {
        group
        for group in in_flight
        if (in_flight[group] > SHARE * in_flight.total() and in_flight[group] >= IN_FLIGHT)
        or processed[group] > SHARE * processed.total()
    }
