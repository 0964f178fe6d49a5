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
def slow(deployed: Deployed) -> Generator[Deployed]:
    """A stack in which no task comes back by itself for ten minutes."""
    url = deployed.stack.model_training_queue_url
    attributes = deployed.stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    deployed.stack.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "600"})
    yield deployed
    deployed.stack.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes["Attributes"])


@pytest.fixture
def worker(deployed: Deployed, request: pytest.FixtureRequest):
    """Starts workers that do not outlive the test."""

    def start(name: str, *command: str, options: tuple[str, ...] = ()) -> WorkerProcess:
        process = deployed.worker(name, *command, options=options)
        request.addfinalizer(process.kill)
        return process

    return start
