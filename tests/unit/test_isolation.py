"""Invocations that are cut off: what is to blame is set apart, and costs its neighbours no more than one receive."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_src import message_queue
from local.standins import FakeS3, error
from tests.helpers.world import HOUR, MAX_RECEIVES, TIMEOUT, CutOff, World, jobs, poison


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
