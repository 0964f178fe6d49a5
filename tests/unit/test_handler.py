"""The function's entry point: a batch of messages, of which some fail."""

import importlib
import io
from typing import Any

import pytest

from lambda_src.message_queue import MessageQueue
from local.standins import FakeS3, error
from tests.helpers.dispatching import CONTEXT, JOB, SHARDS, Queue, record, run
from tests.helpers.messages import HOSTILE
from trainq.protocol import copies
from trainq.protocol.messages import Job

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_one_faulty_record_does_not_fail_its_neighbours(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A passing fault is left for redelivery, garbage is dead-lettered, the rest goes through."""

    def fault(operation: str, key: str) -> None:
        if "/j2/" in key:
            raise error(503, "SlowDown")

    sqs = Queue()
    monkeypatch.setattr(entry, "s3", FakeS3(SHARDS, fault))
    monkeypatch.setattr(entry, "sqs", sqs)
    bodies = [Job(job_id=f"j{number}", dataset="datasets/d/").to_json() for number in range(5)]
    bodies[3] = "garbage"
    answer = entry.handler({"Records": [record(body, number) for number, body in enumerate(bodies)]}, CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m2"}]}
    assert len(sqs.bodies) == 3 * 35
    assert [each["MessageBody"] for each in sqs.dead_lettered] == ["garbage"]
    assert "is not JSON" in sqs.dead_lettered[0]["MessageAttributes"]["reason"]["StringValue"]
    assert sqs.dead_lettered[0]["QueueUrl"] == "dlq"


def test_the_function_refuses_a_job_with_more_tasks_than_the_stack_allows(
    entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_TASKS", "34")
    sqs = Queue()
    assert run(entry, FakeS3(SHARDS), sqs, [record(JOB.to_json())], lambda: 60) == []
    assert not sqs.bodies
    assert "at most 34" in sqs.dead_lettered[0]["MessageAttributes"]["reason"]["StringValue"]


def test_when_every_record_fails_each_is_reported_and_nothing_raises(
    entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(operation: str, key: str) -> None:
        raise error(500)

    monkeypatch.setattr(entry, "s3", FakeS3(SHARDS, fault))
    monkeypatch.setattr(entry, "sqs", Queue())
    answer = entry.handler({"Records": [record(JOB.to_json(), number) for number in range(2)]}, CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}]}


def test_a_passing_fault_is_tried_again_sooner_at_first_and_later_each_time() -> None:
    """The derived visibility is half an hour: too long for a hiccup, right for an outage."""
    sqs = Queue()
    queue = MessageQueue(sqs=sqs, url="m", dead_letter_url="dlq", timeout=1800)
    for receives in (1, 2, 3, 4):
        queue.retry_soon(record("", receives=receives))
    for wait, longest in zip(sqs.waits, [60, 300, 1800, 1800], strict=True):
        assert 0.75 * longest - 1 <= wait <= longest


def test_a_message_that_cannot_be_dead_lettered_is_delivered_again(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dropped: not when the dead letter queue cannot be reached, not when the reason does not fit."""

    class Unreachable(Queue):
        def send_message(self, **message: Any) -> None:
            raise error(500)

    for sqs, body in ((Unreachable(), "garbage"), (Queue(), "g" * 1024 * 1024)):
        monkeypatch.setattr(entry, "s3", FakeS3({}))
        monkeypatch.setattr(entry, "sqs", sqs)
        answer = entry.handler({"Records": [record(body)]}, CONTEXT)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert not sqs.dead_lettered


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("reachable", [True, False])
def test_whatever_is_sent_leaves_little_in_the_log(
    entry: Any, monkeypatch: pytest.MonkeyPatch, kind: str, reachable: bool
) -> None:
    """1 MB of unknown fields left a line of 14 MB, and at each of five receives if the reason could not be kept."""

    class Unreachable(Queue):
        def send_message(self, **message: Any) -> None:
            raise error(500)

    written = io.StringIO()
    monkeypatch.setattr(entry.logger.registered_handler, "stream", written)
    monkeypatch.setattr(entry, "s3", FakeS3({}))
    monkeypatch.setattr(entry, "sqs", Queue() if reachable else Unreachable())
    body = HOSTILE[kind](20_000)
    entry.handler({"Records": [record(body)]}, CONTEXT)
    assert "message_id" in written.getvalue()
    assert len(written.getvalue()) < 20_000


def test_the_event_is_not_logged_whatever_the_environment_says(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is up to 6 MB of messages."""
    monkeypatch.setenv("POWERTOOLS_LOGGER_LOG_EVENT", "true")
    importlib.reload(entry)
    written = io.StringIO()
    monkeypatch.setattr(entry.logger.registered_handler, "stream", written)
    monkeypatch.setattr(entry, "s3", FakeS3({}))
    monkeypatch.setattr(entry, "sqs", Queue())
    entry.handler({"Records": [record("a text that is no JSON, " + "of some length " * 50)]}, CONTEXT)
    assert "refused" in written.getvalue()
    assert len(written.getvalue()) < 1_000


def test_a_reason_has_nothing_in_it_that_sqs_refuses() -> None:
    """Control characters, and halves of characters, which are no UTF-8."""
    text = copies.reason("m", "{}", "a\0b\ud800c\td")["reason"]["StringValue"]
    assert text == "a?b?c\td"
