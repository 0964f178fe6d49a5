"""Generates the tables of docs/reference.md from the program. `make docs` writes the page, `make lint` compares it.

Names, defaults and allowed values come from the code. The sentences about outputs and fields are here: a name without a
sentence, or a sentence without a name, is an error.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

import click

import settings_types
from local.__main__ import local
from local.program import ROOT
from settings import Settings
from trainq.cli import trainq
from trainq.protocol import events
from trainq.protocol.messages import Job, Task
from trainq.stack import NEEDED

COLUMNS = 100
OUTPUTS = {
    "model_training_queue_url": "the queue that workers take tasks from",
    "model_training_queue_arn": "its ARN",
    "dead_letter_queue_url": "the model training queue's dead letter queue: tasks that failed `max_receive_count` "
    "times, or whose workers died so often; each with its reason, unless SQS itself moved it",
    "dead_letter_queue_arn": "its ARN",
    "message_queue_url": "where jobs are sent",
    "queue_arn": "the message queue's ARN",
    "message_dead_letter_queue_url": "the message queue's dead letter queue: jobs that were refused, or failed "
    "`max_receive_count` times; each with its reason, unless SQS itself moved it",
    "bucket_name": "the training data bucket",
    "bucket_url": "the same as `s3://…`",
    "message_processor_name": "the function",
    "worker_role_arn": "the role of worker machines; its instance profile has the same name",
    "worker_policy_arn": "the rights of a worker",
    "submitter_policy_arn": "the rights to upload, submit, follow and fetch",
    "operator_policy_arn": "the rights to look into dead letter queues and to move messages back",
    "alarm_topic_arn": "the topic that alarms are sent to",
    "dashboard_name": "the CloudWatch dashboard",
    "stack_parameter": "the SSM parameter in which worker machines find the stack",
    "region": "the stack's region",
}
JOB = {
    "job_id": "the job's name. To send the same job again is harmless; another job under a used id is refused",
    "dataset": "the prefix in the bucket whose objects are the shards",
    "parameters": "given to every task",
    "grid": "one task for each combination of these values, with each group of shards",
    "shards_per_task": "how many shards a task has; 1 if `bytes_per_task` is not given either. The tasks of a job "
    "differ by one shard at most",
    "bytes_per_task": "in place of `shards_per_task`: the most bytes of shards that a task has. A larger shard is a "
    "task by itself",
}
TASK = {
    "job_id": "its job",
    "task": "its number within the job",
    "tasks": "how many tasks the job has",
    "shards": "the keys of its shards in the bucket",
    "parameters": "the job's parameters and one combination of its grid",
}
# The fields of an attempt's objects below runs/JOB/: in which of them a field is, and its sentence.
RECORD = {
    "job_id": ("all", "its job"),
    "task": ("all", "its number within the job"),
    "attempt": ("all", "the attempt's id: 32 of the characters 0-9 a-f"),
    "attempt_number": ("all", "which attempt at the task it is, from 1; a redriven task begins with 1 again"),
    "failures_before": (
        "all",
        "how many of the task's tries were used up before it, by failures or by workers that died",
    ),
    "worker": ("all", "the worker's name"),
    "started": ("all", "when its turn to train came: ISO 8601, in UTC"),
    "finished": ("all", "when this object was written"),
    "shards": ("results", "as in the task's message"),
    "parameters": ("results", "as in the task's message"),
    "output": ("results", "the prefix in the bucket below which its files are"),
    "files": ("results", "the files, each with its `path` below `output`, and its size in `bytes`"),
    "notes": ("results", "`TrainingTask.notes`; of a command `output_tail`, the last 4,000 characters of its output"),
    "reason": ("failures", "why it failed"),
    "why": ("interruptions", "its outcome, by its value in the [table](architecture.md#the-states-of-an-attempt)"),
    "problem": ("interruptions, workers", "what was wrong with the checkpoint or the disk, if anything was"),
    "heartbeat": ("workers", "when the worker wrote it"),
}
EXAMPLE_JOB = {
    "job_id": "sweep-7",
    "dataset": "datasets/corpus/",
    "parameters": {"order": 3},
    "grid": {"smoothing": [0.1, 0.5]},
    "shards_per_task": 4,
}
EXAMPLE_TASK = {
    "job_id": "sweep-7",
    "task": 12,
    "tasks": 480,
    "shards": ["datasets/corpus/00048.txt"],
    "parameters": {"order": 3, "smoothing": 0.1},
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """Return a row for each setting of the stack."""
    rows = (
        (
            f"`{each.name}`",
            f"`{json.dumps(settings_types.shown(each.default))}`",
            each.metadata["allowed"],
            each.metadata["why"],
        )
        for each in fields(Settings)
    )
    return table(("setting", "default", "allowed", "why"), rows)


def outputs() -> str:
    """Return a row for each output, in the order in which the program exports them."""
    exported = re.findall(r'^pulumi\.export\("(\w+)"', (ROOT / "__main__.py").read_text(), re.MULTILINE)
    rows = ((f"`{name}`", what, "yes" if name in NEEDED else "") for name, what in explained(OUTPUTS, exported))
    return table(("output", "what it is", "`trainq` needs it"), rows)


def job() -> str:
    return _message(Job, JOB, EXAMPLE_JOB)


def task() -> str:
    return _message(Task, TASK, EXAMPLE_TASK)


def _message(kind: type[Job] | type[Task], sentences: Mapping[str, str], example: dict[str, Any]) -> str:
    by_name = {each.name: each for each in fields(kind)}
    rows = (
        (f"`{name}`", _default(by_name[name]), by_name[name].metadata["rule"].allowed, what)
        for name, what in explained(sentences, list(by_name))
    )
    kind.from_dict(example)
    return f"```json\n{json.dumps(example)}\n```\n\n{table(('field', 'default', 'allowed', 'what it is for'), rows)}"


def _default(about: Any) -> str:
    if about.default_factory is not MISSING:
        return f"`{json.dumps(about.default_factory())}`"
    return "required" if about.default is MISSING else f"`{json.dumps(about.default)}`"


def records() -> str:
    """Return a row for each field of results, failures, interruptions and workers' reports."""
    return table(("field", "in", "what it is"), ((f"`{name}`", *about) for name, about in RECORD.items()))


def environment() -> str:
    """Return a row for each variable that a training command finds, as `trainq work --help` explains them."""
    explained = re.findall(r"^ *((?:TRAINQ_\w+(?:, )?)+) {2,}(\S.*)$", trainq.load("work").help or "", re.MULTILINE)
    rows = ((", ".join(f"`{name}`" for name in names.split(", ")), what) for names, what in explained)
    return table(("variable", "what it is"), rows)


def commands() -> str:
    """Return what `--help` prints of each command."""
    return "\n\n".join(
        f"### `{name}`\n\n```text\n{text}\n```"
        for root, name in ((trainq, "trainq"), (local, "python -m local"))
        for name, text in _help(root, name, None)
    )


def _help(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    word = name if parent is None else name.rpartition(" ")[2]
    context = click.Context(command, parent, info_name=word, terminal_width=COLUMNS, max_content_width=COLUMNS)
    context.help_option_names = ["-h", "--help"]
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for each in command.commands or command.list_commands(context):
            below = command.get_command(context, each)
            assert below
            yield from _help(below, f"{name} {each}", context)


def told() -> str:
    """Return a row for each event."""
    known = [each for each in vars(events).values() if isinstance(each, events.Event)]
    levels = {20: "info", 30: "warning", 40: "error"}
    rows = (
        (f"`{each.name}`", levels[each.level], ", ".join(f"`{name}`" for name in _fields(each)), each.sentence)
        for each in known
    )
    return table(("event", "level", "fields", "as text"), rows)


def _fields(event: events.Event) -> list[str]:
    return list(dict.fromkeys(re.findall(r"{(\w+)", event.sentence)))


def explained(sentences: Mapping[str, str], names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each name with its sentence. Raises ValueError if names and sentences do not match."""
    if differing := sentences.keys() ^ set(names):
        raise ValueError(f"local/reference.py and the program differ in {', '.join(sorted(differing))}")
    return ((name, sentences[name]) for name in names)
