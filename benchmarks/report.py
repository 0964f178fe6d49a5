"""Makes the report in docs/performance.md and the figures in README.md. Pure functions."""

from typing import Any

from benchmarks.figures import at_least_shown, at_most_shown, ratio
from benchmarks.tables import TABLES, table
from benchmarks.targets import verdicts

Results = dict[str, Any]


def report(results: Results) -> str:
    """Return all tables: first the targets, then the measurements."""
    measured = results["benchmarks"]
    parts = [
        _about(results),
        "### Targets",
        table(["what", "wanted", "reached", ""], verdicts(measured)),
    ]
    for name, (title, make) in TABLES.items():
        if name in measured:
            parts += [f"### {title}", make(measured[name])]
    return "\n\n".join(parts)


def _about(results: Results) -> str:
    machine, measured = results["machine"], results["benchmarks"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    when = ", ".join(
        f"{name} ({each['date']}, {'full' if each['full'] else 'short'} form)" for name, each in measured.items()
    )
    return (
        f"{machine['processors']} processors ({machine['model']}), {machine['system']}, Python {machine['python']}; "
        f"{versions}. Measured: {when}."
    )


def readme(results: Results) -> str:
    """Return the three figures for the README."""
    measured = results["benchmarks"]
    contestants = measured["worker"]["contestants"]
    mine, celery = contestants["trainq, prefetch 10"], contestants["Celery solo, S3 results"]
    faster = ratio(mine["tasks_per_second"]["all"], celery["tasks_per_second"]["all"])
    hows = measured["dispatch"]["sizes"]["10000"]
    handler, single = (hows[how]["tasks_per_second"] for how in ("handler", "single sends"))
    back = measured["latency"]["kill_in_timeouts"]
    rows = [
        (
            "short tasks, one worker, results committed",
            f"{at_most_shown(mine['tasks_per_second']['median'], 0):,.0f} tasks/s,",
            f"{at_most_shown(faster):.2f} x Celery with its S3 result backend;",
            f"{at_least_shown(mine['sqs_requests_per_task']):.2f} SQS requests per task",
            f"(Celery: {at_most_shown(celery['sqs_requests_per_task']):.2f})",
        ),
        (
            "one job message to 10,000 tasks on the queue",
            f"{at_most_shown(handler['median'], 0):,.0f} tasks/s,",
            f"{at_most_shown(ratio(handler['all'], single['all'])):.2f} x one send per task",
        ),
        (
            "a killed worker's task runs elsewhere",
            f"after {at_least_shown(back['median']):.2f} visibility timeouts,",
            f"{at_least_shown(back['high']):.2f} at most",
        ),
    ]
    return table(["what", "measured"], [[what, " ".join(words)] for what, *words in rows])
