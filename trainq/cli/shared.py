"""Functions that several commands share."""

import json
from typing import Any

import click

from trainq.protocol.events import printable
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import JOB_ID

__all__ = ["ago", "checked_job_id", "printable", "say_left_out", "to_json"]


def checked_job_id(text: str) -> str:
    """Return the job id. Raises UsageError if it has characters that no job id has."""
    if not JOB_ID.fullmatch(text):
        raise click.UsageError(f"{text!r} is no job id: allowed are 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return text


def to_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON. Raises ValueError for NaN; values from markers have none, since reading makes them None."""
    return json.dumps(value, indent=indent, allow_nan=False)


def say_left_out(left_out: list[MarkerError]) -> None:
    """Print to stderr how many records could not be read, and the error of the first."""
    if left_out:
        click.echo(f"{len(left_out):,} records could not be read: {printable(str(left_out[0]))}", err=True)


def ago(seconds: float) -> str:
    """Return a duration in its largest unit of which it has at least two, such as "3 h"."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
