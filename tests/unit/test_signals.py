"""Requests to stop, and where they interrupt."""

import os
import signal
import threading
import time

import pytest

from trainq.worker import signals as interruption_module
from trainq.worker.outcome import Outcome
from trainq.worker.signals import Interrupted, Interruption, StopRequests


def test_a_second_request_is_one_that_comes_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the first one came from."""
    clock = [100.0]
    monkeypatch.setattr(interruption_module.time, "monotonic", lambda: clock[0])
    for begin in (StopRequests.ask, lambda stop: stop.hear(1)):
        stop = StopRequests()
        levels = []
        begin(stop)
        for seconds in (0.0, 0.001, 0.9, 0.2):
            clock[0] += seconds
            stop.ask()
            levels.append(stop.level)
        assert levels == [1, 1, 1, 2]
    stop = StopRequests()
    stop.hear(2)
    stop.hear(1)
    assert stop.level == 2


def test_another_thread_ends_what_the_main_thread_waits_for() -> None:
    with Interruption() as interruption:
        threading.Timer(0.1, interruption.interrupt, [Outcome.LEASE_LOST]).start()
        began = time.monotonic()
        with pytest.raises(Interrupted) as raised:
            interruption.allow(time.sleep, 30)
        assert raised.value.outcome is Outcome.LEASE_LOST
        assert time.monotonic() - began < 10
        interruption.begin_task()
        assert interruption.allow(lambda: "next") == "next", "the next task has nothing to do with it"


def test_a_signal_that_arrives_just_before_a_system_call_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler would run only after the call: in one of a hundred lost leases the command went on, for hours."""
    send, sent = signal.pthread_kill, []

    def lose_the_first(thread: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 1:
            send(thread, number)

    monkeypatch.setattr(signal, "pthread_kill", lose_the_first)
    with Interruption() as interruption:
        threading.Timer(0.1, interruption.interrupt, [Outcome.LEASE_LOST]).start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            interruption.allow(time.sleep, 30)
        assert time.monotonic() - began < 10


def test_what_may_not_be_interrupted_is_not() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert interruption.requested
        with pytest.raises(Interrupted):
            interruption.allow(lambda: pytest.fail("begun after the signal"))


def test_what_comes_while_signals_are_held_is_raised_at_the_end() -> None:
    reached = []

    def work(interruption: Interruption) -> None:
        with interruption.held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            reached.append("end of what was held")
        reached.append("beyond")

    with Interruption() as interruption, pytest.raises(Interrupted):
        interruption.allow(work, interruption)
    assert reached == ["end of what was held"]


def test_an_end_that_comes_too_late_is_not_for_the_next_task() -> None:
    with Interruption() as interruption:
        interruption.begin_task("first")
        interruption.begin_task("second")
        interruption.interrupt(Outcome.LEASE_LOST, "first")
        assert interruption.allow(lambda: "goes on") == "goes on"
        interruption.interrupt(Outcome.HOLD_LIMIT, "second")
        with pytest.raises(Interrupted):
            interruption.allow(lambda: None)
