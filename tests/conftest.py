"""What tests share: recordings of the program, and an emulator with a stack of the test's own in it."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from local.deploy import deploy
from local.emulator import Emulator
from local.workers import WorkerProcess, running
from tests.helpers.deployed import Deployed
from tests.helpers.files import as_somebody_else
from tests.helpers.recordings import Recording, record
from tests.helpers.waiting import DEADLINE_SECONDS, eventually

# Under their former path until every test module has moved.
__all__ = ["DEADLINE_SECONDS", "Deployed", "Recording", "as_somebody_else", "eventually", "record", "running"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The costliest first: with several processes, what comes last is what they wait for."""
    rooms = ("chaos", "emulator", "tests", "unit")
    items.sort(key=lambda item: rooms.index(item.path.parent.name))


@pytest.fixture(scope="session")
def dev() -> Recording:
    return record()


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
    """A stack in which nothing comes back by itself for ten minutes."""
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


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handler's module, with its environment, and clients that a test replaces."""
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "BUCKET_NAME": "b",
        "MODEL_TRAINING_QUEUE_URL": "q",
        "MESSAGE_QUEUE_URL": "m",
        "MESSAGE_QUEUE_VISIBILITY_TIMEOUT": "1800",
        "MESSAGE_DEAD_LETTER_QUEUE_URL": "dlq",
        "MAX_TASKS": "1000000",
        "POWERTOOLS_SERVICE_NAME": "test",
        "POWERTOOLS_METRICS_NAMESPACE": "Test",
    }.items():
        monkeypatch.setenv(name, value)
    from lambda_src import handler

    return handler
