"""An emulator, and a stack of the test's own in it."""

import json
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
def unused_stacks() -> list[dict[str, str]]:
    """Outputs of stacks in the emulator that earlier tests have left empty: deploying takes 2 s, emptying 0.1 s."""
    return []


@pytest.fixture
def deployed(emulator: Emulator, unused_stacks: list[dict[str, str]], tmp_path: Path) -> Generator[Deployed]:
    """The local stack, empty, and for this test alone."""
    stack_file = tmp_path / "stack.json"
    if unused_stacks:
        outputs = unused_stacks.pop()
        stack_file.write_text(json.dumps(outputs))
    else:
        outputs = deploy(emulator, stack_file)
    mine = Deployed(emulator, outputs, tmp_path)
    yield mine
    if mine.emptied():
        unused_stacks.append(outputs)


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
