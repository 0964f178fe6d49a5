"""What has become of a job, as the bucket tells it."""

import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trainq.client.results import done_tasks, read_all
from trainq.protocol import layout, markers
from trainq.stack import Stack
from trainq.transfers import listed

# The throughput is that of the tasks that were done within so many seconds.
RECENT_SECONDS = 600
ENDED = re.compile(r"(0|[1-9][0-9]*)/([0-9a-f]{32})\.json")


@dataclass(frozen=True)
class JobStatus:
    """A job's numbers. `retrying` has the failures so far by task, `dead` the tasks that have failed for good.

    `running`: what workers last reported of attempts that have not ended, as far as their leases may still hold.
    `throughput`: tasks a second, lately. Lists of tasks never have one that is done.
    """

    job_id: str
    state: str
    tasks: int
    shards: int
    done: int
    running: list[dict[str, Any]] = field(default_factory=list)
    retrying: dict[int, int] = field(default_factory=dict)
    dead: list[int] = field(default_factory=list)
    last_failures: list[dict[str, Any]] = field(default_factory=list)
    throughput: float = 0.0

    @property
    def complete(self) -> bool:
        return self.done == self.tasks

    @property
    def settled(self) -> bool:
        """Nothing more will come of it by itself."""
        return self.complete or self.state == "cancelled" or self.done + len(self.dead) == self.tasks

    @property
    def seconds_left(self) -> float | None:
        """By the throughput; None while that is unknown."""
        left = self.tasks - self.done - len(self.dead)
        return left / self.throughput if self.throughput else None


def status(stack: Stack, job_id: str, *, reasons: int = 5) -> JobStatus | None:
    """The job's status, with the newest failure of up to `reasons` tasks; None if it has no plan."""
    s3, name = stack.s3, stack.bucket_name
    plan = markers.read(s3, name, layout.plan(job_id))
    if plan is None:
        return None
    queue = stack.training_queue_settings()
    done = done_tasks(stack, job_id)
    failures = _ended(stack, layout.failures(job_id))
    interrupted = _ended(stack, layout.interruptions(job_id))
    ended = {each for found in (failures, interrupted) for tried in found.values() for each, _ in tried}
    failing = {task: attempts for task, attempts in sorted(failures.items()) if task not in done}
    running = [
        report
        for report in workers(stack, job_id)
        if report["task"] not in done and report["attempt"] not in ended and _age(report) < queue.timeout
    ]
    newest = [max(attempts, key=lambda each: each[1]) for attempts in failing.values()]
    keys = [layout.failure(job_id, task, attempt) for task, (attempt, _) in zip(failing, newest, strict=True)]
    last_failures = read_all(stack, keys)
    # By the count that the last attempt had: a task that was redriven begins to count anew.
    at_work = {report["task"] for report in running}
    dead = [
        each["task"]
        for each in last_failures
        if each["failures_before"] + 1 >= queue.max_failures and each["task"] not in at_work
    ]
    return JobStatus(
        job_id=job_id,
        state=_state(stack, job_id, plan, len(done), len(dead)),
        tasks=plan["tasks"],
        shards=plan["shards"],
        done=len(done),
        running=running,
        retrying={task: len(attempts) for task, attempts in failing.items() if task not in dead},
        dead=dead,
        last_failures=last_failures[:reasons],
        throughput=_throughput(list(done.values())),
    )


def jobs(stack: Stack) -> list[str]:
    """The ids of all runs in the bucket."""
    pages = stack.s3.get_paginator("list_objects_v2").paginate(Bucket=stack.bucket_name, Prefix="runs/", Delimiter="/")
    return [each["Prefix"].split("/")[1] for page in pages for each in page.get("CommonPrefixes", ())]


def workers(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """What each worker that has been at this job last reported."""
    keys = [each["Key"] for each in listed(stack.s3, stack.bucket_name, layout.workers(job_id))]
    return read_all(stack, keys)


def attempts(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """Every attempt that is known of, with `how` it ended: done, failed, interrupted, lost, beaten, cancelled; running
    or, if its worker has not been heard of for a visibility timeout, killed."""
    found = [
        {**each, "how": "done"}
        for each in read_all(stack, [layout.result(job_id, t) for t in done_tasks(stack, job_id)])
    ]
    for prefix in (layout.failures(job_id), layout.interruptions(job_id)):
        ended = _ended(stack, prefix).items()
        keys = [f"{prefix}{task}/{attempt}.json" for task, tried in ended for attempt, _ in tried]
        found += [{**each, "how": _how(each)} for each in read_all(stack, keys)]
    known = {each["attempt"] for each in found}
    timeout = stack.training_queue_settings().timeout
    for report in workers(stack, job_id):
        if report["attempt"] not in known:
            how = "running" if _age(report) < timeout else "killed"
            found.append({**report, "finished": report["heartbeat"], "how": how})
    return sorted(found, key=lambda each: each["started"])


def _how(record: dict[str, Any]) -> str:
    return {"stop": "interrupted", "wall": "interrupted"}.get(record.get("why", "failed"), record.get("why", "failed"))


def _ended(stack: Stack, prefix: str) -> dict[int, list[tuple[str, float]]]:
    """Attempts that are recorded under this prefix, with the time, by task. Keys of another form are left out."""
    found: dict[int, list[tuple[str, float]]] = {}
    for each in listed(stack.s3, stack.bucket_name, prefix):
        if name := ENDED.fullmatch(each["Key"].removeprefix(prefix)):
            found.setdefault(int(name[1]), []).append((name[2], each["LastModified"].timestamp()))
    return found


def _state(stack: Stack, job_id: str, plan: dict[str, Any], done: int, dead: int) -> str:
    if done == plan["tasks"]:
        return "done"
    if markers.read(stack.s3, stack.bucket_name, layout.cancelled(job_id)):
        return "cancelled"
    if markers.read(stack.s3, stack.bucket_name, layout.dispatched(job_id)) is None:
        return "being dispatched"
    return "given up" if done + dead == plan["tasks"] else "running"


def _throughput(times: list[float]) -> float:
    recent = sorted(each for each in times if each > time.time() - RECENT_SECONDS)
    # The interval begins with the first of them, which therefore does not count.
    return (len(recent) - 1) / max(time.time() - recent[0], 1.0) if len(recent) > 1 else 0.0


def seconds(text: str) -> float:
    """A time as records have it, in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def _age(report: dict[str, Any]) -> float:
    return time.time() - seconds(report["heartbeat"])
