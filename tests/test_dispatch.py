"""The function's edge: what happens when S3 and SQS fail in the middle."""

import importlib
import io
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambda_src import dispatch, plan, sender
from lambda_src.dispatch import Dispatcher, OutOfTime
from lambda_src.message_queue import MAX_CONTINUATIONS, MessageQueue
from local.deploy import deploy
from local.emulator import Emulator
from local.faults import Faults
from local.standins import CountingSqs, FakeS3, FakeSqs, LargeS3, context, error
from tests.conftest import Deployed, eventually
from tests.test_messages import HOSTILE
from trainq.protocol import copies, layout
from trainq.protocol.messages import Job, MessageError

JOB = Job(job_id="j", dataset="datasets/d/")
SHARDS = {f"datasets/d/{number:05}": b"x" for number in range(35)}
MANY = {f"datasets/d/{number:05}": b"x" for number in range(1000)}


def dispatcher(s3: Any, sqs: Any, remaining: Callable[[], float] = lambda: 60) -> Dispatcher:
    return Dispatcher(s3=s3, sqs=sqs, bucket="b", queue_url="q", remaining=remaining)


def tasks_in(sqs: FakeSqs) -> list[int]:
    return sorted(json.loads(body)["task"] for body in sqs.bodies)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait for SQS; nothing here needs to."""
    monkeypatch.setattr(sender.time, "sleep", lambda seconds: None)


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
    assert layout.dispatched("j") not in s3.objects


def test_a_task_that_sqs_refuses_for_good_makes_the_job_refused() -> None:
    sqs = FakeSqs(lambda entries: [{"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents"}])
    with pytest.raises(MessageError, match="InvalidMessageContents"):
        dispatcher(FakeS3(SHARDS), sqs).dispatch(JOB)


def test_what_passes_is_no_refusal_though_sqs_calls_it_the_senders_fault() -> None:
    sqs = FakeSqs(lambda entries: [{"Id": "0", "SenderFault": True, "Code": "KMS.ThrottlingException"}])
    with pytest.raises(RuntimeError, match="SQS did not take"):
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
        if (operation, key) == ("put", layout.plan("j")) and key not in s3.objects:
            s3.fault = lambda operation, key: None
            s3.objects["datasets/d/late"] = b"x"
            dispatcher(s3, FakeSqs()).dispatch(JOB)
            del s3.objects[layout.dispatched("j")]

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


def test_the_task_whose_size_is_checked_is_the_one_with_the_largest_message() -> None:
    """Not the one with the longest list of keys as a person would write it, with a space after each comma."""
    many = {f"datasets/d/a{number:05}": b"x" for number in range(40_000)}
    few = {f"datasets/d/b{number:0988}": b"x" for number in range(830)}
    asked = Job(job_id="j", dataset="datasets/d/", bytes_per_task=40_000, parameters={"text": "x" * 210_000})
    sqs = FakeSqs()
    assert dispatcher(FakeS3(many), sqs).dispatch(asked) == 1
    assert dispatcher(FakeS3(few), sqs).dispatch(Job(job_id="j", dataset="datasets/d/", bytes_per_task=40_000)) == 1
    with pytest.raises(MessageError, match="the largest task of this job is 1,04"):
        dispatcher(FakeS3(many | few), sqs).dispatch(asked)


def test_a_job_with_too_many_tasks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_TASKS", 34)
    with pytest.raises(MessageError, match="the job has 35 tasks: allowed are at most 34"):
        dispatcher(FakeS3(SHARDS), FakeSqs()).dispatch(JOB)


def test_a_datasets_listing_is_read_page_by_page() -> None:
    sqs = FakeSqs()
    shards = {f"datasets/d/{number:05}": b"x" for number in range(2345)}
    assert dispatcher(FakeS3(shards), sqs).dispatch(Job(job_id="j", dataset="datasets/d/", shards_per_task=7)) == 335
    assert sum(len(json.loads(body)["shards"]) for body in sqs.bodies) == 2345


def test_a_new_job_costs_no_request_that_it_does_not_need() -> None:
    """What this invocation has just stored is not fetched again."""
    requests: list[tuple[str, str]] = []
    s3 = FakeS3(SHARDS, lambda operation, key: requests.append((operation, key)))
    dispatcher(s3, FakeSqs()).dispatch(JOB)
    (groups,) = (key for key in s3.objects if key.endswith(".jsonl"))
    assert requests == [
        ("get", layout.plan("j")),
        ("put", groups),
        ("put", layout.plan("j")),
        ("get", layout.cancelled("j")),
        ("put", layout.dispatched("j")),
    ]


def test_a_slow_request_holds_up_none_of_the_others() -> None:
    """All other batches go out while the first is on its way."""
    others = Event()
    sqs = FakeSqs()

    def answer(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if json.loads(entries[0]["MessageBody"])["task"] == 0:
            assert others.wait(30), f"{len(sqs.batches)} of 100 batches were begun"
        elif len(sqs.batches) == 100:
            others.set()
        return []

    sqs.answer = answer
    assert dispatcher(FakeS3(MANY), sqs).dispatch(JOB) == 1000
    assert tasks_in(sqs) == list(range(1000))


def test_peak_memory_does_not_grow_with_the_job() -> None:
    """Or the largest job that fits would be smaller than the 512 MB of a function say. Measured to 1,000,000 shards."""

    def peak(shards: int) -> int:
        s3, sqs = LargeS3(JOB.dataset, shards), CountingSqs()
        tracemalloc.start()
        dispatcher(s3, sqs).dispatch(JOB)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sqs.counted() == (shards // 10, shards)
        return found

    peak(1_000)
    assert peak(14_000) - peak(2_000) < 400_000, "12,000 more keys are 1 MB as Python's strings"


def test_a_dataset_for_whose_keys_there_is_no_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not tried again and again: the disk will not grow."""
    monkeypatch.setattr(plan.tempfile, "TemporaryFile", lambda: io.FileIO("/dev/full", "w+"))
    with pytest.raises(MessageError, match="do not fit into the function's temporary storage: split the dataset"):
        dispatcher(FakeS3(SHARDS), FakeSqs()).dispatch(JOB)


# When the time is up.


def stopping_after(sqs: FakeSqs, batches: int) -> Callable[[], float]:
    """An invocation whose time is up when SQS has been asked to take so many batches."""
    return lambda: 60 if len(sqs.batches) < batches else dispatch.RESERVED_SECONDS - 0.1


def progress(s3: FakeS3) -> int:
    return next((json.loads(s3.objects[key])["sent"] for key in s3.objects if key.endswith("progress.json")), 0)


def test_without_time_left_no_batch_is_begun() -> None:
    """The job comes back; a Lambda that is cut off in the middle would take its whole batch down with it."""
    s3, sqs = FakeS3(SHARDS), FakeSqs()
    with pytest.raises(OutOfTime) as ended:
        dispatcher(s3, sqs, remaining=lambda: 1).dispatch(JOB)
    assert not sqs.bodies
    assert not s3.listings
    assert not ended.value.progress


def test_a_job_goes_on_where_the_invocation_before_stopped() -> None:
    """Every task is sent exactly once, however many invocations it takes."""
    s3, sent = FakeS3(MANY), []
    for _ in range(2):
        sqs = FakeSqs()
        with pytest.raises(OutOfTime) as ended:
            dispatcher(s3, sqs, stopping_after(sqs, 30)).dispatch(JOB)
        sent += tasks_in(sqs)
        assert (ended.value.sent, ended.value.progress) == (len(sqs.bodies), True)
        assert progress(s3) == len(sent) < 1000
    sqs = FakeSqs()
    assert dispatcher(s3, sqs).dispatch(JOB) == 1000 - len(sent)
    assert sent + tasks_in(sqs) == list(range(1000))
    assert s3.listings == 1


def test_a_plan_that_was_made_is_progress_though_no_task_was_sent() -> None:
    s3 = FakeS3(SHARDS)
    late = lambda: 0 if layout.plan("j") in s3.objects else 60  # noqa: E731
    with pytest.raises(OutOfTime) as ended:
        dispatcher(s3, FakeSqs(), late).dispatch(JOB)
    assert (ended.value.sent, ended.value.progress) == (0, True)
    with pytest.raises(OutOfTime) as ended:
        dispatcher(s3, FakeSqs(), Times(60, 0)).dispatch(JOB)
    assert (ended.value.sent, ended.value.progress) == (0, False), "a second time it is not"


class Times:
    """Says one after another of these numbers of seconds, and the last one for ever."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def __call__(self) -> float:
        return self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]


def test_planning_stops_in_time() -> None:
    """Nothing of it is kept; the next invocation begins anew."""
    for times, what in (
        (Times(60, 60, 60, 1), "2,000 objects were seen"),
        (Times(*[60] * 5, 1), "could not be grouped"),
    ):
        s3 = FakeS3({f"datasets/d/{number:05}": b"x" for number in range(3500)})
        with pytest.raises(OutOfTime, match=what) as ended:
            dispatcher(s3, FakeSqs(), times).dispatch(JOB)
        assert not ended.value.progress
        assert not [key for key in s3.objects if key.startswith("runs/")]


def test_progress_stops_at_the_first_batch_that_may_be_missing() -> None:
    """A later one has gone through; what is before progress is never sent again."""

    def answer(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if json.loads(entries[0]["MessageBody"])["task"] == 70:
            eventually(lambda: len(sqs.bodies) >= 300, "later batches are sent")
            raise ConnectionError
        return []

    s3, sqs = FakeS3(MANY), FakeSqs(answer)
    with pytest.raises(ConnectionError):
        dispatcher(s3, sqs).dispatch(JOB)
    assert progress(s3) == 70
    assert layout.dispatched("j") not in s3.objects
    rest = FakeSqs()
    assert dispatcher(s3, rest).dispatch(JOB) == 930
    assert set(tasks_in(sqs)) | set(tasks_in(rest)) == set(range(1000))


def test_a_request_that_hangs_does_not_keep_the_invocation_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tasks are sent again, though it may still go through."""
    monkeypatch.setattr(dispatch, "DRAIN_SECONDS", 0.2)
    ended = Event()

    def answer(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if json.loads(entries[0]["MessageBody"])["task"] == 20:
            assert ended.wait(30), "the invocation waits for it"
        return []

    s3, sqs = FakeS3(MANY), FakeSqs(answer)
    began = time.monotonic()
    with pytest.raises(OutOfTime) as out:
        dispatcher(s3, sqs, lambda: began + dispatch.RESERVED_SECONDS + 0.5 - time.monotonic()).dispatch(JOB)
    ended.set()
    assert out.value.sent == progress(s3) == 20
    rest = FakeSqs()
    assert dispatcher(s3, rest).dispatch(JOB) == 980
    assert tasks_in(rest) == list(range(20, 1000))


def test_when_the_progress_cannot_be_stored_the_job_goes_on_from_the_former_one() -> None:
    s3, sqs = FakeS3(MANY), FakeSqs()
    with pytest.raises(OutOfTime):
        dispatcher(s3, sqs, stopping_after(sqs, 10)).dispatch(JOB)
    former = progress(s3)

    def fault(operation: str, key: str) -> None:
        if operation == "put" and key.endswith("progress.json"):
            raise error(500)

    s3.fault = fault
    lost = FakeSqs()
    with pytest.raises(ClientError):
        dispatcher(s3, lost, stopping_after(lost, 10)).dispatch(JOB)
    assert progress(s3) == former
    s3.fault = lambda operation, key: None
    rest = FakeSqs()
    dispatcher(s3, rest).dispatch(JOB)
    assert tasks_in(sqs) + tasks_in(rest) == list(range(1000))


def test_of_two_invocations_at_one_job_neither_says_that_more_was_sent_than_was() -> None:
    """One has sent more when the other, which began where it did, ends: progress may go back, and nothing is lost."""
    s3, slow = FakeS3(MANY), FakeSqs()
    quick = FakeSqs()

    def meanwhile(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(slow.batches) == 3:
            with pytest.raises(OutOfTime):
                dispatcher(s3, quick, stopping_after(quick, 40)).dispatch(JOB)
        return []

    slow.answer = meanwhile
    with pytest.raises(OutOfTime):
        dispatcher(s3, slow, stopping_after(slow, 5)).dispatch(JOB)
    assert progress(s3) == len(slow.bodies) < len(quick.bodies)
    rest = FakeSqs()
    dispatcher(s3, rest).dispatch(JOB)
    assert tasks_in(slow) + tasks_in(rest) == list(range(1000))


def test_the_progress_of_another_plan_of_the_same_job_does_not_count() -> None:
    """Somebody has deleted the plan, and the job is planned anew, of fewer shards or more."""
    s3, sqs = FakeS3(MANY), FakeSqs()
    with pytest.raises(OutOfTime):
        dispatcher(s3, sqs, stopping_after(sqs, 10)).dispatch(JOB)
    assert progress(s3)
    del s3.objects[layout.plan("j")]
    sqs = FakeSqs()
    with pytest.raises(OutOfTime):
        dispatcher(s3, sqs, lambda: 0 if layout.plan("j") in s3.objects else 60).dispatch(JOB)
    assert dispatcher(s3, sqs).dispatch(JOB) == 1000
    assert tasks_in(sqs) == list(range(1000))


# The entry point, with the same stand-ins.


class Queue(FakeSqs):
    """Also the calls that the entry point makes on the message queue and its dead letter queue."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self.waits: list[int] = []

    @property
    def put_aside(self) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["QueueUrl"] == "dlq"]

    @property
    def handed_on(self) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["QueueUrl"] == "m"]

    def send_message(self, **message: Any) -> None:
        self.messages.append(message)

    def change_message_visibility(self, VisibilityTimeout: int, **message: Any) -> None:
        self.waits.append(VisibilityTimeout)


CONTEXT = context()


def record(body: str, number: int = 0, receives: int = 1, continuations: int = 0) -> dict[str, Any]:
    return {
        "messageId": f"m{number}",
        "receiptHandle": f"r{number}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "ApproximateFirstReceiveTimestamp": str(int(time.time() * 1000)),
        },
        "messageAttributes": {"continuations": {"stringValue": str(continuations), "dataType": "Number"}}
        if continuations
        else {},
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


def test_a_passing_fault_is_tried_again_sooner_at_first_and_later_each_time() -> None:
    """The derived visibility is half an hour: too long for a hiccup, right for an outage."""
    sqs = Queue()
    queue = MessageQueue(sqs=sqs, url="m", dead_letter_url="dlq", timeout=1800)
    for receives in (1, 2, 3, 4):
        queue.retry_soon(record("", receives=receives))
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


def test_a_listing_is_parsed_as_boto3_parses_it(entry: Any, emulator: Emulator) -> None:
    """Only its keys and sizes, many times faster; and whatever its keys look like."""
    usual = emulator.client("s3")
    names = ["1", "a b+c%20d", "x&amp;<ETag>y</ETag>", "é/ü\u3042", "</Key>", "q\"'"]
    usual.create_bucket(Bucket="listings")
    for name in names:
        usual.put_object(Bucket="listings", Key=f"datasets/d/{name}", Body=name.encode())
    quick = emulator.client("s3")
    parsed: list[dict[str, Any]] = []

    def parse(**event: Any) -> None:
        entry.parse_listing(**event)
        parsed.append(event["customized_response_dict"])

    quick.meta.events.register_first("before-parse.s3.ListObjectsV2", parse)
    for size in (1000, 1):
        pages, expected = (
            list(each.get_paginator("list_objects_v2").paginate(Bucket="listings", PaginationConfig={"PageSize": size}))
            for each in (quick, usual)
        )
        found, known = ([each for page in listed for each in page["Contents"]] for listed in (pages, expected))
        assert found == [{"Key": each["Key"], "Size": each["Size"]} for each in known]
        assert {each["Key"] for each in found} == {f"datasets/d/{name}" for name in names}
    assert all(parsed), "otherwise botocore has parsed it"


def test_a_listing_that_looks_otherwise_is_left_to_boto3(entry: Any) -> None:
    """No object is ever overlooked."""
    known = b"<Contents><Key>datasets/d/1</Key><Size>3</Size></Contents>"
    for other in (
        b"<Contents><Size>3</Size><Key>k</Key></Contents>",
        b"<Contents><Key>a&amp;b</Key><Size>3</Size></Contents>",
    ):
        answer, quick = {"body": known + other}, {}
        entry.parse_listing(response_dict=answer, customized_response_dict=quick)
        assert (answer, quick) == ({"body": known + other}, {})


def test_the_functions_client_parses_listings_so(entry: Any) -> None:
    listing = entry.s3.meta.service_model.operation_model("ListObjectsV2")
    answer = {"body": b"<L><Contents><Key>k</Key><ETag>e</ETag><Size>3</Size></Contents></L>", "status_code": 200}
    event = {"response_dict": answer, "operation_model": listing, "customized_response_dict": {}}
    entry.s3.meta.events.emit("before-parse.s3.ListObjectsV2", **event)
    assert event["customized_response_dict"] == {"Contents": [{"Key": "k", "Size": 3}]}


def run(entry: Any, s3: FakeS3, sqs: Queue, records: list[dict[str, Any]], remaining: Callable[[], float]) -> list[str]:
    """One invocation; returns the ids of the messages that are delivered again."""
    entry.s3, entry.sqs = s3, sqs
    answer = entry.handler({"Records": records}, context(remaining))
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


@pytest.fixture
def clients(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3", "sqs"):
        monkeypatch.setattr(entry, name, None)


def handed_on(sqs: Queue) -> list[dict[str, Any]]:
    """What was handed on, as the next invocation gets it: received for the first time."""
    found = []
    for number, each in enumerate(sqs.handed_on):
        continuations = int(each["MessageAttributes"]["continuations"]["StringValue"])
        found.append(record(each["MessageBody"], number, 1, continuations))
    return found


@pytest.mark.usefixtures("clients")
def test_what_is_left_of_a_job_is_handed_on_and_uses_up_no_receive(entry: Any) -> None:
    """The message is deleted (it is not reported as failed), and its copy has been received no time yet."""
    s3, sent, invocations = FakeS3(MANY), [], 0
    records = [record(JOB.to_json(), receives=5)]
    while records:
        sqs = Queue()
        assert run(entry, s3, sqs, records, stopping_after(sqs, 30)) == []
        invocations += 1
        sent += tasks_in(sqs)
        records = handed_on(sqs)
        assert [each["messageAttributes"]["continuations"]["stringValue"] for each in records] in (
            [str(invocations)],
            [],
        )
    assert sent == list(range(1000))
    assert invocations > 1
    assert layout.dispatched("j") in s3.objects


@pytest.mark.usefixtures("clients")
def test_when_the_copy_is_sent_and_the_message_is_not_deleted_both_go_on(entry: Any) -> None:
    """A crash in between; or the answer to the copy's sending is lost, and it is sent twice."""
    s3, sqs = FakeS3(MANY), Queue()
    run(entry, s3, sqs, [record(JOB.to_json())], stopping_after(sqs, 30))
    rest = Queue()
    assert run(entry, s3, rest, [record(JOB.to_json(), 7, receives=2), *handed_on(sqs)], lambda: 60) == []
    assert tasks_in(sqs) + tasks_in(rest) == list(range(1000))


@pytest.mark.usefixtures("clients")
def test_when_the_copy_cannot_be_sent_the_message_is_delivered_again(entry: Any) -> None:
    class Unreachable(Queue):
        def send_message(self, **message: Any) -> None:
            raise error(500)

    s3, sqs = FakeS3(MANY), Unreachable()
    assert run(entry, s3, sqs, [record(JOB.to_json())], stopping_after(sqs, 30)) == ["m0"]
    assert sqs.waits, "soon"
    rest = Queue()
    assert run(entry, s3, rest, [record(JOB.to_json(), receives=2)], lambda: 60) == []
    assert tasks_in(sqs) + tasks_in(rest) == list(range(1000)), "from where it stopped"


@pytest.mark.usefixtures("clients")
def test_a_batch_of_huge_jobs_uses_up_no_receives_of_each_other(entry: Any) -> None:
    """The first takes all the time; the others are handed on untouched, to come back one by one."""
    s3, sqs = FakeS3(MANY), Queue()
    jobs = [Job(job_id=f"j{number}", dataset="datasets/d/").to_json() for number in range(10)]
    records = [record(body, number, receives=4) for number, body in enumerate(jobs)]
    assert run(entry, s3, sqs, records, stopping_after(sqs, 30)) == []
    assert [each["MessageBody"] for each in sqs.handed_on] == jobs
    assert [each["DelaySeconds"] for each in sqs.handed_on] == list(range(10))
    assert not sqs.put_aside
    assert {json.loads(body)["job_id"] for body in sqs.bodies} == {"j0"}
    assert s3.listings == 1


@pytest.mark.usefixtures("clients")
def test_without_the_time_to_hand_a_message_on_it_is_delivered_again(entry: Any) -> None:
    """No request is made: an invocation that is cut off fails its whole batch."""
    sqs = Queue()
    records = [record(JOB.to_json(), number) for number in range(3)]
    assert run(entry, FakeS3(SHARDS), sqs, records, lambda: 0.1) == ["m0", "m1", "m2"]
    assert not sqs.messages
    assert not sqs.waits


@pytest.mark.usefixtures("clients")
def test_a_message_that_has_been_handed_on_too_often_is_put_aside_with_what_to_do(entry: Any) -> None:
    """Before Lambda stops it, without a word: after 16 invocations. Moved back, the job goes on where it stopped."""
    assert MAX_CONTINUATIONS + 1 < 16
    s3, sqs = FakeS3(MANY), Queue()
    handed_on = record(JOB.to_json(), continuations=MAX_CONTINUATIONS)
    assert run(entry, s3, sqs, [handed_on], stopping_after(sqs, 30)) == []
    assert not sqs.handed_on
    reason = sqs.put_aside[0]["MessageAttributes"]["reason"]["StringValue"]
    assert "of its 1,000 tasks have been sent: raise 'function_timeout'" in reason
    rest = Queue()
    run(entry, s3, rest, [record(JOB.to_json())], lambda: 60)
    assert tasks_in(sqs) + tasks_in(rest) == list(range(1000))


@pytest.mark.usefixtures("clients")
def test_a_job_that_gets_nowhere_in_a_whole_invocation_is_refused_in_the_end_with_the_reason(entry: Any) -> None:
    """Before its receives are used up, when it would be given up without one. Handing it on might never end."""
    for receives, again in ((1, ["m0"]), (3, ["m0"]), (4, [])):
        s3, sqs = FakeS3(MANY), Queue()
        # The entry point looks at the clock, then the dispatcher; then the dataset is listed.
        assert run(entry, s3, sqs, [record(JOB.to_json(), receives=receives)], Times(60, 60, 1)) == again
        assert not sqs.handed_on
        assert bool(sqs.put_aside) == (not again)
    reason = sqs.put_aside[0]["MessageAttributes"]["reason"]["StringValue"]
    assert "its dataset could not be listed, of which 0 objects were seen: raise 'function_timeout'" in reason


# In the emulator, as deployed.


def test_a_job_that_takes_several_invocations_reaches_the_queue_whole(tmp_path: Path) -> None:
    """With the shortest timeout that can be set, of which the last two seconds are kept, and a slow SQS."""
    slow = Faults(rate=1, seed=0, log=str(tmp_path / "faults.jsonl"), slow_seconds=0.25, kinds=("slow",))
    tasks = 2_000
    with Emulator(tmp_path / "emulator", slow) as emulator:
        deployed = Deployed(
            emulator,
            deploy(emulator, tmp_path / "stack.json", function_timeout=5, model_training_visibility_timeout=600),
            tmp_path,
        )
        deployed.put_dataset("d", {f"{number:02}": b"x" for number in range(10)})
        deployed.submit(job_id="j", dataset="datasets/d/", grid={"seed": list(range(tasks // 10))})
        eventually(lambda: deployed.keys(layout.dispatched("j")), "all tasks are sent")
        eventually(lambda: not deployed.in_flight("message_queue_url"), "the message is deleted")
        assert deployed.waiting("message_queue_url") == 0
        assert deployed.waiting("message_dead_letter_queue_url") == 0
        found = [json.loads(each["Body"])["task"] for each in deployed.receive_all("model_training_queue_url")]
        # At least once: on a machine that is busy an invocation may be cut off before it says how far it got.
        assert set(found) == set(range(tasks))
        logs = emulator.client("logs")
        (group,) = logs.describe_log_groups()["logGroups"]
        lines = [each["message"] for each in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]]
        assert sum("the next invocation goes on" in line for line in lines) >= 1
        assert [line for line in lines if "left for redelivery" in line] == [], "that would use up a receive"
