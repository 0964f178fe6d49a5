"""Lists the attempts at a job's tasks, from their records in the bucket."""

import re
from collections.abc import Container, Mapping
from typing import Any

from trainq.client.attempt_records import INTERRUPTIONS, checked, seconds
from trainq.client.results import OnRefused, done_tasks, read_checked
from trainq.protocol import layout
from trainq.stack import Stack
from trainq.transfers import listed

_ENDED = re.compile(r"(0|[1-9][0-9]*)/([0-9a-f]{32})\.json")
_REPORT = re.compile(r"[^/]+?(?:/([0-9a-f]{32}))?\.json")


def attempts(stack: Stack, job_id: str, on_left_out: OnRefused = lambda error: None) -> list[dict[str, Any]]:
    """Return every recorded attempt, sorted by start. `on_left_out`: called with the error of each invalid record.

    The field `how` says how the attempt ended: done, failed, interrupted, lost, beaten or cancelled. Without an end it
    is running, or killed if its worker has sent no report for a visibility timeout.
    """
    done = [layout.result(job_id, task) for task in sorted(done_tasks(stack, job_id))]
    failed, interrupted = ended(stack, layout.failures(job_id)), ended(stack, layout.interruptions(job_id))
    failures = [layout.failure(job_id, task, each) for task, tried in failed.items() for each in tried]
    interruptions = [layout.interruption(job_id, task, each) for task, tried in interrupted.items() for each in tried]
    found = [{**each, "how": "done"} for each in read_checked(stack, done, checked, on_left_out)]
    found += [{**each, "how": "failed"} for each in read_checked(stack, failures, checked, on_left_out)]
    found += [
        {**each, "how": INTERRUPTIONS[each["why"]]} for each in read_checked(stack, interruptions, checked, on_left_out)
    ]
    # Attempts with an invalid record have ended, too: they must not count as running.
    known = {each["attempt"] for each in found}.union(*failed.values(), *interrupted.values())
    timeout = stack.training_queue_settings().timeout
    ages = reports(stack, job_id, over=known)
    for report in read_reports(stack, ages, on_left_out):
        if report["attempt"] not in known:
            how = "running" if report["age"] < timeout else "killed"
            found.append({**report, "finished": report["heartbeat"], "how": how})
    return sorted(found, key=lambda each: seconds(each["started"]))


def ended(stack: Stack, prefix: str) -> dict[int, dict[str, float]]:
    """Return the attempts recorded below the prefix: for each task, the time (seconds since 1970) of each attempt.

    Skips keys of another form.
    """
    found: dict[int, dict[str, float]] = {}
    for each in listed(stack.s3, stack.bucket_name, prefix):
        if name := _ENDED.fullmatch(each["Key"].removeprefix(prefix)):
            found.setdefault(int(name[1]), {})[name[2]] = each["LastModified"].timestamp()
    return found


def reports(stack: Stack, job_id: str, over: Container[str]) -> dict[str, float]:
    """Return the keys of reports of attempts that are not in `over`, each with its age in seconds, by S3's clock.

    Skips keys of another form.
    """
    prefix = layout.workers(job_id)
    return {
        each["Key"]: each["Age"]
        for each in listed(stack.s3, stack.bucket_name, prefix)
        if (found := _REPORT.fullmatch(each["Key"].removeprefix(prefix))) and found[1] not in over
    }


def read_reports(stack: Stack, ages: Mapping[str, float], on_left_out: OnRefused) -> list[dict[str, Any]]:
    """Return the valid reports at these keys, each with its `age`."""

    def aged(report: dict[str, Any], key: str) -> dict[str, Any]:
        return checked(report, key) | {"age": ages[key]}

    return read_checked(stack, list(ages), aged, on_left_out)
