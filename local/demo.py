"""Runs the demo: trains a model from real data through the stack on this machine, and kills a worker meanwhile."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.live import Live
from rich.table import Table

from local import corpus
from local.deploy import deploy
from local.emulator import Emulator
from local.program import ROOT
from local.report import JOB, ORDER, Failed, Story, console, report
from local.workers import TRAINQ, WorkerProcess
from trainq.protocol import layout, markers
from trainq.stack import Stack
from trainq.transfers import listed

WORKERS = 3
DEADLINE_SECONDS = 300
PICTURES = ROOT / "build"
TRAIN = [sys.executable, str(ROOT / "examples" / "ngram" / "train.py")]


def run(shards: int = corpus.SHARDS) -> None:
    """Train on `shards` shards. Raises Failed if a check fails. Removes its processes and files."""
    with ExitStack() as cleanup:
        folder = Path(tempfile.mkdtemp(prefix="model-training-queue-demo-"))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        with step("start an AWS emulator (IAM and TLS enforced)"):
            emulator = cleanup.enter_context(Emulator(folder / "emulator"))
        stack_file = folder / "stack.json"
        with step("deploy the Pulumi program into it"):
            outputs = deploy(emulator, stack_file)
        submitter = emulator.role_credentials("submitter", outputs["submitter_policy_arn"])
        (folder / "shards").mkdir()
        held_out = corpus.write(folder / "shards", shards)
        with step(f"upload {shards + 1} shards of the standard library's source, one of them broken"):
            trainq(emulator, submitter, stack_file, "upload", str(folder / "shards"), "--dataset", "stdlib")
        with step("submit the job"):
            options = ["--dataset", "stdlib", "--job-id", JOB, "--parameter", f"order={ORDER}"]
            trainq(emulator, submitter, stack_file, "submit", *options)
        stack = narrator(emulator, outputs)
        story = train(emulator, outputs, stack, stack_file, folder, shards, cleanup)
        with step("fetch and merge the results"):
            trainq(emulator, submitter, stack_file, "fetch", JOB, str(folder / "results"), "--partial")
        report(stack, outputs["dead_letter_queue_url"], story, folder, held_out)
        PICTURES.mkdir(exist_ok=True)
        for name in ("demo-timeline.svg", "demo-timeline.png"):
            trainq(emulator, submitter, stack_file, "timeline", JOB, "-o", str(PICTURES / name))
        console.print(f"  what each worker did, and when: {(PICTURES / name).relative_to(ROOT)}\n")


@contextmanager
def step(what: str) -> Generator[None]:
    """Print what the block does, and how long it took."""
    console.print(f"[bold]·[/] {what} ", end="")
    began = time.monotonic()
    yield
    console.print(f"[dim]{time.monotonic() - began:.1f} s[/]")


def trainq(emulator: Emulator, credentials: dict[str, str], stack_file: Path, *arguments: str) -> None:
    """Run `trainq` with these credentials. Raises Failed with its error."""
    done = subprocess.run(
        [*TRAINQ, "--stack", str(stack_file), *arguments],
        env=os.environ | emulator.environment(credentials),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    if done.returncode:
        raise Failed(f"trainq {arguments[0]}: {done.stderr.strip()}")


def narrator(emulator: Emulator, outputs: dict[str, str]) -> Stack:
    """Return the stack for the demo's own requests, which are made as the account's root."""
    return emulator.stack(outputs)


def train(
    emulator: Emulator,
    outputs: dict[str, str],
    stack: Stack,
    stack_file: Path,
    folder: Path,
    shards: int,
    cleanup: ExitStack,
) -> Story:
    """Run three workers until every good task is done and the broken one is on the dead letter queue."""
    credentials = emulator.assume(outputs["worker_role_arn"], "demo")
    workers = []
    for number in range(1, WORKERS + 1):
        environment = emulator.environment(credentials)
        worker = WorkerProcess.start(f"worker-{number}", stack_file, TRAIN, environment, folder)
        cleanup.callback(worker.kill)
        workers.append(worker)
    story = Story(workers, shards)
    started = time.monotonic()
    live = Live(console=console, transient=True, auto_refresh=False)
    with live if console.is_terminal else ExitStack():
        said = 0.0
        while len(story.finishers) < story.shards or waiting(stack, outputs["dead_letter_queue_url"]) < 1:
            elapsed = time.monotonic() - started
            if elapsed > DEADLINE_SECONDS:
                raise Failed(f"after {elapsed:.0f} s {len(story.finishers)} of {shards} good tasks are done")
            follow(story)
            if story.killed is None and len(story.finishers) >= shards // 5:
                kill_one_in_mid_task(story, stack)
            if console.is_terminal:
                live.update(picture(story), refresh=True)
            elif elapsed - said >= 5:
                said = elapsed
                console.print(f"  {elapsed:3.0f} s: {len(story.finishers)} of {story.tasks} tasks done{hint(story)}")
            time.sleep(0.05)
    for worker in workers:
        if worker is not story.killed and worker.end() != 0:
            raise Failed(
                f"{worker.name} ended with status {worker.process.returncode}: {worker.log.read_text()[-500:]}"
            )
    follow(story)
    console.print(f"[bold]·[/] train with {WORKERS} workers [dim]{time.monotonic() - started:.1f} s[/]")
    return story


def follow(story: Story) -> None:
    for worker in story.workers:
        for event in worker.follow():
            if event.what == "done":
                story.finishers[event.task] = worker.name


def kill_one_in_mid_task(story: Story, stack: Stack) -> None:
    """SIGKILL a worker while it trains. SIGSTOP comes first, so that the task cannot finish between check and kill."""
    for worker in story.workers:
        event = worker.current
        if event is None or event.attempt > 1 or worker.process.poll() is not None:
            continue
        worker.process.send_signal(signal.SIGSTOP)
        follow(story)
        # Only a worker that has reported its task: the timeline shows the kill by the report.
        prefix = f"{layout.workers(JOB)}{worker.name}/"
        keys = [each["Key"] for each in listed(stack.s3, stack.bucket_name, prefix)]
        reports = [markers.read(stack.s3, stack.bucket_name, key) for key in keys]
        done = markers.read(stack.s3, stack.bucket_name, layout.result(JOB, event.task))
        if worker.current == event and event.task in [each["task"] for each in reports if each] and done is None:
            worker.kill()
            story.killed, story.killed_task = worker, event.task
            return
        worker.process.send_signal(signal.SIGCONT)


def waiting(stack: Stack, queue_url: str) -> int:
    name = "ApproximateNumberOfMessages"
    return int(stack.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=[name])["Attributes"][name])


def hint(story: Story) -> str:
    """Return the tries of the broken shard, when all good tasks are done; before that, nothing."""
    if len(story.finishers) < story.shards:
        return ""
    tries = sum(event.what in ("failed", "given_up") for worker in story.workers for event in worker.events)
    return f"; the broken shard has failed {tries} of 5 times"


def picture(story: Story) -> Table:
    """Return the live display: the job's progress and each worker's task."""
    table = Table.grid(padding=(0, 2))
    done = len(story.finishers)
    filled = round(40 * done / story.tasks)
    table.add_row(
        "  all",
        f"[green]{'━' * filled}[/][dim]{'━' * (40 - filled)}[/] {done} of {story.tasks} tasks done{hint(story)}",
    )
    for worker in story.workers:
        if worker is story.killed:
            state = f"[red]killed in the middle of task {story.killed_task}[/]"
        elif worker.current:
            again = f" [yellow](attempt {worker.current.attempt})[/]" if worker.current.attempt > 1 else ""
            state = f"task {worker.current.task}{again}"
        else:
            state = "[dim]waiting[/]"
        table.add_row(f"  {worker.name}", state)
    return table
