"""The commands `trainq status`, `jobs`, `logs` and `timeline`."""

import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from trainq.cli.shared import ago, checked_job_id, printable, say_left_out, to_json
from trainq.client import results, timeline
from trainq.client import status as looking
from trainq.client.attempt_records import seconds
from trainq.client.attempts import attempts
from trainq.client.status import JobStatus
from trainq.protocol.markers import MarkerError
from trainq.stack import Stack

WATCH_SECONDS = 2.0


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--watch", is_flag=True, help="Go on showing it until nothing more will come.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def status(stack_file: str, job_id: str, watch: bool, as_json: bool) -> None:
    """Show how far a job is: tasks done, running (by whom, since when), failing (why), given up.

    Exit status: 0 all tasks are done, 3 not yet, 4 it was cancelled or its remaining tasks have been given up, 1 there
    is no such job.
    """
    stack = Stack.load(stack_file)
    found, left_out = _look(stack, checked_job_id(job_id))
    if watch:
        with Live(Text(_described(found)), console=Console(stderr=as_json), auto_refresh=False) as live:
            while not found.settled:
                time.sleep(WATCH_SECONDS)
                found, left_out = _look(stack, job_id)
                live.update(Text(_described(found)), refresh=True)
    if as_json:
        extra = {"complete": found.complete, "settled": found.settled, "seconds_left": found.seconds_left}
        click.echo(to_json(asdict(found) | extra))
    elif not watch:
        click.echo(_described(found))
    say_left_out(left_out)
    sys.exit(0 if found.complete else 4 if found.settled else 3)


@click.command()
@click.pass_obj
def jobs(stack_file: str) -> None:
    """List all jobs that have been planned, each with its state and tasks.

    A job whose plan cannot be read is named on stderr, and the exit status is 1.
    """
    stack = Stack.load(stack_file)
    left_out: list[MarkerError] = []

    def look(job_id: str) -> JobStatus | MarkerError | None:
        try:
            return looking.status(stack, job_id, reasons=0, on_left_out=left_out.append)
        except MarkerError as error:
            return error

    with ThreadPoolExecutor(results.READERS) as pool:
        looked = list(pool.map(look, looking.jobs(stack)))
    found = [each for each in looked if isinstance(each, JobStatus)]
    broken = [each for each in looked if isinstance(each, MarkerError)]
    width = max((len(each.job_id) for each in found), default=0)
    for each in found:
        dead = f", {len(each.dead):,} given up" if each.dead else ""
        click.echo(f"{each.job_id:{width}}  {each.state:16}  {each.done:,} of {each.tasks:,} tasks done{dead}")
    for each in broken:
        click.echo(f"broken: {printable(str(each))}", err=True)
    say_left_out(left_out)
    if not found and not broken:
        click.echo("no job has been planned yet", err=True)
    sys.exit(1 if broken else 0)


@click.command()
@click.argument("job_id", metavar="JOB")
@click.argument("task", type=click.IntRange(min=0))
@click.pass_obj
def logs(stack_file: str, job_id: str, task: int) -> None:
    """Print what is kept of a task's output, attempt by attempt: the last 16 KB of a failure, 4,000 characters of a
    success."""
    left_out: list[MarkerError] = []
    known = attempts(Stack.load(stack_file), checked_job_id(job_id), left_out.append)
    say_left_out(left_out)
    found = [each for each in known if each["task"] == task]
    if not found:
        raise click.ClickException(f"nothing is known of task {task} of job {job_id!r}: see trainq status {job_id}")
    for each in found:
        took = ago(seconds(each["finished"]) - seconds(each["started"]))
        why = f": {each['reason']}" if each["how"] == "failed" else ""
        line = f"attempt {each['attempt_number']} on {each['worker']}, {each['started']}, {took}, {each['how']}{why}"
        click.echo(printable(line))
        # A success has its output among the notes; the output of an interrupted attempt is not kept.
        kept = {"failed": each, "done": each.get("notes") or {}}.get(each["how"], {})
        for line in (kept.get("output_tail") or "").splitlines():
            click.echo(f"    {printable(line)}")


@click.command("timeline")
@click.argument("job_id", metavar="JOB")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("timeline.svg"),
    show_default=True,
    metavar="FILE",
    help="Where the picture goes; .svg, .png or .pdf.",
)
@click.pass_obj
def draw_timeline(stack_file: str, job_id: str, output: Path) -> None:
    """Draw a job: one row a worker, one bar an attempt, coloured by how it ended.

    A kill shows as a black bar up to the worker's last heartbeat. Needs: pip install 'trainq[timeline]'.
    """
    if output.suffix not in (".svg", ".png", ".pdf"):
        raise click.UsageError(f"{str(output)!r}: allowed endings are .svg, .png and .pdf")
    left_out: list[MarkerError] = []
    found = attempts(Stack.load(stack_file), checked_job_id(job_id), left_out.append)
    say_left_out(left_out)
    if not found:
        raise click.ClickException(f"nothing is known of job {job_id!r} yet: see trainq status {job_id}")
    try:
        timeline.draw(job_id, found, output)
    except timeline.NoMatplotlib as error:
        raise click.ClickException(str(error)) from None
    ended = ", ".join(f"{number:,} {how}" for how, number in Counter(each["how"] for each in found).most_common())
    click.echo(f"{output}: {len(found):,} attempts ({ended})")


def _look(stack: Stack, job_id: str) -> tuple[JobStatus, list[MarkerError]]:
    """Return the status of a job, and an error for each record that could not be read. Exits if the job has no plan."""
    left_out: list[MarkerError] = []
    found = looking.status(stack, job_id, on_left_out=left_out.append)
    if found is None:
        raise click.ClickException(
            f"job {job_id!r} has no plan: it was not submitted, or is still on the message queue, or was refused "
            "(then it is on the dead letter queue with the reason: trainq dlq list --queue message)"
        )
    return found, left_out


def _described(found: JobStatus) -> str:
    """Return the status as text of several lines, without unprintable characters."""
    lines = [f"job {found.job_id}: {found.state}, {found.done:,} of {found.tasks:,} tasks done"]
    if found.throughput and not found.settled:
        left = f", about {ago(found.seconds_left)} left" if found.seconds_left is not None else ""
        lines.append(f"  {found.throughput:.2f} tasks a second{left}")
    if found.state != "cancelled":
        for report in found.running:
            # The worker's clock says how long it has run at its report; S3's, how old the report is.
            heard = ago(report["age"])
            since = ago(seconds(report["heartbeat"]) - seconds(report["started"]) + report["age"])
            again = f", attempt {report['attempt_number']}" if report["attempt_number"] > 1 else ""
            lines.append(
                f"  running: task {report['task']} on {report['worker']} for {since}{again}, heard of {heard} ago"
            )
            lines += [f"    {report['problem']}"] if report.get("problem") else []
        lines += [f"  running: {found.more_running:,} more"] if found.more_running else []
    if found.retrying:
        lines.append(f"  tried again after failures: {len(found.retrying):,} tasks")
    lines += [f"  task {each['task']}: interrupted on {each['worker']}: {each['problem']}" for each in found.hindered]
    if found.dead:
        lines.append(f"  given up: {len(found.dead):,} tasks (trainq dlq list)")
    for failure in found.last_failures:
        number = found.retrying.get(failure["task"])
        state = "given up" if number is None else f"{number} failed"
        lines.append(f"  task {failure['task']}: {state}, the last on {failure['worker']}: {failure['reason']}")
        lines += [f"    {line}" for line in (failure.get("output_tail") or "").strip().splitlines()[-3:]]
    return "\n".join(map(printable, lines))
