"""One invocation with a suspect in its batch: the others are postponed."""

from types import SimpleNamespace
from typing import Any

import pytest

from lambda_src import message_queue
from lambda_src.isolation import isolate
from lambda_src.message_queue import MAX_CONTINUATIONS, MAX_DETOURS, MessageQueue
from local.standins import FakeSqs
from tests.helpers.world import TIMEOUT


class Calls(FakeSqs):
    """What is done to the message queue, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def send_message(self, **message: Any) -> None:
        self.calls.append(("send", message))

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> None:
        self.calls.append(("delete", [each["ReceiptHandle"] for each in Entries]))

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [each for name, each in self.calls if name == "send"]


def record(number: int, *, receives: int = 1, ago: float = 0, now: float = 1e6, **carried: int) -> dict[str, Any]:
    """A message that was received for the first time so many seconds ago."""
    return {
        "messageId": f"m{number}",
        "receiptHandle": f"r{number}",
        "body": str(number),
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "ApproximateFirstReceiveTimestamp": str(int((now - ago) * 1000)),
        },
        "messageAttributes": {name: {"stringValue": str(count)} for name, count in carried.items()},
    }


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> MessageQueue:
    monkeypatch.setattr(message_queue, "time", SimpleNamespace(time=lambda: 1e6))
    return MessageQueue(sqs=Calls(), url="m", dead_letter_url="dlq", timeout=TIMEOUT)


def test_a_batch_without_a_suspect_costs_no_request(queue: MessageQueue) -> None:
    """Also when passing faults have used up receives: those come back before the visibility timeout is over."""
    records = [record(0), record(1, receives=2, ago=60), record(2, receives=3, ago=360), record(3, detours=2)]
    assert isolate(queue, records, lambda: 60) == (records, [])
    assert queue.sqs.calls == []


def test_the_neighbours_are_on_the_queue_and_deleted_before_a_suspect_is_touched(queue: MessageQueue) -> None:
    records = [record(0), record(1, receives=2, ago=TIMEOUT), record(2), record(3, suspect=1), record(4)]
    assert isolate(queue, records, lambda: 60) == ([records[1]], [])
    assert [name for name, _ in queue.sqs.calls] == ["send"] * 4 + ["delete"]
    assert [each["MessageBody"] for each in queue.sqs.sent] == ["0", "2", "3", "4"]
    assert queue.sqs.calls[-1][1] == ["r0", "r2", "r3", "r4"]
    assert ["suspect" in each["MessageAttributes"] for each in queue.sqs.sent] == [False, False, True, False]


def test_other_suspects_come_back_one_by_one_and_the_rest_at_once(queue: MessageQueue) -> None:
    records = [record(number, receives=2, ago=TIMEOUT) for number in range(10)] + [record(10)]
    isolate(queue, records, lambda: 60)
    delays = [each["DelaySeconds"] for each in queue.sqs.sent]
    assert delays.pop() == 0
    assert [delay // 100 for delay in sorted(delays)] == list(range(9))


def test_a_message_keeps_its_continuations_when_it_makes_way(queue: MessageQueue) -> None:
    isolate(queue, [record(0, suspect=1, receives=2, ago=60), record(1, continuations=11)], lambda: 60)
    counts = {name: each["StringValue"] for name, each in queue.sqs.sent[0]["MessageAttributes"].items()}
    assert counts == {"continuations": "11", "detours": "1"}


def test_a_large_job_that_was_a_suspect_goes_on_without_the_suspicion(queue: MessageQueue) -> None:
    """It has answered. What Lambda counts is carried on."""
    queue.continue_later(record(0, suspect=1, detours=2, continuations=3), 0, "no time")
    counts = {name: each["StringValue"] for name, each in queue.sqs.sent[0]["MessageAttributes"].items()}
    assert counts == {"continuations": "4", "detours": "2"}


def test_a_message_makes_way_less_often_than_lambda_takes_for_a_loop(queue: MessageQueue) -> None:
    """It is left for redelivery then, which Lambda does not count."""
    assert MAX_CONTINUATIONS + MAX_DETOURS + 1 < 16
    records = [record(0, detours=MAX_DETOURS), record(1, suspect=1)]
    assert isolate(queue, records, lambda: 60) == ([records[1]], [records[0]])
    assert queue.sqs.calls == []


def test_of_several_suspects_the_one_that_can_make_way_no_more_is_handled(queue: MessageQueue) -> None:
    records = [record(0, suspect=1, receives=3), record(1, suspect=1, detours=MAX_DETOURS), record(2, suspect=1)]
    assert isolate(queue, records, lambda: 60)[0] == [records[1]]
    assert isolate(queue, [records[2], records[0]], lambda: 60)[0] == [records[0]]


def test_making_way_leaves_half_of_the_time_to_the_suspect(queue: MessageQueue) -> None:
    """A batch may have 10,000 messages."""
    records = [record(0, suspect=1), *(record(number) for number in range(1, 100))]
    now, later = isolate(queue, records, lambda: 60 - len(queue.sqs.sent))
    assert now == [records[0]]
    assert len(queue.sqs.sent) == 30
    assert later == records[31:]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 10_000, None])
def test_what_somebody_else_has_put_into_a_count_is_none(queue: MessageQueue, text: str | None) -> None:
    strange = record(0) | {"messageAttributes": {"suspect": {"stringValue": text} if text is not None else {}}}
    assert not queue.is_suspect(strange)
