"""The watch alone: which attempts are looked at, when, and which is reported."""

import threading
from collections.abc import Callable

import pytest

from tests.helpers.waiting import eventually
from trainq.worker.watch import Watch


class Looked:
    """An attempt that is looked at, which takes until `answered`."""

    def __init__(self, answered: threading.Event | None = None) -> None:
        self.answered = answered
        self.looks: list[bool] = []

    def look(self, *, report: bool) -> None:
        self.looks.append(report)
        if self.answered:
            self.answered.wait(30)


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> Callable[[float], Watch]:
    def start(interval: float) -> Watch:
        made = Watch(interval)
        request.addfinalizer(made.close)
        return made

    return start


def test_one_attempts_look_puts_the_others_off_and_drops_none(watch: Callable[[float], Watch]) -> None:
    """While S3 answers the first one slowly the second begins to train, too: it must hear that its job is cancelled."""
    answered = threading.Event()
    first, second = Looked(answered), Looked()
    watched = watch(60)
    watched.begin(first)
    eventually(lambda: first.looks, "the first is looked at")
    watched.store(first)
    watched.begin(second)
    assert not second.looks
    answered.set()
    eventually(lambda: second.looks, "the second is looked at in its turn", seconds=10)


def test_the_attempt_that_trains_is_reported_and_not_one_that_is_stored(watch: Callable[[float], Watch]) -> None:
    """Or what a worker is at would be the task that it was at."""
    first, second = Looked(), Looked()
    watched = watch(0.2)
    watched.begin(first)
    eventually(lambda: len(first.looks) >= 2, "it is looked at again and again")
    assert all(first.looks)
    watched.store(first)
    watched.begin(second)
    eventually(lambda: len(second.looks) >= 2 and False in first.looks, "both are looked at", seconds=10)
    assert all(second.looks)
    watched.end(first)
    watched.end(second)


def test_a_task_that_is_only_being_stored_is_not_looked_at_before_an_interval_has_passed(
    watch: Callable[[float], Watch],
) -> None:
    """Not when its first look was due: of eight short ones at once each would cost three requests."""
    short, other = Looked(), Looked()
    watched = watch(60)
    watched.begin(other)
    eventually(lambda: other.looks, "the first look of a worker is at once")
    watched.begin(short)
    watched.store(short)
    watched.begin(other)
    eventually(lambda: len(other.looks) == 2, "the next one is looked at", seconds=10)
    assert not short.looks
