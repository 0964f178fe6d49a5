"""Validates the records of attempts: results, failures, interruptions and workers' reports.

Any principal that may write to the bucket may write any record, so only records that `checked` has accepted are shown
or counted.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from trainq.protocol import layout
from trainq.protocol.fields import MAX_COUNT, is_count, shown
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import JOB_ID
from trainq.protocol.result_marker import ATTEMPT

# How an interrupted attempt ended, by the `why` of its record: the values of `worker.outcome.Outcome`.
INTERRUPTIONS = {
    "stop": "interrupted",
    "wall": "interrupted",
    "full": "interrupted",
    "lost": "lost",
    "cancelled": "cancelled",
    "beaten": "beaten",
}
# The allowed values in words, and a function that tests a value.
_Rule = tuple[str, Callable[[Any], bool]]


def seconds(time: str) -> float:
    """Return a record's time in seconds since 1970. Raises ValueError unless it is ISO 8601 with an offset from UTC."""
    found = datetime.fromisoformat(time)
    if found.tzinfo is None:
        raise ValueError(f"{time!r} has no offset from UTC")
    return found.timestamp()


def checked(record: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the record that was read at this key, if it is valid. The key decides which kind of record it is.

    Raises MarkerError unless job, task, attempt and worker match the key and every field that commands show has the
    right type.
    """
    _check(record, _EVERY, key)
    job_id, task, attempt, worker = (record[name] for name in ("job_id", "task", "attempt", "worker"))
    kinds = {
        layout.result(job_id, task): _RESULT,
        layout.failure(job_id, task, attempt): _FAILURE,
        layout.interruption(job_id, task, attempt): _INTERRUPTION,
        layout.report(job_id, worker, attempt): _REPORT,
        layout.former_report(job_id, worker): _REPORT,
    }
    if key not in kinds:
        said = ", ".join(shown(each) for each in (job_id, task, attempt, worker))
        raise MarkerError(f"{key!r}: fields 'job_id', 'task', 'attempt' and 'worker' are {said}: not those of the key")
    _check(record, kinds[key], key)
    return record


def _check(record: dict[str, Any], rules: dict[str, _Rule], key: str) -> None:
    for name, (allowed, holds) in rules.items():
        if not holds(record.get(name)):
            raise MarkerError(f"{key!r}: field {name!r} is {shown(record.get(name))}: allowed is {allowed}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and seconds(value) >= 0
    except (ValueError, OverflowError):
        return False


def _is_text_or_missing(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _are_notes(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and _is_text_or_missing(value.get("output_tail")))


_COUNT: _Rule = (f"a whole number from 0 to {MAX_COUNT:,}", is_count)
_TEXT: _Rule = ("a text", _is_text)
_TIME: _Rule = ("a time since 1970 as ISO 8601, with its offset from UTC", _is_time)
_EVERY: dict[str, _Rule] = {
    "job_id": ("a job's id", lambda value: _is_text(value) and bool(JOB_ID.fullmatch(value))),
    "task": _COUNT,
    "attempt": ("32 of the characters 0-9 a-f", lambda value: _is_text(value) and bool(ATTEMPT.fullmatch(value))),
    "attempt_number": _COUNT,
    # Without '/' in any part, no two records share a key.
    "worker": ("a name without '/'", lambda value: _is_text(value) and bool(re.fullmatch(r"[^/]+", value))),
    "started": _TIME,
    "finished": _TIME,
}
_RESULT: dict[str, _Rule] = {"notes": ("an object, its 'output_tail' a text", _are_notes)}
_FAILURE: dict[str, _Rule] = {
    "failures_before": _COUNT,
    "reason": _TEXT,
    "output_tail": ("a text, or none", _is_text_or_missing),
}
# What was wrong with the machine or the checkpoint.
_PROBLEM: dict[str, _Rule] = {"problem": ("a text, or none", _is_text_or_missing)}
_INTERRUPTION: dict[str, _Rule] = _PROBLEM | {
    "why": (f"one of {', '.join(INTERRUPTIONS)}", lambda value: _is_text(value) and value in INTERRUPTIONS)
}
_REPORT: dict[str, _Rule] = _PROBLEM | {"heartbeat": _TIME}
