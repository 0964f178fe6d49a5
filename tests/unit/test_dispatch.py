"""A job's tasks on their way to the queue: what happens when S3 and SQS fail in the middle."""

import io
import json
import tracemalloc
from threading import Event
from typing import Any

import pytest

from lambda_src import plan
from lambda_src.dispatch import OutOfTime
from local.standins import CountingSqs, FakeS3, FakeSqs, LargeS3
from tests.helpers.dispatching import JOB, MANY, SHARDS, dispatcher, stopping_after, tasks_in
from trainq.protocol import layout
from trainq.protocol.messages import Job, MessageError

pytestmark = pytest.mark.usefixtures("no_waiting")

# 800 characters: a segment of a key has 255 bytes at most.
FOLDERS = ("x" * 199 + "/") * 4


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
    s3, sqs = FakeS3({f"datasets/d/{FOLDERS}{number:0100}": b"x" for number in range(1500)}), FakeSqs()
    with pytest.raises(MessageError, match="the largest task of this job is"):
        dispatcher(s3, sqs).dispatch(Job(job_id="j", dataset="datasets/d/", shards_per_task="all"))
    assert not sqs.bodies
    assert not [key for key in s3.objects if key.startswith("runs/")]


def test_the_task_whose_size_is_checked_is_the_one_with_the_largest_message() -> None:
    """Not the one with the longest list of keys as a person would write it, with a space after each comma."""
    many = {f"datasets/d/a{number:05}": b"x" for number in range(40_000)}
    few = {f"datasets/d/b{FOLDERS}{number:0188}": b"x" for number in range(830)}
    asked = Job(job_id="j", dataset="datasets/d/", bytes_per_task=40_000, parameters={"text": "x" * 210_000})
    sqs = FakeSqs()
    assert dispatcher(FakeS3(many), sqs).dispatch(asked) == 1
    assert dispatcher(FakeS3(few), sqs).dispatch(Job(job_id="j", dataset="datasets/d/", bytes_per_task=40_000)) == 1
    with pytest.raises(MessageError, match="the largest task of this job is 1,04"):
        dispatcher(FakeS3(many | few), sqs).dispatch(asked)


def test_a_job_with_too_many_tasks_is_refused_and_costs_no_message() -> None:
    s3, sqs = FakeS3(SHARDS), FakeSqs()
    assert dispatcher(FakeS3(SHARDS), FakeSqs(), max_tasks=35).dispatch(JOB) == 35
    with pytest.raises(MessageError, match=r"35 tasks: allowed are at most 34 \(the stack's max_tasks\)"):
        dispatcher(s3, sqs, max_tasks=34).dispatch(JOB)
    assert not sqs.bodies
    assert s3.objects.keys() == SHARDS.keys()


def test_a_job_that_was_planned_goes_on_under_a_lower_limit() -> None:
    """Or the tasks that have been sent would belong to a job that was refused."""
    s3, sqs = FakeS3(SHARDS), FakeSqs()
    with pytest.raises(OutOfTime):
        dispatcher(s3, sqs, stopping_after(sqs, 1)).dispatch(JOB)
    dispatcher(s3, sqs, max_tasks=34).dispatch(JOB)
    assert set(tasks_in(sqs)) == set(range(35))


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
