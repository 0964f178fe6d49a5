"""The status of a job from what is in the bucket: whose clock counts, and how many requests it costs."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from local.standins import FakeS3, fake_stack
from tests.helpers.records import NOW, record, time
from trainq.cli.status import _described
from trainq.client import status as module
from trainq.client.attempts import attempts
from trainq.client.status import JobStatus, status
from trainq.protocol import layout
from trainq.stack import QueueSettings, Stack

TIMEOUT, MOST = 180, 5


class Dated(FakeS3):
    """S3 whose clock is this many minutes ahead of the one here; `stored`: minutes ago, by prefix of the key."""

    def __init__(self, objects: dict[str, Any], ahead: float = 0, stored: dict[str, float] | None = None) -> None:
        super().__init__({key: json.dumps(value).encode() for key, value in objects.items()})
        # An answer's date has whole seconds.
        self.now = NOW.replace(microsecond=0) + timedelta(minutes=ahead)
        self.stored = stored or {}

    def paginate(self, Bucket: str, Prefix: str, **other: Any) -> Iterator[dict[str, Any]]:
        date = {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(self.now)}}}
        for page in super().paginate(Bucket, Prefix, **other):
            for each in page.get("Contents", ()):
                each["LastModified"] = self._time(each["Key"])
            yield page | date

    def _time(self, key: str) -> datetime:
        minutes = next((minutes for prefix, minutes in self.stored.items() if key.startswith(prefix)), 0)
        return self.now - timedelta(minutes=minutes)


def attempt(number: int) -> str:
    return f"{number:032x}"


def looked(monkeypatch: pytest.MonkeyPatch, s3: FakeS3) -> JobStatus:
    found = status(stack(monkeypatch, s3), "j")
    assert isinstance(found, JobStatus)
    return found


def stack(monkeypatch: pytest.MonkeyPatch, s3: FakeS3) -> Stack:
    monkeypatch.setattr(Stack, "training_queue_settings", lambda self: QueueSettings(TIMEOUT, MOST))
    return fake_stack(s3, None)


def job(tasks: int) -> dict[str, Any]:
    return {layout.plan("j"): {"tasks": tasks, "shards": tasks}, layout.dispatched("j"): {"tasks": tasks}}


@pytest.mark.parametrize("ahead", [-10, 0, 10])
@pytest.mark.parametrize("workers_clock", [-10, 0, 10])
def test_clocks_of_readers_and_workers_do_not_count(
    monkeypatch: pytest.MonkeyPatch, ahead: float, workers_clock: float
) -> None:
    """Only S3's: what it has stored within the visibility timeout is running."""
    about = {"started": time(ahead + workers_clock - 4), "heartbeat": time(ahead + workers_clock - 1)}
    objects = job(2) | {
        layout.report("j", "fresh", attempt(1)): record(0, attempt(1), worker="fresh", **about),
        layout.report("j", "stale", attempt(2)): record(1, attempt(2), worker="stale", **about),
    }
    s3 = Dated(objects, ahead, {f"{layout.workers('j')}fresh": 1, f"{layout.workers('j')}stale": 4})
    found = looked(monkeypatch, s3)
    assert [report["worker"] for report in found.running] == ["fresh"]
    assert "running: task 0 on fresh for 4 min, heard of 60 s ago" in _described(found)
    hows = {each["worker"]: each["how"] for each in attempts(stack(monkeypatch, s3), "j")}
    assert hows == {"fresh": "running", "stale": "killed"}


def test_two_workers_of_one_name_are_both_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as PID 1 of containers on the host's network."""
    objects = job(2) | {
        layout.report("j", "host-1", attempt(task)): record(task, attempt(task), worker="host-1", heartbeat=time())
        for task in (0, 1)
    }
    assert [report["task"] for report in looked(monkeypatch, Dated(objects)).running] == [0, 1]


def test_the_report_of_a_worker_of_an_earlier_version_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = job(1) | {layout.former_report("j", "w"): record(0, heartbeat=time())}
    assert [report["task"] for report in looked(monkeypatch, Dated(objects)).running] == [0]


def failing(tasks: int, records: int) -> dict[str, Any]:
    return {
        layout.failure("j", task, attempt(number)): record(
            task, attempt(number), failures_before=number, reason="loss is nan"
        )
        for task in range(tasks)
        for number in range(records)
    }


@pytest.mark.parametrize(("records", "state"), [(1, "running"), (MOST, "given up")])
def test_a_job_of_which_every_task_fails_costs_no_request_for_each(
    monkeypatch: pytest.MonkeyPatch, records: int, state: str
) -> None:
    s3 = Dated(job(3000) | failing(3000, records))
    monkeypatch.setattr(
        s3, "_time", lambda key: s3.now - timedelta(minutes=MOST - int(key[-6]) if key[-6].isdigit() else 9)
    )
    found = looked(monkeypatch, s3)
    assert s3.requests["GET"] <= module.MOST_READ + 10
    assert s3.requests["LIST"] <= 3000 * records // 1000 + 10
    assert found.state == state
    assert len(found.dead) + len(found.retrying) == 3000
    assert len(found.last_failures) == 5


def test_a_job_with_thousands_of_workers_costs_no_request_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = job(3000) | {
        layout.report("j", f"w{task}", attempt(task)): record(
            task, attempt(task), worker=f"w{task}", heartbeat=time(), started=time()
        )
        for task in range(3000)
    }
    s3 = Dated(objects)
    found = looked(monkeypatch, s3)
    assert s3.requests["GET"] <= module.MOST_READ + 10
    assert len(found.running) == module.MOST_READ
    assert "running: 2,900 more" in _described(found)
