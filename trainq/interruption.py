"""SIGINT and SIGTERM, delivered only where work may be left unfinished."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupted(BaseException):
    """Somebody asked this worker to stop, in the middle of what may be left unfinished."""


class Interruption:
    """A context manager that takes over both signals. `requested` tells that one has come."""

    def __init__(self) -> None:
        self.requested = False
        self._signals = 0
        # How many signals it takes to interrupt what runs now; 0 if none may.
        self._needed = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python hands signals to the main thread only; a worker in another one is stopped by `requested`.
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def allow(self, function: Callable[..., Any], *arguments: Any, insisted: bool = False) -> Any:
        """Call the function; a signal that comes meanwhile, or came before, ends it with Interrupted.

        `insisted`: the second signal does, for what had better be waited for.
        """
        if self.requested:
            raise Interrupted
        self._needed = 2 if insisted else 1
        try:
            if self._signals >= self._needed:
                raise Interrupted
            return function(*arguments)
        finally:
            self._needed = 0

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Within what is allowed to be interrupted: a signal that comes meanwhile raises Interrupted at the end."""
        needed, self._needed = self._needed, 0
        try:
            yield
        finally:
            self._needed = needed
        if needed and self._signals >= needed:
            raise Interrupted

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Nothing else: a handler may not even log, in the middle of a line that is being written.
        self.requested = True
        self._signals += 1
        if 0 < self._needed <= self._signals:
            # Once: what winds up the work must not be interrupted in its turn.
            self._needed = 0
            raise Interrupted
