"""Moving messages: the copy first, with its group and its counts, and the delete only then."""

from typing import Any

import pytest

from local.standins import error
from trainq.protocol import copies
from trainq.protocol.messages import Task
from trainq.stack import QueueSettings
from trainq.worker.delivery import Delivery
from trainq.worker.task_queue import TaskQueue

BODY = Task(job_id="j", task=3, tasks=9, shards=["datasets/d/3"], parameters={}).to_json()


class Sqs:
    """Notes calls in their order; `fault` names the one that fails."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def _called(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        if name == self.fault:
            raise error(503, "Slow")
        self.calls.append((name, asked))
        return {}

    def send_message(self, **asked: Any) -> dict[str, Any]:
        return self._called("send", asked)

    def delete_message(self, **asked: Any) -> dict[str, Any]:
        return self._called("delete", asked)


class Stack:
    model_training_queue_url, dead_letter_queue_url = "q", "dlq"

    def __init__(self, sqs: Sqs) -> None:
        self.sqs = sqs

    def training_queue_settings(self) -> QueueSettings:
        return QueueSettings(180, 5)


def delivery(group: str | None = "j") -> Delivery:
    attributes = {"ApproximateReceiveCount": "2"} | ({"MessageGroupId": group} if group else {})
    carried = {"attempts": {"StringValue": "3"}, "failures": {"StringValue": "1"}}
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": BODY}
    return Delivery.of(message | {"Attributes": attributes, "MessageAttributes": carried}, 0.0)


def queue(sqs: Sqs) -> TaskQueue:
    stack: Any = Stack(sqs)
    return TaskQueue(stack)


@pytest.mark.parametrize("attempts", ["999999", "999999999", "9" * 5_000, "-1000"])
def test_no_message_claims_more_attempts_than_a_checkpoints_name_has_room_for(attempts: str) -> None:
    """Any sender can set the attribute."""
    carried = {"attempts": {"StringValue": attempts}}
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": BODY, "MessageAttributes": carried}
    assert 2 <= Delivery.of(message | {"Attributes": {"ApproximateReceiveCount": "2"}}, 0.0).attempt <= 999_999


MOVES = [
    lambda tasks: tasks.release(delivery(), counted=True),
    lambda tasks: tasks.release(delivery(), counted=False),
    lambda tasks: tasks.dead_letter(delivery(), "because"),
]


@pytest.mark.parametrize("move", MOVES)
def test_the_message_is_deleted_after_its_copy_is_sent(move: Any) -> None:
    sqs = Sqs()
    move(queue(sqs))
    assert [name for name, _ in sqs.calls] == ["send", "delete"]
    assert sqs.calls[0][1]["MessageBody"] == BODY
    assert sqs.calls[1][1] == {"QueueUrl": "q", "ReceiptHandle": "r"}


@pytest.mark.parametrize("move", MOVES)
def test_a_message_whose_copy_cannot_be_sent_is_not_deleted(move: Any) -> None:
    sqs = Sqs("send")
    with pytest.raises(Exception, match="Slow"):
        move(queue(sqs))
    assert not sqs.calls


@pytest.mark.parametrize("move", MOVES)
def test_a_copy_keeps_the_message_group(move: Any) -> None:
    """Also on the dead letter queue: moved back by SQS itself, a message without one has no fair share."""
    sqs = Sqs()
    move(queue(sqs))
    assert sqs.calls[0][1]["MessageGroupId"] == "j"


def test_a_message_without_a_group_gets_none() -> None:
    sqs = Sqs()
    queue(sqs).dead_letter(delivery(None), "no task")
    assert "MessageGroupId" not in sqs.calls[0][1]


@pytest.mark.parametrize(("counted", "attempts"), [(True, "5"), (False, "4")])
def test_a_released_task_keeps_its_failures_and_counts_an_attempt_only_if_it_was_one(
    counted: bool, attempts: str
) -> None:
    """Of 3 attempts and a failure that the message carried, this is its second receive: one more failure, a crash."""
    sqs = Sqs()
    queue(sqs).release(delivery(), counted=counted)
    carried = sqs.calls[0][1]["MessageAttributes"]
    assert {name: each["StringValue"] for name, each in carried.items()} == {"attempts": attempts, "failures": "2"}


def test_a_dead_letter_says_why_and_which_message_it_was() -> None:
    sqs = Sqs()
    queue(sqs).dead_letter(delivery(), "loss is nan")
    said = {name: each["StringValue"] for name, each in sqs.calls[0][1]["MessageAttributes"].items()}
    assert (said["reason"], said["message_id"]) == ("loss is nan", "m")
    assert sqs.calls[0][1]["QueueUrl"] == "dlq"


def test_a_copy_is_delayed_only_if_that_is_said() -> None:
    sqs = Sqs()
    copies.send(sqs, "q", BODY)
    copies.send(sqs, "q", BODY, delay=0)
    assert ["DelaySeconds" in asked for _, asked in sqs.calls] == [False, True]
