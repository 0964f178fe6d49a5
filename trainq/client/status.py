"""Reads the status of a job from the bucket."""

from dataclasses import dataclass, field
from typing import Any

from trainq.client.attempt_records import checked, is_count
from trainq.client.attempts import ended, read_reports, reports
from trainq.client.results import OnRefused, done_tasks, read_checked
from trainq.protocol import layout, markers
from trainq.protocol.fields import shown
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import JOB_ID
from trainq.stack import Stack

# The throughput is computed from the tasks that were done within this time.
RECENT_SECONDS = 600
# Of running attempts and of failing tasks as many records are read, however many there are.
MOST_READ = 100


@dataclass(frozen=True)
class JobStatus:
    """The status of a job. Immutable.

    `state`: "being dispatched", "running", "done", "given up" or "cancelled". `tasks`, `shards`, `done`: numbers.
    `running`: workers' reports of attempts that have not ended and whose lease may still be held, MOST_READ of them at
    most; `more_running`: how many more there are. `age`: seconds since a report, by S3's clock. `retrying`: number of
    failures so far, by task. `dead`: tasks that have failed for good. `last_failures`: newest failure record of each
    failing task. `hindered`: newest interruption record of some tasks that had no space on the disk, or whose
    checkpoint was not saved whole; its `problem` says which. Reports in `running` may have a `problem`, too.
    `throughput`: tasks per second within the last RECENT_SECONDS. Tasks that are done are in no list.
    """

    job_id: str
    state: str
    tasks: int
    shards: int
    done: int
    running: list[dict[str, Any]] = field(default_factory=list)
    more_running: int = 0
    retrying: dict[int, int] = field(default_factory=dict)
    dead: list[int] = field(default_factory=list)
    last_failures: list[dict[str, Any]] = field(default_factory=list)
    hindered: list[dict[str, Any]] = field(default_factory=list)
    throughput: float = 0.0

    @property
    def complete(self) -> bool:
        """Return whether all tasks are done."""
        return self.done == self.tasks

    @property
    def settled(self) -> bool:
        """Return whether the job changes no more unless an operator acts: done, cancelled or given up."""
        return self.complete or self.state == "cancelled" or self.done + len(self.dead) == self.tasks

    @property
    def seconds_left(self) -> float | None:
        """Return the estimated seconds until all tasks are done; None while the throughput is unknown."""
        left = self.tasks - self.done - len(self.dead)
        return left / self.throughput if self.throughput else None


def status(
    stack: Stack, job_id: str, *, reasons: int = 5, on_left_out: OnRefused = lambda error: None
) -> JobStatus | None:
    """Return the job's status; None if the job has no plan. `reasons`: number of tasks whose newest failure or
    interruption is read.

    `on_left_out`: called with the error of each invalid record. Raises MarkerError if the plan is invalid.
    """
    plan = _plan(stack, job_id)
    if plan is None:
        return None
    queue = stack.training_queue_settings()
    done = done_tasks(stack, job_id, plan["tasks"])
    failures = ended(stack, layout.failures(job_id))
    interrupted = ended(stack, layout.interruptions(job_id))
    over = set[str]().union(*failures.values(), *interrupted.values())
    own_tasks = range(plan["tasks"])

    def unfinished(tried: dict[int, dict[str, float]]) -> dict[int, dict[str, float]]:
        return {task: each for task, each in sorted(tried.items()) if task in own_tasks and task not in done}

    failing = unfinished(failures)
    ages = {key: age for key, age in reports(stack, job_id, over).items() if age < queue.timeout}
    fresh = dict(sorted(ages.items(), key=lambda each: each[1])[:MOST_READ])
    running = [
        report
        for report in read_reports(stack, fresh, on_left_out)
        if report["task"] in own_tasks and report["task"] not in done and report["attempt"] not in over
    ]
    at_work = {report["task"] for report in running}
    newest = _newest_first(failing)
    # The newest records are read; the other tasks are judged by the number of their records.
    keys = [layout.failure(job_id, task, attempt) for task, attempt in sorted(newest[:MOST_READ])]
    last_failures = read_checked(stack, keys, checked, on_left_out)
    # Use the count in the last failure, not the number of failure records: a redriven task counts from 0 again.
    counts = {each["task"]: each["failures_before"] + 1 for each in last_failures}
    counts |= {task: len(failing[task]) for task, _ in newest[MOST_READ:]}
    dead = {task for task, count in counts.items() if count >= queue.max_failures and task not in at_work}
    stopped = _newest_first(unfinished(interrupted))[:reasons]
    latest = [layout.interruption(job_id, task, attempt) for task, attempt in stopped]
    return JobStatus(
        job_id=job_id,
        state=_state(stack, job_id, plan, len(done), len(dead)),
        tasks=plan["tasks"],
        shards=plan["shards"],
        done=len(done),
        running=running,
        more_running=max(0, len(ages) - MOST_READ),
        retrying={task: len(attempts) for task, attempts in failing.items() if task not in dead},
        dead=sorted(dead),
        last_failures=last_failures[:reasons],
        hindered=[each for each in read_checked(stack, latest, checked, on_left_out) if each.get("problem")],
        throughput=_throughput(list(done.values())),
    )


def jobs(stack: Stack) -> list[str]:
    """Return the ids of all jobs in the bucket. Skips folders whose name is not a job's id."""
    pages = stack.s3.get_paginator("list_objects_v2").paginate(Bucket=stack.bucket_name, Prefix="runs/", Delimiter="/")
    names = [each["Prefix"].split("/")[1] for page in pages for each in page.get("CommonPrefixes", ())]
    return [name for name in names if JOB_ID.fullmatch(name)]


def _newest_first(tried: dict[int, dict[str, float]]) -> list[tuple[int, str]]:
    """Return each task with its newest attempt, the newest first. `tried`: as from `ended`."""
    newest = sorted(((max((at, attempt) for attempt, at in each.items()), task) for task, each in tried.items()))
    return [(task, attempt) for (_, attempt), task in reversed(newest)]


def _plan(stack: Stack, job_id: str) -> dict[str, Any] | None:
    key = layout.plan(job_id)
    plan = markers.read(stack.s3, stack.bucket_name, key)
    if plan is None:
        return None
    for name in ("tasks", "shards"):
        if not is_count(plan.get(name)):
            raise MarkerError(f"{key!r}: field {name!r} is {shown(plan.get(name))}: allowed is a whole number from 0")
    return plan


def _state(stack: Stack, job_id: str, plan: dict[str, Any], done: int, dead: int) -> str:
    if done == plan["tasks"]:
        return "done"
    if markers.exists(stack.s3, stack.bucket_name, layout.cancelled(job_id)):
        return "cancelled"
    if not markers.exists(stack.s3, stack.bucket_name, layout.dispatched(job_id)):
        return "being dispatched"
    return "given up" if done + dead == plan["tasks"] else "running"


def _throughput(ages: list[float]) -> float:
    recent = [each for each in ages if each < RECENT_SECONDS]
    # The interval begins with the first task, which therefore does not count.
    return (len(recent) - 1) / max(max(recent), 1.0) if len(recent) > 1 else 0.0
