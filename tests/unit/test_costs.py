"""What it costs: pure arithmetic, and the runbook's tables are computed from the counts that are kept."""

import json
import re

import pytest

from local import costs, counts
from local.costs import Requests, per_task, planning, tables, working
from tests.helpers.recordings import Recording

START = {"tasks": 0, "workers": 2, "requests": {"sqs:ReceiveMessage": 2, "s3:HEAD": 2}}


def test_requests_cost_what_a_person_with_a_pencil_says() -> None:
    assert Requests(sqs=2e6, fair=0, writes=0, reads=0).dollars == pytest.approx(0.80)
    assert Requests(sqs=2e6, fair=2e6, writes=0, reads=0).dollars == pytest.approx(1.00)
    assert Requests(sqs=0, fair=0, writes=3_000, reads=0).dollars == pytest.approx(0.015)
    assert Requests(sqs=0, fair=0, writes=0, reads=5_000).dollars == pytest.approx(0.002)


def test_what_a_worker_asks_once_is_not_the_tasks() -> None:
    run = {"tasks": 10, "workers": 4, "requests": {"sqs:ReceiveMessage": 14, "s3:HEAD": 4, "s3:PUT": 30}}
    assert per_task(run, START) == {"sqs:ReceiveMessage": 1, "s3:HEAD": 0, "s3:PUT": 3}


def test_a_million_tasks_are_worked_on() -> None:
    requests = {"sqs:ReceiveMessage": 12, "sqs:DeleteMessage": 10, "s3:PUT": 20, "s3:LIST": 5, "s3:GET": 40}
    run = {"tasks": 10, "workers": 2, "requests": requests}
    assert working(run, START) == Requests(sqs=2e6, fair=2e6, writes=2.5e6, reads=4e6)


def test_a_job_is_planned_once_and_its_tasks_sent_in_batches() -> None:
    """100 tasks were counted, and a million tasks are 1,000 jobs; Lambda receives and deletes each job's message."""
    requests = {"sqs:SendMessage": 1, "sqs:SendMessageBatch": 10, "s3:PUT": 3, "s3:LIST": 1, "s3:GET": 4, "s3:HEAD": 1}
    run = {"tasks": 100, "workers": 0, "requests": requests}
    assert planning(run) == Requests(sqs=100_000 + 3_000, fair=100_000, writes=4_000, reads=5_000)


def test_an_idle_month_is_priced_by_hand() -> None:
    """3 polls a minute in 730 hours are 131,400; five of Lambda's pollers 657,000, for $0.2628."""
    text = costs.per_idle_month()
    assert "657,000 requests | $0.26 |" in text
    assert "8 alarms | $0.80 |" in text
    assert "**$5.06**" in text, "0.26 + 0.70 + 1 + 3"
    assert "131,400 requests | $0.05 |" in text


def test_the_tables_in_the_runbook_are_computed_from_the_counts_that_are_kept() -> None:
    expected = tables(json.loads(counts.FILE.read_text()))
    assert costs.BEGIN + expected + costs.END in costs.RUNBOOK.read_text(), "run: python -m local.costs --write"


def test_what_is_counted_is_what_a_task_needs() -> None:
    """By the worker's code: a receive and a delete; its shard, a look for a result and two for a cancelled job; its
    output, its marker and its report. Each heartbeat is a request to SQS, a report, and two of the looks."""
    runs = json.loads(counts.FILE.read_text())["runs"]
    one = working(runs["one at a time"], runs["start"])
    long = working(runs["long"], runs["start"])
    assert (one.sqs, one.reads) == (2e6, 4e6)
    assert 3e6 <= one.writes < 3.1e6, "and a look for checkpoints now and then"
    assert (long.sqs - one.sqs, long.reads - one.reads) == (10e6, 20e6)
    prefetch = working(runs["prefetch"], runs["start"])
    assert 1e6 < prefetch.sqs < 1.2e6, (
        "one receive for ten; tasks of seconds are done too far apart to be deleted together"
    )
    assert prefetch.reads == one.reads, "what is fetched ahead together is looked for once"


def test_the_stack_has_the_alarms_the_key_and_the_metrics_that_are_priced(dev: Recording) -> None:
    assert len(dev.all(":MetricAlarm")) == costs.ALARMS
    assert len(dev.all("key:Key")) == 1
    assert len(dev.all(":Dashboard")) == 1
    handler = (costs.ROOT / "lambda_src" / "handler.py").read_text()
    assert len(set(re.findall(r'add_metric\("(\w+)"', handler))) == costs.METRICS
