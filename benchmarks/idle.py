"""6. Idle: counts the requests of a worker that waits for tasks and of the idle stack, and what they cost. Also counts
the heartbeats of a worker that trains."""

import time
from typing import Any

from benchmarks.place import Place, ours, place
from benchmarks.requests import HEARTBEATS, RECEIVE
from trainq.protocol.messages import Task

POLLS = 2
FULL_POLLS = 9
HOUR = 3600
HOURS_A_MONTH = 730
# https://aws.amazon.com/sqs/pricing/
DOLLARS_PER_MILLION = 0.40
# Lambda long-polls an idle queue with five pollers, and one poll takes 20 s: not measurable here.
# https://aws.amazon.com/blogs/compute/understanding-how-aws-lambda-scales-when-subscribed-to-amazon-sqs-queues/
LAMBDA_POLLERS = 5
HELD, HELD_TIMEOUT = 10, 9
POLL_SECONDS = 20


def run(*, full: bool) -> dict[str, Any]:
    polls = FULL_POLLS if full else POLLS
    print(f"  waiting for {polls} long polls, {polls * POLL_SECONDS} s", flush=True)
    with place() as there:
        requests, seconds = watch(there, polls)
        beats = heartbeats(there)
    worker = sum(requests.values()) * HOUR / seconds
    stack = LAMBDA_POLLERS * HOUR / POLL_SECONDS
    return {
        "requests": requests,
        "seconds": seconds,
        "requests_per_heartbeat": beats,
        "worker_requests_per_hour": worker,
        "worker_dollars_per_month": dollars(worker),
        "stack_requests_per_hour": stack,
        "stack_dollars_per_month": dollars(stack),
    }


def watch(there: Place, polls: int) -> tuple[dict[str, int], float]:
    """Return the requests of a waiting worker during `polls` polls, and the seconds that they took."""
    url = there.queue("idle")
    there.forget()
    with there.started(ours("trainq_worker"), queue_url=url, options={}):
        while len(begun := [each.begun for each in there.trace().requests if each.what == RECEIVE]) <= polls:
            time.sleep(1)
        trace = there.trace().between(begun[0], begun[polls])
    kinds = {kind: round(number) for kind, number in trace.per_task(1).items()}
    return kinds, begun[polls] - begun[0]


def heartbeats(there: Place) -> float:
    """Return the requests per third of the visibility timeout, while a worker holds ten messages and trains one."""
    url = there.queue("beats", visibility=HELD_TIMEOUT)
    there.put({"datasets/d/beats": b"x"})
    there.send(url, [_task(number) for number in range(HELD)], "beats")
    there.forget()
    with there.started(ours("trainq_worker"), queue_url=url, options={"prefetch": HELD}, seconds=2 * HELD_TIMEOUT):
        while RECEIVE not in {each.what for each in there.trace().requests}:
            time.sleep(0.1)
        # Half an interval after the second of two heartbeats.
        time.sleep(HELD_TIMEOUT * 2.5 / 3)
        return there.trace().count(*HEARTBEATS) / 2


def _task(number: int) -> str:
    return Task(job_id="beats", task=number, tasks=HELD, shards=["datasets/d/beats"], parameters={}).to_json()


def dollars(requests_per_hour: float) -> float:
    return requests_per_hour * HOURS_A_MONTH * DOLLARS_PER_MILLION / 1e6
