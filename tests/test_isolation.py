"""Invocations that are cut off: what is to blame is set apart, and costs its neighbours no more than one receive.

With a stand-in for SQS and for Lambda's poller: a queue with receives, delays and a visibility timeout, batches of ten,
and a clock of its own. An invocation that is cut off answers for none of its batch, as on AWS.
"""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import training_lambda_archive
from lambda_src import message_queue
from lambda_src.isolation import set_apart
from lambda_src.message_queue import MAX_CONTINUATIONS, MAX_DETOURS, MessageQueue
from local.deploy import deploy
from local.emulator import Emulator
from local.provider import zipped
from local.standins import FakeS3, FakeSqs, context, error
from tests.conftest import Deployed, eventually
from trainq.protocol import layout
from trainq.protocol.messages import Job

TIMEOUT = 1800
# The lowest that can be set.
MAX_RECEIVES = 5
HOUR = 3600


class CutOff(BaseException):
    """Lambda ends the process."""


@dataclass
class Message:
    body: str
    attributes: dict[str, Any]
    visible: float
    id: str
    receives: int = 0
    first: float = 0
    handle: str = ""

    @property
    def job(self) -> str:
        return json.loads(self.body)["job_id"]

    def record(self) -> dict[str, Any]:
        return {
            "messageId": self.id,
            "receiptHandle": self.handle,
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": str(self.receives),
                "ApproximateFirstReceiveTimestamp": str(int(self.first * 1000)),
            },
            "messageAttributes": {
                name: {"stringValue": each["StringValue"], "dataType": each["DataType"]}
                for name, each in self.attributes.items()
            },
        }


@dataclass
class World(FakeSqs):
    """The message queue, its dead letter queue, and Lambda's poller, which looks once a second."""

    entry: Any
    s3: FakeS3
    order: random.Random | None = None
    now: float = 1_000_000
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    received: Counter[str] = field(default_factory=Counter)
    cut_off: int = 0
    # How often an invocation that was cut off had a message of this job.
    lost: Counter[str] = field(default_factory=Counter)
    # Whether SQS takes messages onto the queue.
    takes: Callable[[], bool] = lambda: True
    on_invocation: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        super().__init__()
        self._ids = map(str, itertools.count())

    def submit(self, *jobs: str) -> None:
        for job in jobs:
            self.send_message("m", Job(job_id=job, dataset="datasets/d/").to_json(), {})

    def send_message(
        self, QueueUrl: str, MessageBody: str, MessageAttributes: dict[str, Any], DelaySeconds: int = 0
    ) -> None:
        assert 0 <= DelaySeconds <= 900
        if self.messages and not self.takes():
            raise error(503)
        there = {"m": self.messages, "dlq": self.dead}[QueueUrl]
        there.append(Message(MessageBody, MessageAttributes, self.now + DelaySeconds, next(self._ids)))

    def change_message_visibility(self, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        for each in self.messages:
            if each.handle == ReceiptHandle:
                each.visible = self.now + VisibilityTimeout

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> None:
        self._delete({each["ReceiptHandle"] for each in Entries})

    def _delete(self, handles: set[str]) -> None:
        self.messages = [each for each in self.messages if each.handle not in handles]

    def _receive(self) -> list[Message]:
        there = [each for each in self.messages if each.visible <= self.now]
        if self.order:
            self.order.shuffle(there)
        for each in there[:10]:
            if each.receives == MAX_RECEIVES:
                self.dead.append(each)
                self.messages.remove(each)
        batch = [each for each in there[:10] if each.receives < MAX_RECEIVES]
        for each in batch:
            each.receives += 1
            each.first = each.first or self.now
            each.handle = next(self._ids)
            each.visible = self.now + TIMEOUT
            self.received[each.job] += 1
        return batch

    def run(self, seconds: float) -> None:
        """What happens in so many seconds."""
        end = self.now + seconds
        while self.messages and (following := min(each.visible for each in self.messages)) <= end:
            self.now = max(self.now + 1, following)
            if batch := self._receive():
                self._invoke(batch)
        self.now = end

    def _invoke(self, batch: list[Message]) -> None:
        self.entry.s3, self.entry.sqs = self.s3, self
        self.on_invocation()
        try:
            answer = self.entry.handler({"Records": [each.record() for each in batch]}, context())
        except CutOff:
            self.cut_off += 1
            self.lost.update(each.job for each in batch if each in self.messages)
            return
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        self._delete({each.handle for each in batch if each.id not in failed})

    def dispatched(self, job: str) -> bool:
        return layout.dispatched(job) in self.s3.objects

    def reasons(self) -> dict[str, str]:
        """Of what is on the dead letter queue, by job; empty where SQS has moved it."""
        return {each.job: each.attributes.get("reason", {}).get("StringValue", "") for each in self.dead}


@pytest.fixture
def world(entry: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Makes worlds, each with a clock that the function goes by."""
    for name in ("s3", "sqs"):
        monkeypatch.setattr(entry, name, None)

    def make(fault: Callable[[str], None] = poison, order: random.Random | None = None) -> World:
        s3 = FakeS3({"datasets/d/1": b"x"}, lambda operation, key: fault(key))
        made = World(entry, s3, order)
        monkeypatch.setattr(message_queue, "time", SimpleNamespace(time=lambda: made.now), raising=False)
        return made

    return make


def poison(key: str) -> None:
    """Whatever is done for such a job ends the process."""
    if "/poison" in key:
        raise CutOff


def jobs(poisons: tuple[int, ...], count: int = 10) -> list[str]:
    return [f"poison-{number}" if number in poisons else f"good-{number}" for number in range(count)]


@pytest.mark.parametrize("poisons", [(0,), (4,), (9,), (0, 1), (0, 9), (3, 7), (0, 2, 4, 6, 8), tuple(range(1, 10))])
def test_whatever_cuts_invocations_off_its_neighbours_are_dispatched(
    world: Callable[..., World], poisons: tuple[int, ...]
) -> None:
    """In the order in which they were sent, time and again: as it is worst for those behind it."""
    there = world()
    there.submit(*jobs(poisons))
    there.run(1)
    assert there.cut_off == 1, "the first invocation has them all"
    there.run(TIMEOUT + TIMEOUT // 2)
    good = [job for job in jobs(poisons) if job.startswith("good")]
    assert all(there.dispatched(job) for job in good), "in the time of one redelivery"
    there.run(24 * HOUR)
    assert not there.messages
    assert max(there.lost[job] for job in good) == 1
    reasons = there.reasons()
    assert sorted(reasons) == sorted(set(jobs(poisons)) - set(good))
    assert len(there.dead) == len(poisons), "each once"
    for reason in reasons.values():
        assert "received 5 times, and no invocation that took it came to an end" in reason


@given(
    st.sets(st.integers(0, 29), min_size=1, max_size=8),
    st.lists(st.sampled_from([0, 1, 300, TIMEOUT, TIMEOUT + 300]), min_size=30, max_size=30),
    st.integers(0, 100),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_poisons_come_and_meet_no_good_job_is_lost(
    world: Callable[..., World], poisons: set[int], times: list[int], seed: int
) -> None:
    """Thirty jobs, many at the same time, in batches of any order."""
    there = world(order=random.Random(seed))
    for job, before, at in zip(jobs(tuple(poisons), 30), [0, *sorted(times)], sorted(times), strict=False):
        there.run(at - before)
        there.submit(job)
    there.run(48 * HOUR)
    assert not there.messages
    good = [job for job in jobs(tuple(poisons), 30) if job.startswith("good")]
    assert [job for job in good if not there.dispatched(job)] == []
    assert [job for job in good if there.lost[job] > 1] == []
    assert {each.job for each in there.dead} == set(jobs(tuple(poisons), 30)) - set(good)


def test_jobs_that_are_too_much_together_are_handled_one_by_one(world: Callable[..., World]) -> None:
    """Each is fine; what they leave in memory is not."""
    touched: set[str] = set()

    def fault(key: str) -> None:
        touched.add(key.split("/")[1])
        if len(touched) > 3:
            raise CutOff

    there = world(fault)
    there.on_invocation = touched.clear
    there.submit(*jobs(()))
    there.run(24 * HOUR)
    assert all(there.dispatched(job) for job in jobs(()))
    assert not there.dead
    assert there.cut_off == 1


@pytest.mark.parametrize("minutes", [0.5, 4, 20, 45])
def test_a_fault_that_passes_is_outlasted_and_nobody_is_blamed(world: Callable[..., World], minutes: float) -> None:
    """S3 is out of reach: the function answers for its messages, which come back when it says so."""
    there = world()
    until = there.now + 60 * minutes

    def fault(operation: str, key: str) -> None:
        if there.now < until:
            raise error(503)

    there.s3.fault = fault
    there.submit(*jobs(()))
    there.run(24 * HOUR)
    assert all(there.dispatched(job) for job in jobs(()))
    assert not there.dead


def test_a_fault_that_does_not_pass_is_not_taken_for_one_that_cuts_off(world: Callable[..., World]) -> None:
    """SQS moves the messages, after five receives each; nobody says of them that they end invocations."""
    there = world()

    def fault(operation: str, key: str) -> None:
        raise error(503)

    there.s3.fault = fault
    there.submit(*jobs(()))
    there.run(48 * HOUR)
    assert set(there.reasons().values()) == {""}
    assert all(there.received[job] >= MAX_RECEIVES for job in jobs(()))


def test_when_sqs_takes_no_copies_nothing_is_lost_once_it_does(world: Callable[..., World]) -> None:
    """What cannot be handed on is left for redelivery before the suspect is touched."""
    there = world()
    there.submit(*jobs((0,)))
    there.run(1)
    until = there.now + TIMEOUT + 120
    there.takes = lambda: there.now > until
    there.run(48 * HOUR)
    good = [job for job in jobs((0,)) if job.startswith("good")]
    assert all(there.dispatched(job) for job in good)
    assert [each.job for each in there.dead] == ["poison-0"]


# One invocation.


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
    assert set_apart(queue, records, lambda: 60) == (records, [])
    assert queue.sqs.calls == []


def test_the_neighbours_are_on_the_queue_and_deleted_before_a_suspect_is_touched(queue: MessageQueue) -> None:
    records = [record(0), record(1, receives=2, ago=TIMEOUT), record(2), record(3, suspect=1), record(4)]
    assert set_apart(queue, records, lambda: 60) == ([records[1]], [])
    assert [name for name, _ in queue.sqs.calls] == ["send"] * 4 + ["delete"]
    assert [each["MessageBody"] for each in queue.sqs.sent] == ["0", "2", "3", "4"]
    assert queue.sqs.calls[-1][1] == ["r0", "r2", "r3", "r4"]
    assert ["suspect" in each["MessageAttributes"] for each in queue.sqs.sent] == [False, False, True, False]


def test_other_suspects_come_back_one_by_one_and_the_rest_at_once(queue: MessageQueue) -> None:
    records = [record(number, receives=2, ago=TIMEOUT) for number in range(10)] + [record(10)]
    set_apart(queue, records, lambda: 60)
    delays = [each["DelaySeconds"] for each in queue.sqs.sent]
    assert delays.pop() == 0
    assert [delay // 100 for delay in sorted(delays)] == list(range(9))


def test_a_message_keeps_its_continuations_when_it_makes_way(queue: MessageQueue) -> None:
    set_apart(queue, [record(0, suspect=1, receives=2, ago=60), record(1, continuations=11)], lambda: 60)
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
    assert set_apart(queue, records, lambda: 60) == ([records[1]], [records[0]])
    assert queue.sqs.calls == []


def test_of_several_suspects_the_one_that_can_make_way_no_more_is_handled(queue: MessageQueue) -> None:
    records = [record(0, suspect=1, receives=3), record(1, suspect=1, detours=MAX_DETOURS), record(2, suspect=1)]
    assert set_apart(queue, records, lambda: 60)[0] == [records[1]]
    assert set_apart(queue, [records[2], records[0]], lambda: 60)[0] == [records[0]]


def test_making_way_leaves_half_of_the_time_to_the_suspect(queue: MessageQueue) -> None:
    """A batch may have 10,000 messages."""
    records = [record(0, suspect=1), *(record(number) for number in range(1, 100))]
    now, later = set_apart(queue, records, lambda: 60 - len(queue.sqs.sent))
    assert now == [records[0]]
    assert len(queue.sqs.sent) == 30
    assert later == records[31:]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 10_000, None])
def test_what_somebody_else_has_put_into_a_count_is_none(queue: MessageQueue, text: str | None) -> None:
    strange = record(0) | {"messageAttributes": {"suspect": {"stringValue": text} if text is not None else {}}}
    assert not queue.is_suspect(strange)


# In the emulator, as deployed but for one file.

DEADLY = """
import os
from lambda_src import handler as function
from lambda_src.dispatch import Dispatcher

dispatch = Dispatcher.dispatch

def dispatch_or_die(self, job):
    if job.job_id == "poison":
        os._exit(1)
    return dispatch(self, job)

Dispatcher.dispatch = dispatch_or_die
handler = function.handler
"""


def test_a_job_at_which_the_functions_process_dies_is_set_apart(emulator: Emulator, tmp_path: Path) -> None:
    """With a visibility timeout of seconds, or it would take hours."""
    deployed = Deployed(emulator, deploy(emulator, tmp_path / "stack.json"), tmp_path)
    deployed.put_dataset("d", {"1": b"x"})
    (tmp_path / "deadly.py").write_text(DEADLY)
    files = {name: str(path) for name, path in training_lambda_archive.files().items()}
    function, functions = deployed.outputs["message_processor_name"], emulator.client("lambda")
    functions.update_function_code(
        FunctionName=function, ZipFile=zipped(files | {"lambda_src/deadly.py": str(tmp_path / "deadly.py")})
    )

    def set_visibility_timeout(seconds: int) -> None:
        known = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        known["MESSAGE_QUEUE_VISIBILITY_TIMEOUT"] = str(seconds)
        functions.update_function_configuration(
            FunctionName=function, Handler="lambda_src.deadly.handler", Environment={"Variables": known}
        )
        deployed.stack.sqs.set_queue_attributes(
            QueueUrl=deployed.outputs["message_queue_url"], Attributes={"VisibilityTimeout": str(seconds)}
        )

    set_visibility_timeout(8)
    (mapping,) = functions.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    good = [f"good-{number}" for number in range(9)]
    for name in ["poison", *good]:
        deployed.submit(job_id=name, dataset="datasets/d/")
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    eventually(lambda: all(deployed.keys(layout.dispatched(name)) for name in good), "the good jobs are dispatched")
    # What is left dies again and again, and quickly.
    set_visibility_timeout(2)
    eventually(lambda: deployed.waiting("message_dead_letter_queue_url"), "the poison is put aside")
    (dead,) = deployed.receive_all("message_dead_letter_queue_url")
    assert json.loads(dead["Body"])["job_id"] == "poison"
    assert "no invocation that took it came to an end" in dead["MessageAttributes"]["reason"]["StringValue"]
