"""No message keeps operators from seeing the others, and what was received is given back whatever happens."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from local.standins import error, fake_stack
from tests.helpers.messages import NESTED
from trainq.cli.dlq import _act_on_each, _line
from trainq.client import dead_letters
from trainq.client.dead_letter import DeadLetter
from trainq.client.dead_letters import DeadLetterQueue
from trainq.worker.task_queue import Delivery

ODD = {
    "nested": NESTED,
    "nested objects": '{"a":' * 3_000,
    "no JSON": "garbage",
    "empty": " ",
    "no object": "[1]",
    "null": "null",
    "a long number": f'{{"task": {"1" * 5_000}}}',
    "a task of many digits": f'{{"task": {"1" * 4_000}}}',
    "a surrogate": '{"job_id": "\\ud800", "task": 0}',
    "wrong types": '{"job_id": ["j"], "task": "0"}',
    "a long name": json.dumps({"job_id": "j\n" * 5_000, "task": 0}),
    "good": json.dumps({"job_id": "j", "task": 1}),
}


# What botocore raises: what SQS answered, and that it did not.
FAULTS = [error(500), ConnectTimeoutError(endpoint_url="x")]


class HidingSqs:
    """A queue of these bodies that hides what is received. `fault` is called with each call's number, and may raise."""

    def __init__(self, bodies: list[str], fault: Callable[[int], None] = lambda number: None) -> None:
        self.bodies, self.fault = dict(enumerate(bodies)), fault
        self.hidden: set[int] = set()
        self.sent: list[dict[str, Any]] = []
        self.calls = 0
        self.refused: list[dict[str, Any]] = []

    def receive_message(self, MaxNumberOfMessages: int, **other: Any) -> dict[str, Any]:
        self._call()
        seen = [number for number in self.bodies if number not in self.hidden][:MaxNumberOfMessages]
        self.hidden.update(seen)
        return {
            "Messages": [
                {"MessageId": f"id-{each}", "ReceiptHandle": str(each), "Body": self.bodies[each]} for each in seen
            ]
        }

    def change_message_visibility_batch(self, Entries: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
        self._call()
        assert 0 < len(Entries) <= 10
        failed = [self.refused.pop() | {"Id": each["Id"]} for each in Entries if self.refused]
        ids = {each["Id"] for each in failed}
        self.hidden -= {int(each["ReceiptHandle"]) for each in Entries if each["Id"] not in ids}
        return {"Failed": failed}

    def send_message(self, **arguments: Any) -> None:
        self._call()
        self.sent.append(arguments)

    def delete_message(self, QueueUrl: str, ReceiptHandle: str) -> None:
        self._call()
        del self.bodies[int(ReceiptHandle)]
        self.hidden.discard(int(ReceiptHandle))

    def _call(self) -> None:
        self.calls += 1
        self.fault(self.calls)


def queue_of(sqs: HidingSqs) -> DeadLetterQueue:
    return DeadLetterQueue(fake_stack(None, sqs), "model-training")


def look(queue: DeadLetterQueue) -> None:
    queue.look()


def drop_odd(queue: DeadLetterQueue) -> None:
    _act_on_each(queue, lambda letter: int(letter.id[3:]) % 2 == 1, queue.drop, "dropped", False)


def move_all(queue: DeadLetterQueue) -> None:
    _act_on_each(queue, lambda letter: True, queue.move_back, "moved back", False)


COMMANDS = pytest.mark.parametrize("command", [look, drop_odd, move_all])


def faulty(command: Callable[[DeadLetterQueue], None], fault: Callable[[int], None], failure: type[Any]) -> HidingSqs:
    """The queue of 25 messages after the command, with this fault: they come with three receives."""
    sqs = HidingSqs([*ODD.values(), *["{}"] * (25 - len(ODD))], fault)
    with contextlib.suppress(failure):
        command(queue_of(sqs))
    return sqs


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@COMMANDS
def test_nothing_stays_hidden_whichever_call_fails(command: Callable[[DeadLetterQueue], None], fault: Any) -> None:
    """Each call in turn, once."""
    calls = faulty(command, lambda number: None, type(fault)).calls
    assert calls >= 7
    for failing in range(1, calls + 1):

        def fail(number: int, failing: int = failing) -> None:
            if number == failing:
                raise fault

        sqs = faulty(command, fail, type(fault))
        assert not sqs.hidden, f"after a fault in call {failing}"
        if command is move_all:
            assert len(sqs.sent) >= 25 - len(sqs.bodies), "nothing is lost"


@COMMANDS
def test_ctrl_c_lets_a_request_come_to_its_end(command: Callable[[DeadLetterQueue], None]) -> None:
    """During each call in turn: what SQS hands out to a request that is cut off would be hidden for two minutes."""
    calls = faulty(command, lambda number: None, KeyboardInterrupt).calls
    for interrupted in range(1, calls + 1):

        def interrupt(number: int, interrupted: int = interrupted) -> None:
            if number == interrupted:
                os.kill(os.getpid(), signal.SIGINT)

        sqs = faulty(command, interrupt, KeyboardInterrupt)
        assert not sqs.hidden, f"after Ctrl-C in call {interrupted}"
        assert command is not look or len(sqs.bodies) == 25


@pytest.mark.parametrize("end", [BrokenPipeError, SystemExit, KeyboardInterrupt, ValueError])
def test_what_was_received_is_given_back_whatever_is_done_with_it(end: type[BaseException]) -> None:
    """A pipe that is broken where the line is printed, for instance."""
    sqs = HidingSqs(["{}"] * 25)
    queue = queue_of(sqs)
    with contextlib.suppress(end), queue.held() as letters:
        queue.drop(letters[0])
        raise end
    assert len(sqs.bodies) == 24
    assert not sqs.hidden


def test_a_selection_that_fails_gives_back_too() -> None:
    sqs = HidingSqs(["{}"])
    with pytest.raises(ZeroDivisionError), queue_of(sqs).held(lambda letter: 1 // 0 > 0):
        pass
    assert not sqs.hidden


def test_only_what_was_asked_for_is_hidden_while_it_is_handled() -> None:
    sqs = HidingSqs(["{}"] * 25)
    with queue_of(sqs).held(lambda letter: letter.id == "id-7") as letters:
        assert sqs.hidden == {7}
    assert [each.id for each in letters] == ["id-7"]
    assert not sqs.hidden


def test_a_message_that_is_not_given_back_is_tried_again_then_said(caplog: pytest.LogCaptureFixture) -> None:
    """SQS answers a batch with 200 though entries of it failed."""
    sqs = HidingSqs(["{}"] * 3)
    sqs.refused = [{"Code": "InternalError", "Message": "try again", "SenderFault": False}]
    look(queue_of(sqs))
    assert not sqs.hidden
    assert not caplog.messages
    sqs.refused = [{"Code": "InternalError", "Message": "try again", "SenderFault": False}] * 100
    look(queue_of(sqs))
    assert caplog.messages == [
        "model-training: 3 messages could not be given back, and are hidden for up to 120 s: InternalError try again"
    ]


def test_a_message_that_is_visible_already_need_not_be_given_back(caplog: pytest.LogCaptureFixture) -> None:
    sqs = HidingSqs(["{}"] * 3)
    sqs.refused = [{"Code": "AWS.SimpleQueueService.MessageNotInflight", "SenderFault": True}] * 3
    look(queue_of(sqs))
    assert (sqs.calls, caplog.messages) == (3, [])


def letter(body: str = "{}", **message: Any) -> DeadLetter:
    return DeadLetter.of("message", {"MessageId": "id", "ReceiptHandle": "handle", "Body": body} | message)


@pytest.mark.parametrize("name", ODD)
def test_every_body_is_shown_in_a_line(name: str) -> None:
    shown = letter(ODD[name])
    line = _line(shown)
    assert line.isprintable()
    assert len(line) < 400
    line.encode()
    assert json.loads(json.dumps(vars(shown)))["body"] == ODD[name]
    assert (shown.unreadable is None) == (
        name in ("good", "wrong types", "a long name", "a surrogate", "a task of many digits")
    )


def test_a_body_that_cannot_be_read_is_said_to_be_so() -> None:
    line = _line(letter(NESTED))
    assert "its body cannot be read as JSON: it is nested too deeply; it begins with [[[[[" in line
    assert "its body cannot be read as JSON: Expecting value" in _line(letter("\x1b[2Jgarbage"))
    assert "its body is no JSON object; it begins with [1]" in _line(letter("[1]"))


@pytest.mark.parametrize("sent", [None, "", "x", "-1", "1" * 5_000, "²"])
def test_a_message_without_a_time_has_no_age(sent: str | None) -> None:
    attributes = {} if sent is None else {"SentTimestamp": sent}
    assert "  of unknown age  " in _line(letter(Attributes=attributes))
    assert " old  " in _line(letter(Attributes={"SentTimestamp": "1700000000000"}))


def test_a_reason_that_is_no_text_is_shown_as_such() -> None:
    reason = {"DataType": "Binary", "BinaryValue": b"\x00\xff" * 1_000}
    line = _line(letter(MessageAttributes={"reason": reason}))
    assert "its reason is no text: b'\\x00\\xff" in line
    assert len(line) < 600
    assert "moved by SQS" in _line(letter(MessageAttributes={}))
    text = {"DataType": "String", "StringValue": "so\x1b[2J"}
    assert _line(letter(MessageAttributes={"reason": text})).endswith(": so\N{REPLACEMENT CHARACTER}[2J")


def test_only_a_tasks_own_job_is_its_group() -> None:
    """SQS refuses a group of more than 128 characters, or with others than letters, digits and punctuation."""
    sqs = HidingSqs([ODD["good"], ODD["a long name"], ODD["a surrogate"], NESTED, '{"job_id": "j"}'])
    move_all(queue_of(sqs))
    assert [each.get("MessageGroupId") for each in sqs.sent] == ["j", None, None, None, None]
    assert not sqs.bodies


@pytest.mark.parametrize("text", ["1" * 5_000, "-1", "x", ""])
def test_an_odd_count_on_a_task_hides_no_others(text: str) -> None:
    """A worker would end, with ten received messages hidden for a visibility timeout; the next one, too."""
    attributes = {"attempts": {"DataType": "String", "StringValue": text}}
    message = {"MessageId": "id", "ReceiptHandle": "handle", "Body": "{}", "MessageAttributes": attributes}
    assert Delivery.of(message | {"Attributes": {"ApproximateReceiveCount": "1"}}, 0.0).attempt == 1


def test_ctrl_c_waits_longer_than_a_receive_polls() -> None:
    assert dead_letters.CTRL_C_SECONDS > 2
