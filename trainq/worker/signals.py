"""Interrupts tasks on signals and on requests of other threads, only at points that allow it."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType, TracebackType
from typing import Any, Self

from trainq.threads import stop_signals
from trainq.worker.outcome import Outcome

# Two requests within this time count as one: a service manager signals all processes of a unit, and the parent process
# passes the same signal on within milliseconds. A person who presses Ctrl-C twice takes longer.
PAUSE_SECONDS = 1.0
# A signal that arrives just before a system call does not wake it, and its handler runs only after the call: wake the
# main thread a second time after this.
WAKE_AGAIN_SECONDS = 0.2


class StopRequests:
    """Counts requests to stop. `level`: 0 for none, 1 after the first, 2 after another one PAUSE_SECONDS later.

    May be called from signal handlers and from any thread.
    """

    def __init__(self) -> None:
        self.level = 0
        self._first = 0.0

    def ask(self) -> None:
        """Count a request. It is a second one if it comes at least PAUSE_SECONDS after the first."""
        paused = self.level and time.monotonic() - self._first >= PAUSE_SECONDS
        self.hear(2 if paused else 1)

    def hear(self, level: int) -> None:
        """Take over the level of another process, since the same request may reach both. The level never falls."""
        if not self.level:
            self._first = time.monotonic()
        self.level = max(self.level, level)


class Interrupted(BaseException):
    """Raised inside `Interruption.allow` when the task or the worker must end. A BaseException: `except Exception` in a
    training function does not catch it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.sentence)
        self.outcome = outcome


class Interruption:
    """A context manager that handles SIGINT, SIGTERM and SIGHUP. How urgent a stop is:

    `requested`: a signal, `request_stop` or `Worker.stop` has asked for it: no further task begins. `signalled`: not
    only `Worker.stop` has: the running task is interrupted, too. `hurried`: a second signal: do not wait for uploads.

    Used from the worker's thread; `interrupt` and `request_stop` from any other. If the worker does not run in the main
    thread, nothing interrupts a running task: Python runs signal handlers in the main thread only.
    """

    def __init__(self) -> None:
        self.requested = False
        self._stop = StopRequests()
        self._outcome: Outcome | None = None
        self._task: object = None
        self._changing = threading.Lock()
        # Level of stop requests that interrupts the running code: 1 or 2; 0 if it must not be interrupted.
        self._needed = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers: dict[signal.Signals, Any] = dict.fromkeys(stop_signals(), self._on_stop)
            handlers[signal.SIGUSR1] = self._on_interrupt
            self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Before the handlers are restored, and under the lock: a later SIGUSR1 of `_wake_main_thread` would end the
        # process.
        with self._changing:
            before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)

    @property
    def signalled(self) -> bool:
        """Return whether a signal or `request_stop` has asked for a stop. `Worker.stop` does not count."""
        return self._stop.level >= 1

    @property
    def hurried(self) -> bool:
        """Return whether a second signal or request has come: stop at once, without waiting for uploads."""
        return self._stop.level >= 2

    def allow(self, function: Callable[..., Any], *arguments: Any, insist: bool = False) -> Any:
        """Call the function and return its result. Raises Interrupted on a signal, also on one that came before.

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
        """Delay interruptions while the block runs, inside `allow`. Raises Interrupted at its end if one has come."""
        needed, self._needed = self._needed, 0
        try:
            yield
        finally:
            self._needed = needed
        self._raise_if_due()

    def interrupt(self, outcome: Outcome, task: object = None) -> None:
        """Interrupt the task if it is still the current one. For threads other than the worker's."""
        with self._changing:
            if task is not self._task:
                return
            self._outcome = self._outcome or outcome
        self._wake_main_thread()

    def request_stop(self, level: int) -> None:
        """Request a stop, as a signal does. For threads other than the worker's. `level`: as in StopRequests."""
        self._stop.hear(level)
        self.requested = True
        self._wake_main_thread()

    def _wake_main_thread(self) -> None:
        self._signal_main_thread()
        again = threading.Timer(WAKE_AGAIN_SECONDS, self._signal_main_thread)
        again.daemon = True
        again.start()

    def _signal_main_thread(self) -> None:
        with self._changing:
            # Only a signal wakes the main thread from a system call.
            if self._before:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def begin_task(self, task: object = None) -> None:
        """Set the current task (None for none) and forget interruptions of the one before."""
        with self._changing:
            self._task, self._outcome = task, None

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # A handler must not log: it may run while the main thread writes a log line.
        self.requested = True
        self._stop.ask()
        self._raise_if_due()

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._raise_if_due()

    def _raise_if_due(self) -> None:
        stopped = 0 < self._needed <= self._stop.level
        if stopped or (self._needed == 1 and self._outcome):
            # Raise once only: the clean-up that follows must not be interrupted.
            self._needed = 0
            raise Interrupted(self._outcome or Outcome.SHUTDOWN)
