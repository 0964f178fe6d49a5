"""Shows progress bars on a terminal."""

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def shown_progress(what: str, total: int | None) -> Generator[Callable[[Path], None]]:
    """Show a progress bar on stderr if that is a terminal. Yields a function to call once for each finished file.

    `total`: number of files; None if it is not known.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda path: progress.advance(task)
