"""Counts requests of workers, and leases in hand."""

import dataclasses
from collections import Counter
from typing import Any

from tests.helpers.deployed import Deployed
from trainq.protocol import layout
from trainq.worker.leases import Lease, Leases, now
from trainq.worker.outcome import Outcome


def begun(made: Leases, handle: str = "r", *, max_hold: float = 1e6) -> tuple[Lease, list[Outcome]]:
    """Return a lease of a message, and the outcomes that it reports."""
    said: list[Outcome] = []
    held = made.hold(handle, received=now(), max_hold=max_hold)
    held.attach(lambda outcome, reason: said.append(outcome))
    return held, said


def counting(deployed: Deployed) -> tuple[Deployed, Counter[str]]:
    """Return the stack with new clients, and a counter of their requests."""
    requests: Counter[str] = Counter()

    def new_client(service: str, *rest: Any) -> Any:
        client = deployed.stack.new_client(service, *rest)
        # Such as 'before-send.sqs.ReceiveMessage'.
        client.meta.events.register(
            "before-send", lambda event_name, **other: requests.update([event_name.split(".", 1)[1]])
        )
        return client

    stack = dataclasses.replace(deployed.stack, new_client=new_client)
    counted = dataclasses.replace(deployed)
    vars(counted)["stack"] = stack
    return counted, requests


def left(deployed: Deployed) -> int:
    return deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url")


def done(deployed: Deployed) -> list[int]:
    """Return the numbers of the tasks with results."""
    return sorted(deployed.read(key)["task"] for key in deployed.keys(layout.results("j")))
