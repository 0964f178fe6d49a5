"""Jobs that take several invocations: a message is handed on as a copy, and uses up no receive."""

import json
from typing import Any

import pytest

from lambda_src.message_queue import MAX_CONTINUATIONS, carried
from local.standins import FakeS3, error
from tests.helpers.dispatching import JOB, MANY, SHARDS, Queue, Times, handed_on, record, run, stopping_after, tasks_in
from trainq.protocol import layout
from trainq.protocol.messages import Job

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def clients(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3", "sqs"):
        monkeypatch.setattr(entry, name, None)


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
    assert not sqs.dead_lettered
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
def test_a_message_that_has_been_handed_on_too_often_is_dead_lettered_with_what_to_do(entry: Any) -> None:
    """Before Lambda stops it, without a word: after 16 invocations. Moved back, the job goes on where it stopped."""
    assert MAX_CONTINUATIONS + 1 < 16
    s3, sqs = FakeS3(MANY), Queue()
    handed_on = record(JOB.to_json(), continuations=MAX_CONTINUATIONS)
    assert run(entry, s3, sqs, [handed_on], stopping_after(sqs, 30)) == []
    assert not sqs.handed_on
    reason = sqs.dead_lettered[0]["MessageAttributes"]["reason"]["StringValue"]
    assert "of its 1,000 tasks have been sent: raise 'function_timeout'" in reason
    rest = Queue()
    run(entry, s3, rest, [record(JOB.to_json())], lambda: 60)
    assert tasks_in(sqs) + tasks_in(rest) == list(range(1000))


@pytest.mark.parametrize("text", ["-1000", "9" * 5_000, "1e3", "²", ""])
def test_what_is_no_count_lifts_no_limit_and_fails_no_other_message(text: str) -> None:
    odd = record(JOB.to_json()) | {"messageAttributes": {"continuations": {"stringValue": text}}}
    assert carried(odd, "continuations") == 0


@pytest.mark.usefixtures("clients")
def test_a_job_that_gets_nowhere_in_a_whole_invocation_is_refused_in_the_end_with_the_reason(entry: Any) -> None:
    """Before its receives are used up, when it would be given up without one. Handing it on might never end."""
    for receives, again in ((1, ["m0"]), (3, ["m0"]), (4, [])):
        s3, sqs = FakeS3(MANY), Queue()
        # The entry point looks at the clock, then the dispatcher; then the dataset is listed.
        assert run(entry, s3, sqs, [record(JOB.to_json(), receives=receives)], Times(60, 60, 1)) == again
        assert not sqs.handed_on
        assert bool(sqs.dead_lettered) == (not again)
    reason = sqs.dead_lettered[0]["MessageAttributes"]["reason"]["StringValue"]
    assert "its dataset could not be listed, of which 0 objects were seen: raise 'function_timeout'" in reason
