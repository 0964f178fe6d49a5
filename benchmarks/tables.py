"""Makes Markdown tables of the results. Pure functions."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.figures import at_least_shown, at_most_shown, ratio

Results = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(figure: dict[str, Any], digits: int = 0, scale: float = 1.0) -> str:
    """Return the median with the lowest and highest value, each rounded to the nearest."""
    median, low, high = (f"{figure[name] * scale:,.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def _count(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")


def worker(found: Results) -> str:
    best = found["contestants"]["trainq, prefetch 10"]["tasks_per_second"]["all"]
    rows = []
    for name, each in found["contestants"].items():
        kinds = ", ".join(
            f"{kind} {_count(number)}" for kind, number in each["requests_per_task"].items() if number >= 0.005
        )
        times = at_most_shown(ratio(best, each["tasks_per_second"]["all"]))
        rows.append(
            [name, spread(each["tasks_per_second"]), f"{times:.2f}", _count(each["sqs_requests_per_task"]), kinds]
        )
    puts = "; ".join(f"{spread(rates)} with {number} in flight" for number, rates in found["puts_per_second"].items())
    head = [
        "contestant",
        "tasks/s",
        "trainq, prefetch 10, is x as fast",
        "SQS requests per task",
        "requests per task by kind",
    ]
    return f"{table(head, rows)}\n\nThe emulator's own ceiling, conditional writes per second: {puts}."


def dispatch(found: Results) -> str:
    names = {"handler": "the function's handler", "flood": "bare flood", "single sends": "one send per task"}
    rows = [
        [
            f"{int(size):,}",
            names[how],
            spread(each["tasks_per_second"]),
            _count(each["sends_per_task"]),
            f"{each['peak_mb']:.0f} MB",
        ]
        for size, hows in found["sizes"].items()
        for how, each in hows.items()
    ]
    cold = found["cold_start"]
    start = [
        ["import in a fresh interpreter", f"{spread(cold['import_seconds'], scale=1000)} ms"],
        ["peak memory after it", f"{cold['peak_mb']:.0f} MB"],
        ["archive", f"{cold['archive_bytes'] / 1000:,.0f} KB zipped, {cold['unpacked_bytes'] / 1000:,.0f} KB unpacked"],
    ]
    return (
        table(["tasks", f"{found['in_flight']} requests in flight", "tasks/s", "sends per task", "peak memory"], rows)
        + "\n\n"
        + table(["cold start", ""], start)
    )


def growth(found: Results) -> str:
    rows = [
        [
            f"{int(size):,}",
            spread(each["seconds"], 2),
            spread(each["peak_mb"], 0),
            f"{each['requests']['SendMessageBatch']:,}",
            f"{sum(each['requests'].values()) - each['requests']['SendMessageBatch']:,}",
        ]
        for size, each in found["sizes"].items()
    ]
    client = found["client_cpu_seconds"]
    reckoned = [
        ["time grows with the number of tasks to the power of", f"{found['time_slope']:.2f}"],
        ["boto3's own processor time for one full batch", f"{spread(client['send'], 2, 1000)} ms"],
        ["boto3's own processor time for one page of a listing", f"{spread(client['page'], 2, 1000)} ms"],
        [
            "1,000,000 tasks at 10 ms per request, on a whole processor, without boto3's part",
            f"{found['million_seconds']:.0f} s",
        ],
        [
            "the same with boto3's part, on the share of a processor that 512 MB of Lambda have",
            f"{found['million_seconds_on_lambda']:.0f} s",
        ],
    ]
    return (
        table(["tasks", "seconds", "peak MB", "SQS requests", "S3 requests"], rows) + "\n\n" + table(["", ""], reckoned)
    )


def latency(found: Results) -> str:
    return table(
        ["", "seconds"],
        [
            ["`trainq submit` to the first task's command, idle system", spread(found["submit_to_running"], 2)],
            ["of which the command `trainq submit`, to its end", spread(found["submit_command"], 2)],
            ["SIGKILL of a worker to its task running elsewhere", spread(found["kill_to_running"], 2)],
            [
                f"the same in visibility timeouts (of {found['visibility_timeout']} s)",
                spread(found["kill_in_timeouts"], 2),
            ],
        ],
    )


def program(found: Results) -> str:
    chain = " → ".join(f"`{each.rsplit('::', 1)[-1]}`" for each in found["chain"])
    return table(
        ["", ""],
        [
            ["start to last registration", f"{spread(found['last_registration_seconds'], 2)} s"],
            ["of which imports, up to the program's first line", f"{spread(found['of_which_imports_seconds'], 2)} s"],
            ["`python -m local.program`, to its end", f"{spread(found['process_seconds'], 2)} s"],
            ["resources, and components", f"{found['resources']} and {found['components']}"],
            ["longest chain", f"{len(found['chain'])} resources: {chain}"],
            ["the function's archive", f"{found['archive_bytes'] / 1000:,.0f} KB"],
        ],
    )


def idle(found: Results) -> str:
    asked = ", ".join(f"{number} {kind}" for kind, number in found["requests"].items())
    waiting = table(
        ["", "requests per hour", "a month", "from"],
        [
            [
                "a waiting worker",
                f"{at_least_shown(found['worker_requests_per_hour'], 0):.0f}",
                f"${at_least_shown(found['worker_dollars_per_month'], 3):.3f}",
                f"counted: {asked} in {found['seconds']:.1f} s",
            ],
            [
                "the idle stack",
                f"{at_least_shown(found['stack_requests_per_hour'], 0):.0f}",
                f"${at_least_shown(found['stack_dollars_per_month'], 3):.3f}",
                "documented: five pollers of Lambda's, 20 s each",
            ],
        ],
    )
    beats = f"{found['requests_per_heartbeat']:g}"
    return f"{waiting}\n\nRequests per heartbeat, while a worker holds ten messages and works on the first: {beats}."


def shards(found: Results) -> str:
    rows = [
        [
            name,
            how,
            spread(each["mb_per_second"]),
            ", ".join(f"{number} {kind}" for kind, number in each["requests"].items()),
        ]
        for name, hows in found["sets"].items()
        for how, each in hows.items()
    ]
    return table(["objects", "by", "MB/s", "requests"], rows)


# The tables in the order of the report, each with its title.
TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {
    "worker": ("1. Worker overhead: tasks that do nothing, one process", worker),
    "dispatch": ("2. Dispatch: from one job message to all its tasks on the queue", dispatch),
    "growth": ("3. Growth: planning and sending, without a network", growth),
    "latency": ("4. Latency, on the local stack with IAM and TLS", latency),
    "program": ("5. The program, under plain mocks", program),
    "idle": ("6. Idle", idle),
    "shards": ("7. Shards: downloads", shards),
}
