"""The function's edge: what happens when S3 and SQS fail in the middle."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from lambda_src import dispatch
from lambda_src.dispatch import Dispatcher, OutOfTime
from tests.fakes import FakeS3, FakeSqs, error
from trainq import bucket
from trainq.messages import Job, MessageError

JOB = Job(job_id="j", dataset="datasets/d/")
SHARDS = {f"datasets/d/{number:05}": b"x" for number in range(35)}


def dispatcher(s3: FakeS3, sqs: FakeSqs, remaining: Callable[[], float] = lambda: 60) -> Dispatcher:
    return Dispatcher(s3=s3, sqs=sqs, bucket="b", queue_url="q", remaining=remaining)


def tasks_in(sqs: FakeSqs) -> list[int]:
    return sorted(json.loads(body)["task"] for body in sqs.bodies)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait for SQS; nothing here needs to."""
    monkeypatch.setattr(dispatch.time, "sleep", lambda seconds: None)


def test_tasks_go_out_in_full_batches_grouped_by_job() -> None:
    """A tenth of a request for each task; the group turns on fair queues."""
    sqs = FakeSqs()
    assert dispatcher(FakeS3(SHARDS), sqs).dispatch(JOB) == 35
    assert tasks_in(sqs) == list(range(35))
    assert sorted(map(len, sqs.batches)) == [5, 10, 10, 10]
    assert {entry["MessageGroupId"] for batch in sqs.batches for entry in batch} == {"j"}


def test_entries_that_sqs_did_not_take_are_sent_again_and_only_those() -> None:
    """SQS answers 200 with entries under Failed."""
    refused: set[str] = set()

    def answer(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first = [each for each in entries if each["MessageBody"] not in refused and each["Id"] in "37"]
        refused.update(each["MessageBody"] for each in first)
        return [{"Id": each["Id"], "SenderFault": False, "Code": "InternalError"} for each in first]

    sqs = FakeSqs(answer)
    dispatcher(FakeS3(SHARDS), sqs).dispatch(JOB)
    assert refused
    assert tasks_in(sqs) == list(range(35)), "each task is taken exactly once"


def test_a_task_that_sqs_never_takes_leaves_the_job_for_redelivery() -> None:
    sqs = FakeSqs(lambda entries: [{"Id": entries[0]["Id"], "SenderFault": False, "Code": "InternalError"}])
    s3 = FakeS3(SHARDS)
    with pytest.raises(RuntimeError, match="SQS did not take"):
        dispatcher(s3, sqs).dispatch(JOB)
    assert bucket.dispatched("j") not in s3.objects


def test_a_task_that_sqs_refuses_for_good_makes_the_job_refused() -> None:
    sqs = FakeSqs(lambda entries: [{"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents"}])
    with pytest.raises(MessageError, match="InvalidMessageContents"):
        dispatcher(FakeS3(SHARDS), sqs).dispatch(JOB)


def test_a_redelivered_job_is_sent_from_the_stored_plan_not_from_a_new_listing() -> None:
    """Crash after the plan, before any task: meanwhile the dataset has grown."""
    s3 = FakeS3(SHARDS)

    def crash(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        dispatcher(s3, FakeSqs(crash)).dispatch(JOB)
    s3.objects["datasets/d/new"] = b"x"
    sqs = FakeSqs()
    assert dispatcher(s3, sqs).dispatch(JOB) == 35
    assert tasks_in(sqs) == list(range(35))
    assert s3.listings == 1


def test_a_job_whose_tasks_were_all_sent_sends_nothing_more() -> None:
    """Crash after the last marker, before the message is deleted; or the same job submitted twice."""
    s3 = FakeS3(SHARDS)
    dispatcher(s3, FakeSqs()).dispatch(JOB)
    sqs = FakeSqs()
    assert dispatcher(s3, sqs).dispatch(JOB) == 0
    assert not sqs.bodies


def test_of_two_invocations_that_plan_at_once_the_first_plan_counts() -> None:
    """The other's groups are there, and nobody reads them."""
    s3 = FakeS3(SHARDS)

    def other_is_first(operation: str, key: str) -> None:
        if (operation, key) == ("put", bucket.plan("j")) and key not in s3.objects:
            s3.fault = lambda operation, key: None
            s3.objects["datasets/d/late"] = b"x"
            dispatcher(s3, FakeSqs()).dispatch(JOB)
            del s3.objects[bucket.dispatched("j")]

    s3.fault = other_is_first
    sqs = FakeSqs()
    dispatcher(s3, sqs).dispatch(JOB)
    assert tasks_in(sqs) == list(range(36)), "the winner listed 36 shards, so everybody sends 36 tasks"
    assert {json.loads(body)["tasks"] for body in sqs.bodies} == {36}


def test_another_job_under_a_used_id_is_refused() -> None:
    s3 = FakeS3(SHARDS)
    dispatcher(s3, FakeSqs()).dispatch(JOB)
    sqs = FakeSqs()
    with pytest.raises(MessageError, match=r"a job with other content has \(different: shards_per_task\)"):
        dispatcher(s3, sqs).dispatch(Job(job_id="j", dataset="datasets/d/", shards_per_task=2))
    assert not sqs.bodies


def test_a_dataset_without_objects_is_refused() -> None:
    """A console's folder, an empty object that ends in '/', is no shard."""
    with pytest.raises(MessageError, match="there is no object under s3://b/datasets/d/"):
        dispatcher(FakeS3({"datasets/d/": b"", "datasets/dd/1": b"x"}), FakeSqs()).dispatch(JOB)


def test_a_dataset_with_a_key_that_no_worker_could_use_is_refused() -> None:
    """Rather than sent, refused by every worker, and given up on without a word."""
    with pytest.raises(MessageError, match="the dataset has an object 'datasets/d/a//b'"):
        dispatcher(FakeS3({"datasets/d/a//b": b"x"}), FakeSqs()).dispatch(JOB)


def test_a_job_that_is_refused_has_planned_and_sent_nothing() -> None:
    """Its id can be used again."""
    s3, sqs = FakeS3({f"datasets/d/{number:0900}": b"x" for number in range(1500)}), FakeSqs()
    with pytest.raises(MessageError, match="the largest task of this job is"):
        dispatcher(s3, sqs).dispatch(Job(job_id="j", dataset="datasets/d/", shards_per_task="all"))
    assert not sqs.bodies
    assert not [key for key in s3.objects if key.startswith("runs/")]


def test_a_job_with_too_many_tasks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "MAX_TASKS", 34)
    with pytest.raises(MessageError, match="the job has 35 tasks: allowed are at most 34"):
        dispatcher(FakeS3(SHARDS), FakeSqs()).dispatch(JOB)


def test_without_time_left_no_batch_is_begun() -> None:
    """The job comes back; a Lambda that is cut off in the middle would take its whole batch down with it."""
    sqs = FakeSqs()
    with pytest.raises(OutOfTime):
        dispatcher(FakeS3(SHARDS), sqs, remaining=lambda: 1).dispatch(JOB)
    assert not sqs.bodies


def test_a_datasets_listing_is_read_page_by_page() -> None:
    sqs = FakeSqs()
    shards = {f"datasets/d/{number:05}": b"x" for number in range(2345)}
    assert dispatcher(FakeS3(shards), sqs).dispatch(Job(job_id="j", dataset="datasets/d/", shards_per_task=7)) == 335
    assert sum(len(json.loads(body)["shards"]) for body in sqs.bodies) == 2345


# The entry point, with the same stand-ins.


class Queue(FakeSqs):
    """Also the calls that the entry point makes on the message queue and its dead letter queue."""

    def __init__(self) -> None:
        super().__init__()
        self.put_aside: list[dict[str, Any]] = []
        self.waits: list[int] = []

    def send_message(self, **message: Any) -> None:
        self.put_aside.append(message)

    def change_message_visibility(self, VisibilityTimeout: int, **message: Any) -> None:
        self.waits.append(VisibilityTimeout)


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handler's module, with its environment, and clients that a test replaces."""
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "BUCKET_NAME": "b",
        "MODEL_TRAINING_QUEUE_URL": "q",
        "MESSAGE_QUEUE_URL": "m",
        "MESSAGE_QUEUE_VISIBILITY_TIMEOUT": "1800",
        "MESSAGE_DEAD_LETTER_QUEUE_URL": "dlq",
        "POWERTOOLS_SERVICE_NAME": "test",
        "POWERTOOLS_METRICS_NAMESPACE": "Test",
    }.items():
        monkeypatch.setenv(name, value)
    from lambda_src import handler

    return handler


CONTEXT = SimpleNamespace(
    function_name="f",
    memory_limit_in_mb=512,
    invoked_function_arn="arn",
    aws_request_id="1",
    get_remaining_time_in_millis=lambda: 60_000,
)


def record(body: str, number: int = 0, receives: int = 1) -> dict[str, Any]:
    return {
        "messageId": f"m{number}",
        "receiptHandle": f"r{number}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(receives)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:m",
        "awsRegion": "us-east-1",
    }


def test_one_faulty_record_does_not_fail_its_neighbours(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A passing fault is left for redelivery, garbage is put aside, the rest goes through."""

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
    assert [each["MessageBody"] for each in sqs.put_aside] == ["garbage"]
    assert "is not JSON" in sqs.put_aside[0]["MessageAttributes"]["reason"]["StringValue"]
    assert sqs.put_aside[0]["QueueUrl"] == "dlq"


def test_when_every_record_fails_each_is_reported_and_nothing_raises(
    entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(operation: str, key: str) -> None:
        raise error(500)

    monkeypatch.setattr(entry, "s3", FakeS3(SHARDS, fault))
    monkeypatch.setattr(entry, "sqs", Queue())
    answer = entry.handler({"Records": [record(JOB.to_json(), number) for number in range(2)]}, CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m1"}]}


def test_a_passing_fault_is_tried_again_sooner_at_first_and_later_each_time(
    entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The derived visibility is half an hour: too long for a hiccup, right for an outage."""
    sqs = Queue()
    monkeypatch.setattr(entry, "sqs", sqs)
    for receives in (1, 2, 3, 4):
        entry.retry_soon(SQSRecord(record("", receives=receives)))
    for wait, longest in zip(sqs.waits, [60, 300, 1800, 1800], strict=True):
        assert 0.75 * longest - 1 <= wait <= longest


def test_a_message_that_cannot_be_put_aside_is_delivered_again(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is dropped: not when the dead letter queue cannot be reached, not when the reason does not fit."""

    class Unreachable(Queue):
        def send_message(self, **message: Any) -> None:
            raise error(500)

    for sqs, body in ((Unreachable(), "garbage"), (Queue(), "g" * 1024 * 1024)):
        monkeypatch.setattr(entry, "s3", FakeS3({}))
        monkeypatch.setattr(entry, "sqs", sqs)
        answer = entry.handler({"Records": [record(body)]}, CONTEXT)
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
        assert not sqs.put_aside


def test_a_record_for_which_no_time_is_left_is_delivered_again(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "s3", FakeS3(SHARDS))
    monkeypatch.setattr(entry, "sqs", Queue())
    late = SimpleNamespace(**vars(CONTEXT) | {"get_remaining_time_in_millis": lambda: 100})
    assert entry.handler({"Records": [record(JOB.to_json())]}, late) == {
        "batchItemFailures": [{"itemIdentifier": "m0"}]
    }
