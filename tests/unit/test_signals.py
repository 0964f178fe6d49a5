"""Requests to stop, and where they interrupt."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from local.program import ROOT
from trainq.machine import fleet
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


def test_a_terminal_that_goes_is_a_request_to_stop_but_not_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with Interruption() as interruption, pytest.raises(Interrupted):
            interruption.allow(os.kill, os.getpid(), signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Interruption() as interruption:
            interruption.allow(os.kill, os.getpid(), signal.SIGHUP)
        assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


EARLY = """
import importlib.abc, os, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "trainq.cli":
            os.kill(os.getpid(), signal.Signals[sys.argv[1]])
            sys.exit("the import goes on")

sys.meta_path.insert(0, Finder())
from trainq.__main__ import main
main()
"""


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_is_handled_while_modules_are_imported(number: str, status: int) -> None:
    """Handled, not left to the kernel, which ignores it for PID 1 of a container."""
    done = subprocess.run([sys.executable, "-P", "-c", EARLY, number], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_a_fleets_workers_import_nothing_from_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Training code has a queue.py, a types.py or an inspect.py of its own."""
    (tmp_path / "inspect.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "argv", ["trainq", "--version"])
    assert fleet.run(2, []) == 0


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
