"""The command `trainq work`."""

import logging
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import click

from trainq.cli.json_log import JsonFormatter
from trainq.machine import fleet
from trainq.machine.command import DEFAULT_GRACE_SECONDS, Command
from trainq.machine.guard import Guard
from trainq.protocol.limits import MAX_BATCH, MAX_HIDDEN_SECONDS, MAX_LONG_POLL_SECONDS
from trainq.protocol.messages import JOB_ID
from trainq.stack import Stack
from trainq.worker import work_folder
from trainq.worker.signals import Interruption
from trainq.worker.task_queue import MAX_BACKOFF_SECONDS
from trainq.worker.training import WorkerBroken
from trainq.worker.worker import DEFAULT_MAX_HOLD_SECONDS, Options, Worker

GPU = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


def _checked_name(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is not None and not JOB_ID.fullmatch(name):
        raise click.BadParameter("allowed are 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return name


def _parsed_gpus(context: click.Context, option: click.Parameter, text: str | None) -> list[str]:
    gpus = text.split(",") if text else []
    if len(set(gpus)) < len(gpus) or not all(GPU.fullmatch(each) for each in gpus):
        raise click.BadParameter("allowed are different numbers, or ids such as GPU-..., with commas between them")
    return gpus


def _log_to_stderr(log_format: str, worker: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(message)s")
    handler.setFormatter(JsonFormatter(worker=worker) if log_format == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("botocore").setLevel(logging.WARNING)


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND...")
@click.option(
    "--name", metavar="NAME", callback=_checked_name, help="What this worker is called in results.  [default: host-pid]"
)
@click.option(
    "--workdir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where shards and output are kept while a task runs; made if need be.  [default: the system's temporary "
    "folder]",
)
@click.option("--max-tasks", type=click.IntRange(min=1), metavar="N", help="End after N deliveries.")
@click.option(
    "--idle-exit",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End when no task came for so long, and none that failed here is to come again.",
)
@click.option(
    "--prefetch",
    type=click.IntRange(1, MAX_BATCH),
    default=1,
    show_default=True,
    metavar="N",
    help="Take N tasks at once, to run one after the other: fewer requests, and shards that are there in time.",
)
@click.option("--no-download", is_flag=True, help="Fetch no shards: COMMAND reads them from the bucket itself.")
@click.option(
    "--poll",
    type=click.IntRange(1, MAX_LONG_POLL_SECONDS),
    default=MAX_LONG_POLL_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long one request waits for a task, and an idle worker takes to stop (a second signal stops it at once).",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=DEFAULT_GRACE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="What COMMAND may take, when it is interrupted, to save its checkpoint and end.",
)
@click.option(
    "--require-done",
    is_flag=True,
    help="Count exit status 0 as a failure unless COMMAND has made the file TRAINQ_DONE.",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Save the checkpoint of a running task so often.  [default: when interrupted or asked]",
)
@click.option(
    "--max-hold",
    type=click.FloatRange(min=1, max=MAX_HIDDEN_SECONDS),
    default=DEFAULT_MAX_HOLD_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Interrupt a task after so long and hand it over with its checkpoint: SQS hides a message for 12 h at most.",
)
@click.option(
    "--backoff",
    type=click.FloatRange(min=0, max=MAX_BACKOFF_SECONDS),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="A failed task comes back after about so long, after each further failure twice as long.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N workers, a process each; the other options hold for each of them.  [default: 1, or one a GPU]",
)
@click.option(
    "--gpus",
    metavar="LIST",
    callback=_parsed_gpus,
    help="GPUs such as 0,1,2,3: each worker has one to itself (CUDA_VISIBLE_DEVICES).",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object a line, between whole lines of COMMAND's output.",
)
@click.pass_obj
def work(
    stack_file: str,
    command: tuple[str, ...],
    name: str | None,
    workdir: Path | None,
    max_tasks: int | None,
    idle_exit: float | None,
    prefetch: int,
    no_download: bool,
    poll: int,
    grace: float,
    require_done: bool,
    checkpoint_every: float | None,
    max_hold: float,
    backoff: float,
    concurrency: int | None,
    gpus: list[str],
    log_format: str,
) -> None:
    """Take tasks from the queue and run COMMAND for each, until interrupted.

    COMMAND finds its task in the environment:

    \b
      TRAINQ_SHARDS          a folder with the task's shards, named as in the bucket without 'datasets/'
      TRAINQ_SHARD_LIST, TRAINQ_BUCKET  a file with the shards' keys, one on each line, and their bucket
      TRAINQ_PARAMETERS      a JSON file with the task's parameters
      TRAINQ_OUTPUT          a folder: what is in it when COMMAND ends becomes the result
      TRAINQ_CHECKPOINT      a folder: what is in it when COMMAND is interrupted is there again at the next attempt
      TRAINQ_CHECKPOINT_NOW  a file to make when the checkpoint is to be saved while COMMAND goes on
      TRAINQ_DONE            a file to make when the output is complete; see --require-done
      TRAINQ_JOB_ID, TRAINQ_TASK, TRAINQ_TASKS  which task it is, from 0 to TRAINQ_TASKS - 1

    Exit status 0 means done. Anything else: the end of the output is kept with the run, and the task is tried again,
    up to five times in all. On SIGINT, SIGTERM and SIGHUP the worker sends SIGTERM to COMMAND, waits for it to end,
    saves its checkpoint and gives the task back, which does not count as a failure; if COMMAND has made TRAINQ_DONE and
    ends with 0, its output is the result. The worker's own exit status is 0 however its tasks went.
    """
    interruption = Interruption()
    slot = fleet.join(interruption)
    name = (name or f"{socket.gethostname()}-{os.getpid()}") + (f"-{slot}" if slot else "")
    _log_to_stderr(log_format, name)
    stack = Stack.load(stack_file)
    # Check before receiving a task: a typo in COMMAND would make every task of every job fail.
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"there is no program {command[0]!r}: COMMAND must be installed on this machine")
    size = concurrency or len(gpus) or 1
    if gpus and size > len(gpus):
        raise click.UsageError(f"--concurrency {size} with {len(gpus)} GPUs: each worker needs one of its own")
    if slot is None and (size > 1 or gpus):
        sys.exit(fleet.run(size, gpus))
    folder = work_folder.make(workdir)
    guard = Guard(folder.path, folder.lock)
    try:
        options = Options(
            name=name,
            folder=folder.path,
            max_tasks=max_tasks,
            idle_exit=idle_exit,
            prefetch=prefetch,
            download=not no_download,
            poll=poll,
            backoff=backoff,
            max_hold=max_hold,
            checkpoint_every=checkpoint_every,
        )
        train = Command(
            command,
            guard,
            interruption,
            grace=grace,
            require_done=require_done,
            whole_lines=log_format == "json",
        )
        Worker(stack, train, options, interruption=interruption).run()
    except WorkerBroken as error:
        raise click.ClickException(str(error)) from None
    finally:
        guard.close()
