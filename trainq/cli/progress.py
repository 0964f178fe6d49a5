"""A progress bar where people look."""

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def shown_progress(what: str, total: int | None) -> Generator[Callable[[Path], None]]:
    """A progress bar on stderr where people look, nothing where they do not; gives what to call for each file.

    `total`: how many there will be, if that is known.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda path: progress.advance(task)
