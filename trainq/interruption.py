"""SIGINT and SIGTERM, delivered only where work may be left unfinished."""

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)


class Interrupted(BaseException):
    """Somebody asked this worker to stop, in the middle of what may be left unfinished."""


class Interruption:
    """A context manager that takes over both signals. `requested` tells that one has come."""

    def __init__(self) -> None:
        self.requested = False
        self._allowed = False
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

    def allow(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function; a signal that comes meanwhile, or came before, ends it with Interrupted."""
        self._allowed = True
        try:
            if self.requested:
                raise Interrupted
            return function(*arguments)
        finally:
            self._allowed = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            log.info("%s: stopping", signal.Signals(number).name)
        self.requested = True
        if self._allowed:
            # Once: what winds up the work must not be interrupted in its turn.
            self._allowed = False
            raise Interrupted
