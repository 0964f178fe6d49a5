"""What holds for every command of `trainq`: what it imports, and what it says of errors."""

import subprocess
import sys

import click
import pytest

from local.program import ROOT
from trainq.cli import AVAILABLE, main, trainq
from trainq.cli.errors import UNEXPECTED_STATUS
from trainq.cli.jobs import _pairs
from trainq.stack import Stack

ARGUMENTS = {
    "upload": ["--dataset", "d", str(ROOT / "docs")],
    "submit": ["--dataset", "d"],
    "work": ["--", "true"],
    "fetch": ["j", "folder"],
    "logs": ["j", "0"],
    "jobs": [],
    "dlq": ["list"],
}
COMMANDS = [(name, ARGUMENTS.get(name, ["j"])) for name in AVAILABLE]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """Run the command line and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["trainq", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_value_on_the_command_line_is_json_or_text() -> None:
    """Text may have anything in it, also what JSON may not."""
    said = ("a=1", 'b={"lr": 0.5}', "c=adam", "d=NaN or 1e999", f"e={'9' * 5_000} nines", "f=", 'g={"x":1,"x":2} twice')
    found = _pairs("--parameter", said)
    assert found == {"a": 1, "b": {"lr": 0.5}} | {text[0]: text[2:] for text in said[2:]}


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_an_unexpected_error_is_one_line_and_the_traceback_is_there_for_the_asking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, arguments: list[str]
) -> None:
    def load(source: object) -> Stack:
        raise KeyError("no\nsuch \x1b[2J thing")

    monkeypatch.setattr(Stack, "load", load)
    assert run(monkeypatch, name, *arguments) == UNEXPECTED_STATUS
    said = capsys.readouterr().err
    assert said.startswith("Error: unexpected KeyError: ")
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert "TRAINQ_DEBUG=1" in said
    monkeypatch.setenv("TRAINQ_DEBUG", "1")
    assert run(monkeypatch, name, *arguments) == UNEXPECTED_STATUS
    assert "Traceback" in capsys.readouterr().err


def test_help_imports_no_command_and_a_command_only_its_own() -> None:
    """The SDK's modules take half a second; `trainq --help` needs none of them."""
    imported = """
import sys, trainq.cli
def ours(): return {name for name in sys.modules if name.startswith(("trainq.", "boto", "rich", "matplotlib"))}
print(*sorted(ours()))
trainq.cli.trainq.load("work")
print(*sorted(name for name in ours() if name.startswith(("trainq.cli.", "trainq.client.", "rich"))))
"""
    done = subprocess.run([sys.executable, "-c", imported], cwd=ROOT, capture_output=True, text=True, check=True)
    for_help, for_work = (line.split() for line in done.stdout.splitlines())
    assert for_help == ["trainq.cli", "trainq.cli.streams"]
    assert set(for_work) == {"trainq.cli.json_log", "trainq.cli.streams", "trainq.cli.work"}


def test_the_lines_of_help_are_of_commands_that_exist() -> None:
    for name, (_, line) in AVAILABLE.items():
        assert isinstance(trainq.load(name), click.Command)
        assert trainq.load(name).name == name
        assert len(line) <= 66, "it is shown on one line of 80"
