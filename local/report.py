"""Prints the demo's report. Each line is checked; the first that does not hold raises Failed."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from local import corpus
from local.program import ROOT
from local.workers import WorkerProcess
from trainq.client import results
from trainq.client import status as looking
from trainq.stack import Stack

sys.path.insert(0, str(ROOT / "examples" / "ngram"))
import ngram

JOB = "stdlib"
ORDER = 4

console = Console(highlight=False)


class Failed(Exception):
    """Raised if a check of the demo fails."""


@dataclass
class Story:
    """The progress of the demo, for its display and its report. `shards`: number of good ones; one more is broken."""

    workers: list[WorkerProcess]
    shards: int
    killed: WorkerProcess | None = None
    killed_task: int | None = None
    finishers: dict[int, str] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        return self.shards + 1


def report(stack: Stack, dead_letter_queue_url: str, story: Story, folder: Path, held_out: Sequence[Path]) -> None:
    """Check the results in the bucket and on the queue, and print them. Raises Failed."""
    found = looking.status(stack, JOB)
    if found is None:
        raise Failed("the job has no plan")
    committed = results.committed(stack, JOB)
    starts = Counter(event.task for worker in story.workers for event in worker.events if event.what == "started")
    check(
        f"{len(committed)} of {found.tasks} tasks are done, in {starts.total()} attempts",
        found.tasks == story.tasks and len(committed) == story.shards,
    )
    _killed(story, committed)
    _dead_letter(stack, dead_letter_queue_url, starts, found)
    good = [folder / "shards" / Path(key).name for each in committed for key in each["shards"]]
    merged: ngram.Counts = Counter()
    for each in committed:
        merged.update(ngram.load(folder / "results" / str(each["task"]) / "counts.json"))
    _model(merged, good, story.shards, held_out)


def _killed(story: Story, committed: list[dict[str, Any]]) -> None:
    again = next((each for each in committed if each["task"] == story.killed_task), None)
    if story.killed is None or again is None:
        raise Failed("no worker was killed in the middle of a task that was then finished")
    check(
        f"{story.killed.name} was killed in the middle of task {story.killed_task}, which {again['worker']} finished "
        f"(attempt {again['attempt_number']})",
        again["worker"] != story.killed.name and again["attempt_number"] > 1,
    )


def _dead_letter(stack: Stack, queue_url: str, starts: Counter[int], found: looking.JobStatus) -> None:
    answer = stack.sqs.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=0, WaitTimeSeconds=5
    )
    messages = answer.get("Messages", [])
    check(f"{len(messages)} message is on the dead letter queue", len(messages) == 1)
    dead = json.loads(messages[0]["Body"])
    check(
        f"it is task {dead['task']}, with the broken shard, tried {starts[dead['task']]} times",
        dead["shards"] == [f"datasets/stdlib/{corpus.BROKEN}"] and starts[dead["task"]] == 5,
    )
    failure = next((each for each in found.last_failures if each["task"] == dead["task"]), {})
    said = failure.get("output_tail", "").strip().splitlines()
    check(f"its reason: exit status {failure.get('exit_code')}, {said[-1] if said else None}", "not UTF-8" in str(said))


def _model(merged: ngram.Counts, good: list[Path], shards: int, held_out: Sequence[Path]) -> None:
    check(
        "the merged counts equal those of a single process over the same shards, exactly: "
        f"{merged.total():,} n-grams, {len(merged):,} different",
        len(set(good)) == shards and merged == ngram.count_files(good, ORDER),
    )
    model = ngram.Model(merged, ORDER)
    texts = [path.read_text(encoding="utf-8") for path in held_out]
    perplexity = model.perplexity(texts)
    baseline = ngram.Model(ngram.count_files(good, 0), 0).perplexity(texts)
    check(
        f"perplexity on {len(texts)} held-out modules: {perplexity:.2f} a character "
        f"({baseline:.2f} for a model that knows only how frequent each character is)",
        perplexity < baseline,
    )
    console.print("  what the model writes:\n")
    for line in model.sample(400, seed=7).strip("\n").splitlines():
        console.print(f"    {line}", style="dim", markup=False, soft_wrap=True)
    console.print()


def check(what: str, holds: bool) -> None:
    """Print the statement. Raises Failed if it does not hold."""
    if not holds:
        raise Failed(what)
    console.print(f"  [green]✓[/] {what}", soft_wrap=True)
