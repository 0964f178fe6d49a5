"""The output of a command and the log, which share a worker's stderr."""

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from tests.helpers.waiting import eventually
from trainq.cli.json_log import JsonFormatter
from trainq.machine.command import READ_BYTES, Command
from trainq.machine.guard import Guard
from trainq.worker.signals import Interruption
from trainq.worker.training import TrainingTask


def log_to_stderr() -> logging.Logger:
    """Return a log as JSON on what is stderr now."""
    handler, log = logging.StreamHandler(), logging.Logger("a log of its own, without the handlers of other tests")
    handler.setFormatter(JsonFormatter(worker="w"))
    log.addHandler(handler)
    return log


def run(guard: Guard, folder: Path, script: str) -> TrainingTask:
    task = TrainingTask("j", 0, 1, {}, folder / "attempt")
    with Interruption() as interruption:
        interruption.begin_task(task)
        interruption.allow(Command(["sh", "-c", script], guard, interruption, whole_lines=True), task)
    return task


def test_a_line_of_the_log_follows_output_without_a_newline_on_a_line_of_its_own(
    guard: Guard, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As progress bars leave it: a log collector would find no JSON in "100%{...}"."""
    task = run(guard, tmp_path, "printf 'one\\ntwo\\n\\n100%%'")
    log_to_stderr().error("said")
    *output, said = capfd.readouterr().err.splitlines()
    assert output == ["one", "two", "", "100%"]
    assert json.loads(said)["message"] == "said"
    assert task.notes["output_tail"] == "one\ntwo\n\n100%", "it is kept as it was"


def test_a_line_of_the_log_comes_before_a_line_that_the_command_has_begun(
    guard: Guard, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A heartbeat, a checkpoint: other threads log while the command prints."""
    log = log_to_stderr()
    begun, go = tmp_path / "begun", tmp_path / "go"
    os.mkfifo(go)

    def say() -> None:
        eventually(begun.exists, "the command has begun a line")
        log.error("said")
        go.write_text("")

    saying = threading.Thread(target=say)
    saying.start()
    run(guard, tmp_path, f"printf half; touch {begun}; cat {go}; echo ' a line'")
    saying.join()
    said, output = capfd.readouterr().err.splitlines()
    assert json.loads(said)["message"] == "said"
    assert output == "half a line"


def test_output_without_any_newline_takes_no_memory(
    guard: Guard, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Progress bars return to the line's start, for days."""
    run(guard, tmp_path, f"head -c {3 * READ_BYTES} /dev/zero")
    assert [len(each) for each in capfd.readouterr().err.splitlines()] == [READ_BYTES] * 3
