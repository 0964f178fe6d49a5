"""What several commands need."""

import json
from typing import Any

import click

from trainq.client.text import printable
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import JOB_ID

__all__ = ["ago", "checked_job_id", "printable", "say_left_out", "to_json"]


def checked_job_id(text: str) -> str:
    if not JOB_ID.fullmatch(text):
        raise click.UsageError(f"{text!r} is no job id: allowed are 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return text


def to_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON, for programs. Raises ValueError for NaN, which reading markers turns into null."""
    return json.dumps(value, indent=indent, allow_nan=False)


def say_left_out(left_out: list[MarkerError]) -> None:
    """Say on stderr how many records could not be read, and why the first could not."""
    if left_out:
        click.echo(f"{len(left_out):,} records could not be read: {printable(str(left_out[0]))}", err=True)


def ago(seconds: float) -> str:
    """A number of seconds as people say it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
