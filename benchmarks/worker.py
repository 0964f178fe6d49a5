"""1. Worker overhead: runs tasks that do nothing, in one process, from a full queue to the last task's effect."""

import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from benchmarks.figures import summary
from benchmarks.place import PEERS, Place, ours, place
from benchmarks.requests import EFFECTS, HEARTBEATS, RECEIVE, SENDS
from trainq.protocol.messages import Task
from trainq.worker.worker import Options

TASKS = 600
ROUNDS = 3
FULL_ROUNDS = 7


@dataclass(frozen=True)
class Contestant:
    """A contestant. `sender`: the command that fills its queue; by default this benchmark does, in full batches.
    `results`: number of objects that it writes for each task."""

    name: str
    argv: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    sender: list[str] | None = None
    results: int = 0


def contestants(in_flight: int, *, full: bool) -> Iterator[Contestant]:
    """Yield the contestants. `in_flight`: the most requests of trainq in flight; a bare loop may have as many."""
    shard = {"download": True} if _can_leave_shards() else {}
    yield _trainq("trainq, prefetch 10", prefetch=10, **shard)
    yield _bare("bare loop", results=True, download=True)
    yield _bare(f"bare loop, {in_flight} in flight", in_flight=in_flight, results=True, download=True)
    if _can_leave_shards():
        yield _trainq("trainq, prefetch 10, no download", prefetch=10, download=False)
        yield _bare("bare loop, no download", results=True)
        yield _bare(f"bare loop, {in_flight} in flight, no download", in_flight=in_flight, results=True)
    yield _trainq("trainq, prefetch 1", prefetch=1, **shard)
    yield _celery("Celery solo, S3 results", "-P", "solo", results=True)
    yield _celery("Celery solo, no results", "-P", "solo", results=False)
    if full:
        yield _celery("Celery prefork 2, S3 results", "-P", "prefork", "-c", "2", results=True)
        yield _celery("Celery prefork 2, no results", "-P", "prefork", "-c", "2", results=False)
    for threads in (1, 8):
        yield _dramatiq(threads)
    yield _bare("bare loop, no results")
    yield _bare("bare loop, one by one, no results", batch=1)


def _can_leave_shards() -> bool:
    return "download" in {each.name for each in fields(Options)}


def _trainq(name: str, **options: Any) -> Contestant:
    return Contestant(name, ours("trainq_worker"), {"options": options}, results=1)


def _bare(name: str, **settings: Any) -> Contestant:
    chosen = {"batch": 10, "results": False, "download": False, "in_flight": 1} | settings
    return Contestant(name, ours("bare"), chosen, results=int(chosen["results"]))


def _celery(name: str, *arguments: str, results: bool) -> Contestant:
    module = "benchmarks.contestants.celery_tasks"
    worker = [str(PEERS / "celery"), "-A", module, "worker", "-l", "WARNING", *arguments]
    sender = [str(PEERS / "python"), "-m", module, str(TASKS)]
    return Contestant(name, worker, {"results": results}, sender, int(results))


def _dramatiq(threads: int) -> Contestant:
    module = "benchmarks.contestants.dramatiq_tasks"
    worker = [str(PEERS / "dramatiq"), module, "-p", "1", "-t", str(threads), "--path", "."]
    sender = [str(PEERS / "python"), "-m", module, str(TASKS)]
    return Contestant(f"Dramatiq, {threads} thread{'s' * (threads > 1)}, no results", worker, {}, sender)


def measure(there: Place, contestant: Contestant) -> dict[str, Any]:
    """Measure one run. Return the rate, and the requests per task by kind."""
    job = f"job-{uuid.uuid4().hex}"
    # Dramatiq's queues have a namespace and a name.
    url = there.queue(f"{job}_tasks")
    there.forget()
    if contestant.sender:
        there.run(contestant.sender, queue_url=url, job_id=job, **contestant.settings)
    else:
        there.send(url, [_task(job, number) for number in range(TASKS)], job)
    sends = there.trace().count(*SENDS) / TASKS if contestant.sender else 0.1
    there.forget()
    there.run_until_empty(url, contestant.argv, job_id=job, **contestant.settings)
    trace = there.trace()
    there.drop(url)
    there.clear()
    start, end = trace.first(RECEIVE), trace.last(*EFFECTS)
    trace = trace.between(float("-inf"), end)
    if trace.count("s3:PUT") < contestant.results * TASKS:
        raise RuntimeError(f"{contestant.name}: {trace.count('s3:PUT')} results of {TASKS} tasks")
    return {
        "tasks_per_second": TASKS / (end - start),
        "requests_per_task": {"sqs:send": sends} | trace.per_task(TASKS),
        "most_in_flight": trace.most_in_flight(),
    }


def puts(there: Place, in_flight: int) -> float:
    """Return the emulator's ceiling: conditional writes per second with `in_flight` in flight."""
    there.forget()
    there.run(ours("bare_puts"), job_id=f"puts-{uuid.uuid4().hex}", in_flight=in_flight, tasks=TASKS)
    trace = there.trace()
    there.clear()
    return TASKS / (trace.last("s3:PUT") - trace.first("s3:PUT"))


def _task(job: str, number: int) -> str:
    return Task(job_id=job, task=number, tasks=TASKS, shards=[f"datasets/d/{number:05}"], parameters={}).to_json()


def run(*, full: bool) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ceiling: dict[str, list[float]] = defaultdict(list)
    with place() as there:
        there.put({f"datasets/d/{number:05}": b"x" * 100 for number in range(TASKS)})
        warm = measure(there, _trainq("warm-up", prefetch=10))
        in_flight = max(2, warm["most_in_flight"])
        field_ = list(contestants(in_flight, full=full))
        for number in range(FULL_ROUNDS if full else ROUNDS):
            for contestant in field_:
                found = measure(there, contestant)
                runs[contestant.name].append(found)
                print(f"  round {number + 1}: {contestant.name}: {found['tasks_per_second']:.0f} tasks/s", flush=True)
            for each in (1, in_flight):
                ceiling[str(each)].append(puts(there, each))
    return {
        "tasks": TASKS,
        "in_flight": in_flight,
        "puts_per_second": {each: summary(rates) for each, rates in ceiling.items()},
        "contestants": {name: _summed_up(each) for name, each in runs.items()},
    }


def _summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = sorted({kind for each in runs for kind in each["requests_per_task"]})
    per_task = {kind: sum(each["requests_per_task"].get(kind, 0) for each in runs) / len(runs) for kind in kinds}
    return {
        "tasks_per_second": summary([each["tasks_per_second"] for each in runs]),
        "requests_per_task": per_task,
        "sqs_requests_per_task": sum(number for kind, number in per_task.items() if kind.startswith("sqs:")),
        "heartbeats": sum(per_task.get(kind, 0) for kind in HEARTBEATS),
    }
