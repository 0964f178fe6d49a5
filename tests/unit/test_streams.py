"""Standard output and error that are closed, full, without a reader, or in an encoding that lacks a character."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.program import ROOT

# The command line with another function in place of `trainq jobs`.
PROGRAM = """
import sys
import click
from trainq import cli
def jobs():
    {body}
cli.Commands.load = lambda self, name: click.Command(name, callback=jobs)
from trainq.__main__ import main
sys.argv = ["trainq", "jobs"]
main()
"""
LINES = "for number in range(20_000): click.echo(f'job-{number}')"


def run(body: str, redirected: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a shell, with its streams redirected."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"$0" -c "$1" {redirected}', sys.executable, PROGRAM.format(body=body)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def unread(stream: str, body: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with a stream whose reader has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    try:
        return subprocess.run([sys.executable, "-c", PROGRAM.format(body=body)], cwd=ROOT, text=True, **streams)
    finally:
        os.close(writer)


@pytest.mark.parametrize("encoding", ["latin-1", "latin-1:strict"])
def test_a_character_that_the_encoding_lacks_is_printed_as_an_escape(encoding: str) -> None:
    printing = "click.echo('dataset \u0436'); click.echo('job \u0436', err=True)"
    done = run(printing, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, "dataset \\u0436\n", "job \\u0436\n")
    done = run("raise click.ClickException('no file \u0436')", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (1, "Error: no file \\u0436\n")


def test_a_reader_that_needs_no_more_ends_it_quietly() -> None:
    done = run(LINES, "| head -1")
    assert (done.stdout, done.stderr) == ("job-0\n", "")


def test_output_that_nobody_reads_is_no_complaint_at_the_end() -> None:
    done = unread("stdout", "sys.stdout.write('x')")
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_one_line() -> None:
    done = run("click.echo('job')", "> /dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"])
def test_closed_streams_are_nobody_who_listens(closed: str, tmp_path: Path) -> None:
    """A file that is opened next would have their number, and get what is printed."""
    body = (
        f"file = open({str(tmp_path / 'file')!r}, 'w'); "
        "click.echo('out'); click.echo('err', err=True); "
        "import subprocess; subprocess.run(['sh', '-c', 'cat; echo out; echo err >&2'], check=True)"
    )
    assert run(body, closed if "<" in closed else f"</dev/null {closed}").returncode == 0
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize(
    ("body", "status"), [("raise KeyError(1)", 70), ("raise click.UsageError('no')", 2), ("pass", 0)]
)
def test_the_exit_status_is_the_same_when_nobody_reads_stderr(body: str, status: int) -> None:
    """Python ends with 120 if stderr cannot be flushed: https://docs.python.org/3/library/sys.html#sys.exit"""
    assert unread("stderr", f"click.echo('note', err=True); {body}").returncode == status


# A task whose command prints more than a pipe holds.
TASK = """
from pathlib import Path
from trainq.machine.command import Command
from trainq.machine.guard import Guard
from trainq.worker.signals import Interruption
from trainq.worker.training import TrainingTask
there = Path({there!r}); (there / 'work').mkdir()
task = TrainingTask('j', 0, 1, {{}}, there / 'attempt')
guard = Guard(there / 'work')
Command(['seq', '100000'], guard, Interruption())(task)
guard.close()
assert task.notes['output_tail'].endswith('\\n100000\\n')
"""


def test_a_command_that_prints_is_not_failed_by_streams_that_are_closed_or_unread(tmp_path: Path) -> None:
    for number, redirected in enumerate([">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"]):
        (tmp_path / str(number)).mkdir()
        body = f"exec({TASK.format(there=str(tmp_path / str(number)))!r}, {{}})"
        assert run(body, redirected).returncode == 0, redirected
    assert unread("stderr", body.replace(f"{tmp_path}/2", str(tmp_path))).returncode == 0
