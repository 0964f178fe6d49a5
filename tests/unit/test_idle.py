"""When a worker with `idle_exit` ends: when there is nothing to do, not when it cannot know."""

import contextlib
import time
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.helpers.attempts import World, ending, raising
from trainq.worker import worker as module
from trainq.worker.outcome import Outcome
from trainq.worker.training import TaskFailed
from trainq.worker.worker import Options, Worker

IDLE_EXIT = 15.0


class Clock:
    """Time that passes in receives and in sleep alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Queue:
    """A queue without messages that is out of reach at some times."""

    timeout = 30

    def __init__(self, clock: Clock, out_of_reach: range) -> None:
        self.clock, self.out_of_reach = clock, out_of_reach

    def receive(self, wait: int, number: int) -> list[Any]:
        if int(self.clock.now) in self.out_of_reach:
            raise EndpointConnectionError(endpoint_url="sqs")
        self.clock.sleep(wait)
        return []


class Pipeline(list):
    def take(self, deliveries: list[Any]) -> None:
        assert not deliveries


def seconds_until_it_ends(monkeypatch: pytest.MonkeyPatch, *, out_of_reach: range, redelivery: float) -> float:
    """Run a worker that gets no task; return when it ends. `redelivery`: when a task of its own comes again."""
    clock = Clock(monkeypatch)
    begin = clock.now
    settlement = SimpleNamespace(redelivery=begin + redelivery, failures_in_a_row=0)

    @contextlib.contextmanager
    def pipeline(self: Worker, queue: Any) -> Generator[Any]:
        yield Pipeline(), settlement

    monkeypatch.setattr(Worker, "_pipeline", pipeline)
    queue = Queue(clock, range(int(begin) + out_of_reach.start, int(begin) + out_of_reach.stop))
    monkeypatch.setattr(Worker, "_open_queue", lambda self: queue)
    Worker(SimpleNamespace(), lambda task: None, Options(name="w", poll=1, idle_exit=IDLE_EXIT)).run()  # ty: ignore[invalid-argument-type]
    return clock.now - begin


def test_a_worker_without_tasks_ends_after_that_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_until_it_ends(monkeypatch, out_of_reach=range(0), redelivery=0) == IDLE_EXIT


def test_an_outage_is_not_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of network or credentials: a Kubernetes Job whose workers ended then with 0 would count as complete."""
    took = seconds_until_it_ends(monkeypatch, out_of_reach=range(10, 610), redelivery=0)
    assert took >= 610 + IDLE_EXIT - 1


def test_a_worker_stays_for_a_task_that_failed_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the only one, and the task has attempts left."""
    took = seconds_until_it_ends(monkeypatch, out_of_reach=range(0), redelivery=900)
    assert took == 900 + IDLE_EXIT


def test_what_comes_again_is_known(world: Callable[..., World]) -> None:
    one = world(failures=1)
    before = time.monotonic()
    one.run(raising(TaskFailed("loss is nan")))
    # Its backoff: twice 10 s, less up to half of it.
    assert before + 10 <= one.settlement.redelivery <= time.monotonic() + 20


def test_a_message_that_is_left_comes_again_after_its_visibility_timeout(world: Callable[..., World]) -> None:
    one = world()
    before = time.monotonic()
    one.run(ending(one, Outcome.UNEXPECTED))
    assert before + 30 <= one.settlement.redelivery <= time.monotonic() + 30


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.SHUTDOWN, Outcome.LEASE_LOST, Outcome.CANCELLED])
def test_nothing_else_is_waited_for(world: Callable[..., World], outcome: Outcome) -> None:
    one = world()
    one.run() if outcome is Outcome.COMPLETED else one.run(ending(one, outcome))
    assert one.attempt.outcome is outcome
    assert one.settlement.redelivery == 0
