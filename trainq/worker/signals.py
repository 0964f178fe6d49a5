"""Signals, and what else may interrupt a task: delivered only where work may be left unfinished."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType, TracebackType
from typing import Any, Self

from trainq.worker.outcome import Outcome

# Two requests within this time are one: a service manager signals all processes of a unit, and a parent passes the same
# signal on, within milliseconds. An impatient person takes longer.
PAUSE_SECONDS = 1.0


class StopRequests:
    """Counts how often a process was asked to stop: `level` is 0, 1, or 2 when somebody has asked again after a pause.

    May be called from signal handlers and from any thread.
    """

    def __init__(self) -> None:
        self.level = 0
        self._first = 0.0

    def ask(self) -> None:
        """Count a request of which nobody has said whether it is a second one."""
        paused = self.level and time.monotonic() - self._first >= PAUSE_SECONDS
        self.hear(2 if paused else 1)

    def hear(self, level: int) -> None:
        """Take over what another process has counted; the same request may have come here, too."""
        if not self.level:
            self._first = time.monotonic()
        self.level = max(self.level, level)


class Interrupted(BaseException):
    """Raised in the middle of what may be left unfinished."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.sentence)
        self.outcome = outcome


class Interruption:
    """A context manager that takes over SIGINT and SIGTERM. `requested` tells that one has come.

    Other threads end the main thread's task with `interrupt`. A worker that does not run in the main thread hears of
    neither in the middle of a task, since Python runs signal handlers in the main thread only.
    """

    def __init__(self) -> None:
        self.requested = False
        self._stop = StopRequests()
        self._outcome: Outcome | None = None
        self._task: object = None
        self._changing = threading.Lock()
        # How many requests it takes to interrupt what runs now; 0 if none may.
        self._needed = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {signal.SIGINT: self._on_stop, signal.SIGTERM: self._on_stop, signal.SIGUSR1: self._on_interrupt}
            self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # First, and under the lock: a signal that wakes the main thread would end the process after this.
        with self._changing:
            before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)

    @property
    def signalled(self) -> bool:
        """Somebody outside has asked for the end, and may not wait for it for long."""
        return self._stop.level >= 1

    @property
    def hurried(self) -> bool:
        """Somebody has asked a second time, after a pause: nothing is to be waited for any more."""
        return self._stop.level >= 2

    def allow(self, function: Callable[..., Any], *arguments: Any, insist: bool = False) -> Any:
        """Call the function; a signal that comes meanwhile, or came before, ends it with Interrupted.

        `insist`: interrupt only on the second signal. A receive that is cut off may already hold a task.
        """
        if self.requested:
            raise Interrupted(Outcome.SHUTDOWN)
        self._needed = 2 if insist else 1
        try:
            self._raise_if_due()
            return function(*arguments)
        finally:
            self._needed = 0

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Within what is allowed to be interrupted: what comes meanwhile raises Interrupted at the end."""
        needed, self._needed = self._needed, 0
        try:
            yield
        finally:
            self._needed = needed
        self._raise_if_due()

    def interrupt(self, outcome: Outcome, task: object = None) -> None:
        """From another thread: end this task, if the main thread still is at it."""
        with self._changing:
            if task is not self._task:
                return
            self._outcome = self._outcome or outcome
        self._wake_main_thread()

    def request_stop(self, level: int) -> None:
        """From another thread: the same as signals; `level` as in StopRequests."""
        self._stop.hear(level)
        self.requested = True
        self._wake_main_thread()

    def _wake_main_thread(self) -> None:
        with self._changing:
            # A signal, since only that wakes the main thread from a system call.
            if self._before:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def begin_task(self, task: object = None) -> None:
        """What was to end the task before this one is over with."""
        with self._changing:
            self._task, self._outcome = task, None

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # Nothing else: a handler may not even log, in the middle of a line that is being written.
        self.requested = True
        self._stop.ask()
        self._raise_if_due()

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        stopped = 0 < self._needed <= self._stop.level
        if stopped or (self._needed == 1 and self._outcome):
            # Once: what winds up the work must not be interrupted in its turn.
            self._needed = 0
            raise Interrupted(self._outcome or Outcome.SHUTDOWN)
