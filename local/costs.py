"""Computes what the stack costs, request counts times prices, for the tables of docs/operations.md.

`python -m local.costs` prints them, `--write` puts them there, `--measure` counts the requests anew before.
"""

import argparse
import json
import re
from dataclasses import dataclass
from typing import Any

from local import counts
from local.program import ROOT

RUNBOOK = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- python -m local.costs --write -->\n", "<!-- end of what local.costs writes -->\n"

# Dollars in us-east-1, without free tiers and discounts; from stored copies of these pages and of what quotes them.
PRICES_OF = "2026-11-21"
MILLION = 1_000_000
# https://aws.amazon.com/sqs/pricing/: each 64 KB of a request is one; fair queues cost more where messages have groups.
SQS, SQS_FAIR = 0.40 / MILLION, 0.10 / MILLION
# https://aws.amazon.com/s3/pricing/: PUT and LIST; GET and HEAD.
S3_WRITE, S3_READ = 0.005 / 1_000, 0.0004 / 1_000
# https://aws.amazon.com/lambda/pricing/, arm64; https://aws.amazon.com/xray/pricing/
LAMBDA_GB_SECOND, LAMBDA_REQUEST, TRACE = 0.0000133334, 0.20 / MILLION, 5.00 / MILLION
# https://aws.amazon.com/kms/pricing/, https://aws.amazon.com/cloudwatch/pricing/: a month of each.
KEY, ALARM, DASHBOARD, METRIC = 1.00, 0.10, 3.00, 0.30

# Assumptions. The text beside the tables names them, too.
TASKS_PER_JOB = 1_000
FUNCTION_SECONDS, FUNCTION_GB = 2.0, 0.5
HOURS_A_MONTH = 730
POLLS_A_MINUTE = 3
# https://aws.amazon.com/blogs/compute/understanding-how-aws-lambda-scales-when-subscribed-to-amazon-sqs-queues/
LAMBDA_POLLERS = 5
ALARMS, METRICS = 8, 6

WRITES, READS = ("s3:PUT", "s3:LIST"), ("s3:GET", "s3:HEAD")
# Lambda receives and deletes the message of a job with requests that are billed; the emulator makes none.
POLLER_REQUESTS_PER_JOB = 2


@dataclass(frozen=True)
class Requests:
    """Numbers of requests by price. `fair`: requests to SQS that cost more with fair queues."""

    sqs: float
    fair: float
    writes: float
    reads: float

    @property
    def dollars(self) -> float:
        return self.sqs * SQS + self.fair * SQS_FAIR + self.writes * S3_WRITE + self.reads * S3_READ


def per_task(run: dict[str, Any], start: dict[str, Any]) -> dict[str, float]:
    """Return the requests of a run per task, without those of a worker's start and end."""
    return {
        kind: max(0.0, number - start["requests"].get(kind, 0) * run["workers"] / start["workers"]) / run["tasks"]
        for kind, number in run["requests"].items()
    }


def working(run: dict[str, Any], start: dict[str, Any]) -> Requests:
    """Return the requests of workers for a million tasks."""
    kinds = {kind: number * MILLION for kind, number in per_task(run, start).items()}
    sqs = _sum(kinds, [kind for kind in kinds if kind.startswith("sqs:")])
    return Requests(sqs, sqs, _sum(kinds, WRITES), _sum(kinds, READS))


def planning(run: dict[str, Any]) -> Requests:
    """Return the requests of planning a million tasks: batches in proportion to tasks, all others to jobs."""
    jobs, kinds = MILLION / TASKS_PER_JOB, run["requests"]
    batches = kinds["sqs:SendMessageBatch"] / run["tasks"] * MILLION
    per_job = kinds["sqs:SendMessage"] + POLLER_REQUESTS_PER_JOB
    return Requests(batches + jobs * per_job, batches, jobs * _sum(kinds, WRITES), jobs * _sum(kinds, READS))


def function() -> float:
    """Return the dollars for the function's invocations and traces for a million tasks."""
    jobs = MILLION / TASKS_PER_JOB
    return jobs * (FUNCTION_SECONDS * FUNCTION_GB * LAMBDA_GB_SECOND + LAMBDA_REQUEST + TRACE)


def per_million_tasks(measured: dict[str, Any]) -> str:
    runs = measured["runs"]
    rows = [
        ("jobs planned, tasks sent", planning(runs["job"]), function()),
        ("tasks of seconds", working(runs["one at a time"], runs["start"]), 0.0),
        ("the same, `--prefetch 10`", working(runs["prefetch"], runs["start"]), 0.0),
        ("tasks of 10 minutes", working(runs["long"], runs["start"]), 0.0),
    ]
    lines = [
        "| a million tasks | SQS requests | S3 writes | S3 reads | Lambda | in all |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for what, requests, more in rows:
        numbers = (f"{number / MILLION:.3g} M" for number in (requests.sqs, requests.writes, requests.reads))
        lines.append(f"| {what} | {' | '.join(numbers)} | {_dollars(more)} | {_dollars(requests.dollars + more)} |")
    return "\n".join(lines)


def per_idle_month() -> str:
    polls = POLLS_A_MINUTE * 60 * HOURS_A_MONTH
    pollers = LAMBDA_POLLERS * polls
    rows = [
        (f"Lambda's {LAMBDA_POLLERS} pollers at the message queue: {pollers:,} requests", pollers * SQS),
        (f"{ALARMS} alarms", ALARMS * ALARM),
        ("a key: the one of `kms_key: create`, or else the alarm topic's", KEY),
        ("the dashboard", DASHBOARD),
    ]
    total = sum(price for _, price in rows)
    lines = ["| an idle month | |", "| --- | --- |", *(f"| {what} | {_dollars(price)} |" for what, price in rows)]
    lines.append(f"| **the stack** | **{_dollars(total)}** |")
    lines.append(f"| and each worker that waits: {polls:,} requests | {_dollars(polls * SQS)} |")
    lines.append(f"| and the function's {METRICS} metrics, if it runs in every hour | {_dollars(METRICS * METRIC)} |")
    return "\n".join(lines)


def tables(measured: dict[str, Any]) -> str:
    source = f"Requests counted in the emulator on {measured['date']}, prices of us-east-1 as of {PRICES_OF}."
    return f"{source}\n\n{per_million_tasks(measured)}\n\n{per_idle_month()}\n"


def _sum(kinds: dict[str, float], of: Any) -> float:
    return sum(kinds.get(kind, 0) for kind in of)


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount else "-"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.costs", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="count the requests anew: some four minutes")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/operations.md")
    arguments = parser.parse_args()
    if arguments.measure:
        counts.FILE.write_text(json.dumps(counts.measure(), indent=2) + "\n")
    found = tables(json.loads(counts.FILE.read_text()))
    print(found, end="")
    if arguments.write:
        text = RUNBOOK.read_text()
        RUNBOOK.write_text(re.sub(f"(?<={BEGIN}).*?(?={END})", lambda _: found, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
