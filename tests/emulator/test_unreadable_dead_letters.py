"""Dead letters that cannot be read, on the queues of the deployed system."""

import json

import pytest

from tests.helpers.deployed import Deployed
from tests.helpers.messages import NESTED


@pytest.fixture
def poisoned(deployed: Deployed) -> Deployed:
    """A message that cannot be read beside one that can, on each dead letter queue."""
    for queue in ("message_dead_letter_queue_url", "dead_letter_queue_url"):
        for body in (NESTED, json.dumps({"job_id": "j", "task": 0})):
            deployed.stack.sqs.send_message(QueueUrl=deployed.outputs[queue], MessageBody=body)
    return deployed


def test_a_message_that_cannot_be_read_is_listed_shown_moved_and_dropped_like_others(poisoned: Deployed) -> None:
    """The issue's: 3,000 '['; and nothing is hidden after any of the commands."""

    def dlq(*arguments: str, status: int = 0) -> str:
        done = poisoned.trainq("dlq", *arguments, status=status, credentials=poisoned.operator_credentials)
        assert "Traceback" not in done.stderr
        for queue in ("message_dead_letter_queue_url", "dead_letter_queue_url"):
            assert poisoned.in_flight(queue) == 0, arguments
        return done.stdout

    found = [json.loads(line) for line in dlq("list", "--json").splitlines()]
    assert len(found) == 4
    bad = {each["queue"]: each for each in found if each["unreadable"]}
    assert set(bad) == {"message", "model-training"}
    assert dlq("list").count("its body cannot be read as JSON: it is nested too deeply; it begins with [[[") == 2
    shown = dlq("show", bad["message"]["id"])
    assert shown.endswith(f"{NESTED}\n")
    assert dlq("redrive", "--job", "j", "--dry-run").count("would be moved back") == 2
    dlq("redrive", "--id", bad["model-training"]["id"])
    assert poisoned.waiting("model_training_queue_url") == 1
    dlq("drop", "--id", bad["message"]["id"], "--yes")
    left = [json.loads(line) for line in dlq("list", "--json").splitlines()]
    assert [(each["job"], each["unreadable"]) for each in left] == [("j", None)] * 2


def test_what_somebody_else_has_received_is_not_said_to_be_nothing(poisoned: Deployed) -> None:
    """By a process that was killed, for instance."""
    poisoned.receive_all("dead_letter_queue_url")
    done = poisoned.trainq(
        "dlq", "list", "--queue", "model-training", credentials=poisoned.operator_credentials
    ).stderr.strip()
    assert done == ("no dead letters to be seen, but about 2 that somebody has received: look again in two minutes")
