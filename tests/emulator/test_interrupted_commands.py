"""Ctrl-C at each command of the command line, while its request hangs."""

import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from local.deploy import deploy
from local.emulator import Emulator
from local.faults import Faults
from local.workers import TRAINQ, running
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually

# They share an emulator and a stack.
pytestmark = pytest.mark.xdist_group("hanging")


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Generator[Deployed]:
    """A stack whose every answer to a role takes half a minute."""
    folder = tmp_path_factory.mktemp("hanging")
    log = folder / "faults.jsonl"
    log.touch()
    with Emulator(folder / "emulator", Faults(1.0, 1, str(log), slow_seconds=30, kinds=("slow",))) as emulator:
        yield Deployed(emulator, deploy(emulator, folder / "stack.json"), folder)


@pytest.mark.parametrize(
    "command",
    [
        "upload shards --dataset d",
        "submit --dataset d",
        "status j",
        "status j --watch",
        "jobs",
        "logs j 0",
        "timeline j",
        "fetch j results",
        "cancel j",
        "dlq list",
        "dlq redrive --job j",
        "work -- true",
        "work --concurrency 2 -- true",
    ],
)
def test_ctrl_c_ends_every_command_at_once_in_a_line(hanging: Deployed, tmp_path: Path, command: str) -> None:
    """In the middle of a request; no traceback, no process, no folder is left."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "1").write_text("x")
    (tmp_path / "tmp").mkdir()
    faults = hanging.folder / "faults.jsonl"
    before = len(faults.read_text().splitlines())
    process = subprocess.Popen(
        [*TRAINQ, "--stack", str(hanging.stack_file), *command.split()],
        env=hanging.environment(hanging.submitter_credentials) | {"TMPDIR": str(tmp_path / "tmp")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: len(faults.read_text().splitlines()) > before, "its request hangs")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == (0 if command.startswith("work") else 130)
    assert "Traceback" not in said
    if not command.startswith("work"):
        assert said.strip() == "interrupted"
    eventually(lambda: not running(f"TMPDIR={tmp_path}"), "no process is left")
    assert not list((tmp_path / "tmp").iterdir())
