"""The commands of `trainq dlq`: list, show, redrive, drop."""

import time
from collections.abc import Callable
from typing import Any

import click
from botocore.exceptions import ClientError

from trainq.cli.shared import ago, printable, to_json
from trainq.client.dead_letter import DeadLetter
from trainq.client.dead_letters import DeadLetterQueue, is_unsupported
from trainq.stack import Stack

QUEUES = ("message", "model-training")
# A line of `trainq dlq list` quotes at most this many characters of a job id or an unreadable message.
MAX_SHOWN = 64


@click.group()
def dlq() -> None:
    """Look into the dead letter queues, and move messages back or drop them.

    'message' has jobs that were refused or could not be planned, 'model-training' has tasks that failed, or lost
    their worker, five times.
    """


def _queue_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option --queue."""
    return click.option("--queue", type=click.Choice(QUEUES), help="Only what was on this queue.  [default: both]")(
        function
    )


def _selection(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select messages: --queue, --job, --id, --all, and --dry-run."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Only say what would be done."),
        click.option("--all", "everything", is_flag=True, help="All messages."),
        click.option("--id", "ids", multiple=True, metavar="ID", help="The message with this id. Repeatable."),
        click.option("--job", metavar="JOB", help="The messages of this job."),
        _queue_option,
    ):
        function = option(function)
    return function


@dlq.command("list")
@_queue_option
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")
@click.pass_obj
def list_(stack_file: str, queue: str | None, as_json: bool) -> None:
    """List the messages, oldest first. Nothing is used up: each can be received again afterwards."""
    queues = _queues(stack_file, queue)
    letters = [each for one in queues for each in one.look()]
    for each in letters:
        if as_json:
            about = {name: value for name, value in vars(each).items() if name != "receipt_handle"}
            click.echo(to_json(about))
        else:
            click.echo(_line(each))
    if not letters:
        hidden = sum(one.hidden() for one in queues)
        more = f" to be seen, but about {hidden:,} that somebody has received: look again in two minutes"
        click.echo(f"no dead letters{more if hidden else ''}", err=True)


@dlq.command()
@click.argument("message_id", metavar="ID")
@click.pass_obj
def show(stack_file: str, message_id: str) -> None:
    """Print one message whole, with its reason."""
    for one in _queues(stack_file, None):
        for each in one.look():
            if each.id == message_id:
                click.echo(_line(each))
                click.echo(printable(each.body))
                return
    raise click.ClickException(f"there is no message {message_id!r} on either dead letter queue: see trainq dlq list")


@dlq.command()
@_selection
@click.pass_obj
def redrive(
    stack_file: str, queue: str | None, job: str | None, ids: tuple[str, ...], everything: bool, dry_run: bool
) -> None:
    """Move messages back to the queue that they were on, where they are tried anew.

    With --all SQS does it by itself where it can; otherwise each message is sent and then deleted, so that an
    interruption leaves it on both queues, at worst.
    """
    wanted = _filter(job, ids, everything)
    for one in _queues(stack_file, queue):
        if everything and not dry_run and _move_all_by_sqs(one):
            continue
        _act_on_each(one, wanted, one.move_back, "would be moved back" if dry_run else "moved back", dry_run)


@dlq.command()
@_selection
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def drop(
    stack_file: str,
    queue: str | None,
    job: str | None,
    ids: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete messages for good."""
    wanted = _filter(job, ids, everything)
    if not dry_run and not yes:
        click.confirm("They will be gone for good. Go on?", abort=True)
    for one in _queues(stack_file, queue):
        _act_on_each(one, wanted, one.drop, "would be dropped" if dry_run else "dropped", dry_run)


def _queues(stack_file: str, queue: str | None) -> list[DeadLetterQueue]:
    """Return the dead letter queue behind `queue`, or both if None. Raises StackError if queues are swapped."""
    stack = Stack.load(stack_file)
    # Asks the training queue, once: a message that is moved to the wrong queue is lost among others.
    stack.training_queue_settings()
    return [DeadLetterQueue(stack, name) for name in QUEUES if queue in (None, name)]


def _filter(job: str | None, ids: tuple[str, ...], everything: bool) -> Callable[[DeadLetter], bool]:
    """Return a function that is true for the selected messages. Raises UsageError unless one selection is given."""
    if sum(map(bool, (job, ids, everything))) != 1:
        raise click.UsageError("say which messages: one of --job JOB, --id ID, --all")
    return lambda each: everything or each.id in ids or (job is not None and each.job == job)


def _act_on_each(
    one: DeadLetterQueue,
    wanted: Callable[[DeadLetter], bool],
    act: Callable[[DeadLetter], None],
    said: str,
    dry_run: bool,
) -> None:
    """Call `act` with each wanted message of a queue and print one line each. `dry_run`: print only."""
    with one.held(wanted) as letters:
        for each in letters:
            if not dry_run:
                act(each)
            click.echo(f"{said}: {_line(each)}")
    click.echo(f"{one.queue}: {len(letters):,} messages {said}", err=True)


def _move_all_by_sqs(one: DeadLetterQueue) -> bool:
    """Let SQS move all messages back. Return False where SQS does not support it, as on the emulator."""
    try:
        for moved, total in one.move_all_on_aws():
            click.echo(f"{one.queue}: {moved:,} of about {total:,} messages moved back", err=True)
    except ClientError as error:
        if is_unsupported(error):
            return False
        raise
    except RuntimeError as error:
        raise click.ClickException(f"{one.queue}: {error}") from None
    return True


def _line(each: DeadLetter) -> str:
    """Return a printable line about a dead letter: id, queue, age, job, task, reason."""
    age = f"{ago(time.time() - each.sent)} old" if each.sent is not None else "of unknown age"
    what = f"job {printable(each.job[:MAX_SHOWN])}" if each.job else "no job"
    if each.unreadable:
        what = f"{printable(each.unreadable)}; it begins with {printable(each.body[:MAX_SHOWN])}"
    task = f", task {each.task}" if each.task is not None else ""
    return f"{each.id}  {each.queue}  {age}  {what}{task}: {printable(each.reason)}"
