"""An emulator, and a stack of the test's own in it."""

import json
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from local.deploy import deploy
from local.emulator import Emulator
from local.workers import WorkerProcess
from tests.helpers.deployed import Deployed


@pytest.fixture(scope="session")
def emulator() -> Generator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture(scope="session")
def unused_stacks() -> list[tuple[float, dict[str, str]]]:
    """Outputs of stacks in the emulator that earlier tests have left empty: deploying takes 2 s, emptying 0.1 s.

    Each with the time from which on it may be used: until then, the emulator may give a message to the last receive of
    a killed worker.
    """
    return []


@pytest.fixture
def deployed(
    emulator: Emulator, unused_stacks: list[tuple[float, dict[str, str]]], tmp_path: Path
) -> Generator[Deployed]:
    """Return the local stack, empty, for this test alone."""
    stack_file = tmp_path / "stack.json"
    rested = [each for each in unused_stacks if each[0] <= time.monotonic()]
    if rested:
        unused_stacks.remove(rested[0])
        outputs = rested[0][1]
        stack_file.write_text(json.dumps(outputs))
    else:
        outputs = deploy(emulator, stack_file)
    mine = Deployed(emulator, outputs, tmp_path)
    yield mine
    if mine.emptied():
        unused_stacks.append((time.monotonic() + max(mine.polls, default=0.0) + 1, outputs))


@pytest.fixture
def slow(emulator: Emulator, tmp_path: Path) -> Deployed:
    """Return a stack in which no task is redelivered during a test: its visibility timeout is ten minutes.

    Of its own: the emulator may give the next test's task to the last receive of a killed worker, for ten minutes.
    """
    outputs = deploy(emulator, tmp_path / "stack.json", model_training_visibility_timeout=600)
    return Deployed(emulator, outputs, tmp_path)


@pytest.fixture
def worker(deployed: Deployed, request: pytest.FixtureRequest):
    """Starts workers that do not outlive the test."""

    def start(name: str, *command: str, options: tuple[str, ...] = ()) -> WorkerProcess:
        process = deployed.worker(name, *command, options=options)
        request.addfinalizer(process.kill)
        return process

    return start
