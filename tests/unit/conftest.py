"""What tests without an emulator share."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from lambda_src import sender
from tests.helpers.attempts import World
from trainq.machine.guard import Guard


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait for SQS; with a stand-in nothing needs to."""
    monkeypatch.setattr(sender.time, "sleep", lambda seconds: None)


@pytest.fixture
def guard(tmp_path: Path) -> Generator[Guard]:
    (tmp_path / "work").mkdir()
    made = Guard(tmp_path / "work")
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path) -> Generator[Callable[..., World]]:
    made: list[World] = []

    def make(**delivery: Any) -> World:
        made.append(World(tmp_path, **delivery))
        return made[-1]

    yield make
    for each in made:
        each.saver.close()
    assert not list(tmp_path.iterdir()), "an attempt that is settled leaves no files"
