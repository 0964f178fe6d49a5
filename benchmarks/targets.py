"""Compares the results with the targets. Figures are rounded to our disadvantage."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import at_least_shown, at_most_shown, ratio

Results = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A target. `benchmark`: the benchmark whose results it uses; `limit`: the least or the most that is allowed."""

    benchmark: str
    what: str
    limit: float
    reached: Callable[[Results], float]
    at_least: bool = False
    unit: str = ""
    digits: int = 2

    def shown(self, results: Results) -> str:
        value = self.reached(results)
        shown = (at_most_shown if self.at_least else at_least_shown)(value, self.digits)
        return f"{shown:,.{self.digits}f}{self.unit}"

    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:,g}{self.unit}"

    def verdict(self, results: Results) -> str:
        value = self.reached(results)
        if value >= self.limit if self.at_least else value <= self.limit:
            return "met"
        if not self.limit:
            return f"**missed by {at_least_shown(value):g}**"
        return f"**missed by {at_least_shown(abs(value - self.limit) / self.limit * 100, 0):.0f}%**"


def _rates(results: Results, name: str) -> list[float]:
    return results["contestants"][name]["tasks_per_second"]["all"]


def _of(loop: str, suffix: str) -> Callable[[Results], float]:
    return lambda results: ratio(_rates(results, f"trainq, prefetch 10{suffix}"), _rates(results, f"{loop}{suffix}"))


def _of_celery(suffix: str) -> Callable[[Results], float]:
    return lambda results: ratio(
        _rates(results, f"trainq, prefetch 10{suffix}"), _rates(results, "Celery solo, S3 results")
    )


def _dispatched(results: Results, other: str) -> float:
    hows = results["sizes"]["10000"]
    return ratio(hows["handler"]["tasks_per_second"]["all"], hows[other]["tasks_per_second"]["all"])


def _downloads(results: Results, name: str) -> float:
    hows = results["sets"][name]
    return ratio(*(hows[how]["mb_per_second"]["all"] for how in ("trainq", "aws s3 cp")))


def targets(results: Results) -> Iterator[Target]:
    """Yield the targets of the benchmarks that have been run."""
    for target in _targets(results):
        if target.benchmark in results:
            yield target


def _targets(results: Results) -> Iterator[Target]:
    contestants = results.get("worker", {}).get("contestants", {})
    for suffix in ("", ", no download"):
        if f"trainq, prefetch 10{suffix}" in contestants or not suffix:
            # A sequential bare loop, and as many loops in one process as trainq has requests in flight.
            for loop in ("bare loop", f"bare loop, {results['worker']['in_flight']} in flight"):
                yield Target("worker", f"short tasks{suffix}: of the {loop}", 0.85, _of(loop, suffix), True)
            yield Target("worker", f"short tasks{suffix}: Celery with S3 results", 2, _of_celery(suffix), True, " x")
    first = "trainq, prefetch 10"
    yield Target(
        "worker",
        "SQS requests per short task, send included",
        0.35,
        lambda found: found["contestants"][first]["sqs_requests_per_task"],
    )
    yield Target("worker", "heartbeats per short task", 0, lambda found: found["contestants"][first]["heartbeats"])
    yield Target("dispatch", "10,000 tasks: of the bare flood", 0.8, lambda found: _dispatched(found, "flood"), True)
    yield Target(
        "dispatch",
        "10,000 tasks: one send for each",
        5,
        lambda found: _dispatched(found, "single sends"),
        True,
        " x",
    )
    yield Target(
        "dispatch", "send requests per task", 0.1, lambda found: found["sizes"]["10000"]["handler"]["sends_per_task"]
    )
    yield Target(
        "dispatch",
        "the function's package imported",
        400,
        lambda found: found["cold_start"]["import_seconds"]["median"] * 1000,
        unit=" ms",
        digits=0,
    )
    yield Target(
        "dispatch", "the function's archive", 2, lambda found: found["cold_start"]["archive_bytes"] / 1e6, unit=" MB"
    )
    yield Target(
        "growth",
        "1,000,000 tasks: peak memory",
        512,
        lambda found: found["sizes"]["1000000"]["peak_mb"]["high"],
        unit=" MB",
        digits=0,
    )
    yield Target(
        "growth", "peak memory, 1,000,000 to 100,000 tasks", 1.2, lambda found: found["memory_growth"], unit=" x"
    )
    yield Target(
        "growth",
        "1,000,000 tasks at 10 ms per request, on 512 MB of Lambda",
        900,
        lambda found: found["million_seconds_on_lambda"],
        unit=" s",
        digits=0,
    )
    yield Target(
        "program",
        "start to last registration",
        1.5,
        lambda found: found["last_registration_seconds"]["median"],
        unit=" s",
    )
    yield Target("program", "longest chain of resources", 6, lambda found: len(found["chain"]), digits=0)
    yield Target(
        "idle", "requests per heartbeat of ten held messages", 1, lambda found: found["requests_per_heartbeat"]
    )
    for name in results.get("shards", {}).get("sets", {}):
        yield Target(
            "shards", f"download of {name}: of aws s3 cp", 0.8, lambda found, name=name: _downloads(found, name), True
        )


def verdicts(results: Results) -> list[tuple[str, str, str, str]]:
    """Return a row for each target: what, wanted, reached, verdict."""
    return [
        (each.what, each.wanted(), each.shown(results[each.benchmark]), each.verdict(results[each.benchmark]))
        for each in targets(results)
    ]
