"""Makes records of attempts, as workers write them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from trainq.protocol import layout

A, B, C = "a" * 32, "b" * 32, "c" * 32


CANCELLED = layout.cancelled("j")


NOW = datetime.now(UTC)


def time(minutes: float = 0) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


def record(task: Any = 0, attempt: Any = A, **other: Any) -> dict[str, Any]:
    """Return the fields of every record of an attempt; `other` replaces or adds fields."""
    about = {"job_id": "j", "task": task, "attempt": attempt, "attempt_number": 1, "failures_before": 0, "worker": "w"}
    return about | {"started": time(-2), "finished": time(-1)} | other
