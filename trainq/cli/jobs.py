"""The commands `trainq submit`, `cancel` and `fetch`."""

import getpass
import os
from pathlib import Path
from typing import Any

import click

from trainq.cli.progress import shown_progress
from trainq.cli.shared import checked_job_id, printable, say_left_out, to_json
from trainq.client import jobs as submitting
from trainq.client import results, status, upload
from trainq.protocol.fields import is_json, loads_value
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import Job
from trainq.stack import Stack


@click.command()
@click.argument("file", metavar="[JOB.json]", required=False, type=click.File("r", encoding="utf-8-sig"))
@click.option("--dataset", "name", metavar="NAME", help="The dataset, as given to 'trainq upload'.")
@click.option("--job-id", metavar="ID", help="An id that is not used yet.  [default: NAME-date-time-random]")
@click.option(
    "--parameter", "-p", "parameters", multiple=True, metavar="NAME=VALUE", help="For every task. Repeatable."
)
@click.option("--grid", "-g", multiple=True, metavar="NAME=[A,B]", help="One task for each value. Repeatable.")
@click.option("--shards-per-task", metavar="N|all", help="How many shards make a task.  [default: 1]")
@click.option("--bytes-per-task", type=int, metavar="N", help="Or: how many bytes of shards, at most, make a task.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the message, send nothing.")
@click.pass_obj
def submit(
    stack_file: str,
    file: Any,
    name: str | None,
    job_id: str | None,
    parameters: tuple[str, ...],
    grid: tuple[str, ...],
    shards_per_task: str | None,
    bytes_per_task: int | None,
    dry_run: bool,
) -> None:
    """Submit a job: a dataset, and how to train on it.

    Say it with options, or name a file with the message as JSON ('-' reads it from standard input). Values are JSON;
    what is not JSON is text. The tasks of a job are its groups of shards times the points of its grid. Submitting the
    same job again is harmless.
    """
    options = (name, job_id, parameters, grid, shards_per_task, bytes_per_task)
    if file and any(options):
        raise click.UsageError("give the job as a file or with options, not both")
    if file:
        try:
            job = Job.from_json(file.read())
        except UnicodeDecodeError as error:
            raise click.UsageError(f"{file.name} is not UTF-8 text ({error})") from None
    elif name:
        message: dict[str, Any] = {
            "job_id": job_id or submitting.new_id(name),
            "dataset": upload.prefix_of(name),
            "parameters": _pairs("--parameter", parameters),
        }
        if grid:
            message["grid"] = _pairs("--grid", grid)
        if shards_per_task:
            is_number = shards_per_task.isdecimal() and len(shards_per_task) < 20
            message["shards_per_task"] = int(shards_per_task) if is_number else shards_per_task
        if bytes_per_task is not None:
            message["bytes_per_task"] = bytes_per_task
        job = Job.from_dict(message)
    else:
        raise click.UsageError("name a dataset (--dataset NAME), or a file with the message")
    stack = Stack.load(stack_file)
    # Raises StackError if queues are swapped: the training queue is asked, once.
    stack.training_queue_settings()
    submitting.check(stack, job)
    if dry_run:
        click.echo(to_json(job.to_dict(), indent=2))
        return
    submitting.send(stack, job)
    click.echo(f"submitted: {job.job_id}")
    click.echo(f"next: trainq status {job.job_id}", err=True)


@click.command()
@click.argument("job_id", metavar="JOB")
@click.pass_obj
def cancel(stack_file: str, job_id: str) -> None:
    """Cancel a job, for good. Within a second or two no further task of it starts, and running ones are ended within a
    third of the visibility timeout.

    Results that are there stay. Its messages are removed from the queue as workers come to them.
    """
    stack = Stack.load(stack_file)
    try:
        by, at = submitting.cancel(stack, checked_job_id(job_id), _user())
        said = f"by {printable(by)} at {printable(at)}"
    except MarkerError as error:
        # The job is cancelled all the same: workers and the function only check whether an object exists at that key.
        said = f"before, but its marker does not say by whom and when: {printable(str(error))}"
    click.echo(f"cancelled: {job_id}, {said}")
    if not submitting.is_planned(stack, job_id):
        click.echo(
            f"note: job {job_id!r} has no plan. Is the id right (trainq jobs)? If its message is still on its way, no "
            "task of it will be sent; no job can have this id any more",
            err=True,
        )


@click.command()
@click.argument("job_id", metavar="JOB")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--partial", is_flag=True, help="Take what is there, also when tasks are missing.")
@click.pass_obj
def fetch(stack_file: str, job_id: str, folder: Path, partial: bool) -> None:
    """Download a job's results: each task's files to DIR/TASK/, and what is known of each to DIR/results.jsonl.

    Nothing is written outside of DIR. A result that is not what a worker writes is refused, and the exit status is 1.
    """
    stack = Stack.load(stack_file)
    left_out: list[MarkerError] = []
    found = status.status(stack, checked_job_id(job_id), reasons=0, on_left_out=left_out.append)
    say_left_out(left_out)
    if found is None:
        raise click.ClickException(f"job {job_id!r} has no plan: see trainq status {job_id}")
    if not found.complete and not partial:
        raise click.ClickException(
            f"{found.done:,} of {found.tasks:,} tasks are done: wait (trainq status {job_id}), "
            "or take what is there with --partial"
        )
    refused: list[MarkerError] = []
    markers = results.committed(stack, job_id, refused.append, found.tasks)
    for each in refused:
        click.echo(f"refused: {printable(str(each))}", err=True)
    with shown_progress("fetching", sum(len(marker["files"]) for marker in markers)) as advance:
        results.fetch(stack, job_id, markers, folder, advance, lambda text: click.echo(printable(text), err=True))
    click.echo(f"{len(markers):,} of {found.tasks:,} results fetched: {folder}")
    if refused:
        raise click.ClickException(f"{len(refused):,} results are not what a worker writes, and were refused")


def _user() -> str:
    """Return the user's name, or the uid if it has none, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # KeyError before Python 3.13. https://docs.python.org/3/library/getpass.html#getpass.getuser
        return f"uid {os.getuid()}"


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, Any]:
    """Return NAME=VALUE options as a dict. A value is parsed as JSON; if it is not JSON, it is text."""
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{option} {text!r}: allowed is NAME=VALUE")
        if key in values:
            raise click.UsageError(f"{option} {text!r}: {key!r} is given twice")
        try:
            values[key] = loads_value(value) if is_json(value) else value
        except ValueError as error:
            raise click.UsageError(f"{option} {key!r}: its value {error}") from None
    return values
