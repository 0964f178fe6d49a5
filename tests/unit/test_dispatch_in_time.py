"""An invocation whose time is up: the next one goes on where it stopped."""

import json
import time
from threading import Event
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambda_src import dispatch
from lambda_src.dispatch import OutOfTime
from local.standins import FakeS3, FakeSqs, error
from tests.helpers.dispatching import JOB, MANY, SHARDS, Times, dispatcher, progress, stopping_after, tasks_in
from tests.helpers.waiting import eventually
from trainq.protocol import layout

pytestmark = pytest.mark.usefixtures("no_waiting")


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
