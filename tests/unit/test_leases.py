"""Leases alone, with an SQS that fails."""

import threading
import time
from typing import Any

import pytest

from local.standins import error
from tests.helpers.counting import begun
from tests.helpers.waiting import eventually
from trainq.worker import leases as lease_module
from trainq.worker.leases import Leases, now
from trainq.worker.outcome import Outcome


class Heartbeats:
    """Answers what it is told to: raises an error, or refuses the messages that are named, with a code."""

    def __init__(self, *answers: Exception | dict[str, str] | None) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, int]] = []

    @property
    def calls(self) -> list[int]:
        """The timeouts, where there is but one message."""
        return [timeout for request in self.requests for timeout in request.values()]

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        self.requests.append({each["ReceiptHandle"]: each["VisibilityTimeout"] for each in Entries})
        assert len(Entries) <= 10
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        failed = (
            [
                {"Id": each["Id"], "Code": answer[each["ReceiptHandle"]]}
                for each in Entries
                if each["ReceiptHandle"] in answer
            ]
            if answer
            else []
        )
        return {"Failed": failed}


@pytest.fixture
def leases(request: pytest.FixtureRequest):
    """Starts keepers of leases that do not outlive the test."""

    def start(heartbeats: Heartbeats, timeout: int = 1) -> Leases:
        made = Leases(heartbeats, "q", timeout)
        request.addfinalizer(made.close)
        return made

    return start


def test_a_lost_heartbeat_is_made_up_for(leases: Any) -> None:
    heartbeats = Heartbeats(TimeoutError(), None)
    held, said = begun(leases(heartbeats))
    eventually(lambda: len(heartbeats.calls) >= 3, "the heartbeat goes on", seconds=5)
    assert not held.lost
    assert not said


def test_heartbeats_that_all_fail_lose_the_lease_when_the_timeout_has_passed(leases: Any) -> None:
    held, said = begun(leases(Heartbeats(*[ConnectionError()] * 100)))
    eventually(lambda: said == [Outcome.LEASE_LOST], "the loss is noticed", seconds=5)
    assert now() >= held.expires


def test_a_message_that_sqs_says_is_anothers_is_lost_at_once(leases: Any) -> None:
    held, said = begun(leases(Heartbeats(error(400, "AWS.SimpleQueueService.MessageNotInflight")), timeout=3))
    eventually(lambda: said == [Outcome.LEASE_LOST], "the loss is noticed", seconds=5)
    assert now() < held.expires


def test_the_heartbeats_of_all_messages_go_out_in_one_request(leases: Any) -> None:
    """Also when they were received at somewhat different times: those that are nearly due go with the others."""
    heartbeats = Heartbeats()
    made = leases(heartbeats)
    for number in range(10):
        made.hold(f"r{number}", received=now() - number / 100, max_hold=1e6)
    eventually(lambda: len(heartbeats.requests) >= 2, "heartbeats go on", seconds=5)
    assert [set(each) for each in heartbeats.requests] == [{f"r{number}" for number in range(10)}] * 2


def test_more_than_ten_messages_are_kept_too(leases: Any) -> None:
    heartbeats = Heartbeats()
    made = leases(heartbeats)
    received = now()
    held = [made.hold(f"r{number}", received=received, max_hold=1e6) for number in range(13)]
    eventually(lambda: all(each.expires > received + 1 for each in held), "all are extended", seconds=5)
    assert [len(each) for each in heartbeats.requests[:2]] == [10, 3]


def test_a_message_that_is_refused_in_a_batch_is_lost_alone(leases: Any) -> None:
    """And one that SQS could not see to just now is tried again soon."""
    heartbeats = Heartbeats({"lost": "ReceiptHandleIsInvalid", "later": "InternalError"})
    made = leases(heartbeats, timeout=3)
    held = {handle: begun(made, handle) for handle in ("kept", "lost", "later")}
    eventually(lambda: len(heartbeats.requests) >= 2, "a second request", seconds=5)
    assert {handle: lease.lost for handle, (lease, _) in held.items()} == {"kept": False, "lost": True, "later": False}
    assert [said for _, said in held.values()] == [[], [Outcome.LEASE_LOST], []]
    assert set(heartbeats.requests[1]) == {"later"}
    assert held["later"][0].expires > held["later"][0].received + 3


def test_what_is_done_with_within_a_third_of_the_timeout_costs_no_heartbeat(leases: Any) -> None:
    """One after the other for several timeouts, always one in flight."""
    heartbeats = Heartbeats()
    made = leases(heartbeats)
    until = now() + 2.5
    while now() < until:
        held, _ = begun(made)
        time.sleep(0.1)
        held.release()
    assert not heartbeats.requests


def test_no_heartbeat_asks_for_more_than_twelve_hours_from_the_receive(
    leases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS refuses it: 'Total VisibilityTimeout for the message is beyond the limit'. Here they are 3.5 seconds."""
    assert lease_module.MAX_HIDDEN_SECONDS <= 12 * 3600
    monkeypatch.setattr(lease_module, "MAX_HIDDEN_SECONDS", 3.5)
    heartbeats = Heartbeats()
    held, said = begun(leases(heartbeats, timeout=3))
    eventually(lambda: heartbeats.calls, "a heartbeat comes", seconds=5)
    assert heartbeats.calls[0] == 2, "a second after the receive there are two whole ones left"
    eventually(lambda: said == [Outcome.LEASE_LOST], "the end of what SQS allows is noticed", seconds=5)
    assert held.lost


def test_the_wall_is_said_once_and_heartbeats_go_on_while_the_task_is_wound_up(leases: Any) -> None:
    heartbeats = Heartbeats()
    _, said = begun(leases(heartbeats), max_hold=0.2)
    eventually(lambda: len(heartbeats.calls) >= 3, "heartbeats go on", seconds=5)
    assert said == [Outcome.HOLD_LIMIT]


def test_no_heartbeat_comes_after_the_lease_has_ended(leases: Any) -> None:
    """It would hide a message again that was given back; one that is under way comes to its end first."""
    answering, answered = threading.Event(), threading.Event()

    class Slow(Heartbeats):
        def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
            answering.set()
            time.sleep(0.3)
            answered.set()
            return super().change_message_visibility_batch(QueueUrl, Entries)

    heartbeats = Slow()
    held, _ = begun(leases(heartbeats))
    assert answering.wait(5), "a heartbeat comes"
    held.release()
    assert answered.is_set()
    before = len(heartbeats.calls)
    time.sleep(1)
    assert len(heartbeats.calls) == before


def test_what_is_due_before_the_work_begins_is_said_when_it_does(leases: Any) -> None:
    """A prefetched task may have waited past its wall."""
    said: list[Outcome] = []
    held = leases(Heartbeats()).hold("r", received=now(), max_hold=0.0)
    eventually(lambda: held._ended, "the limit is reached", seconds=5)
    held.attach(lambda outcome, reason: said.append(outcome))
    assert said == [Outcome.HOLD_LIMIT]
