"""What several commands need."""

import click

from trainq.protocol.messages import JOB_ID


def checked_job_id(text: str) -> str:
    if not JOB_ID.fullmatch(text):
        raise click.UsageError(f"{text!r} is no job id: allowed are 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return text


def printable(text: str) -> str:
    """What a command printed, without what would repaint the terminal."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def ago(seconds: float) -> str:
    """A number of seconds as people say it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
