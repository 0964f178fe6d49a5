"""Runs Dramatiq over SQS; `python -m ...dramatiq_tasks N` sends N messages, one request each."""

import sys

import dramatiq
from dramatiq_sqs import SQSBroker

from benchmarks.contestants import SETTINGS

NAMESPACE, QUEUE = SETTINGS["queue_url"].rsplit("/", 1)[-1].split("_", 1)

broker = SQSBroker(namespace=NAMESPACE, endpoint_url=SETTINGS["endpoint"], visibility_timeout=180)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def nothing(number: int) -> None:
    """A no-op."""


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        nothing.send(number)
