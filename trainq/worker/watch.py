"""Watches tasks that train or are being stored: reports them, and ends those that are cancelled or already done."""

import threading
import time
from typing import Protocol

from trainq.threads import leave_signals_to_the_main_thread

# At least this long between two looks: a task that takes less than 1 s costs no request.
REPORT_SECONDS = 1.0


class Watched(Protocol):
    """The part of `Attempt` that the watch uses."""

    def look(self, *, report: bool) -> None: ...


class Watch:
    """A thread that looks at each attempt: when it begins to train (1 s after the last look) and every `interval`
    seconds. May be used from any thread.

    A slow look delays the others, and drops none. Heartbeats do not wait for it: they have a thread of their own. Only
    the attempt that trains is reported, not attempts that are being stored.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._due: dict[Watched, float] = {}
        self._training: Watched | None = None
        self._looked = -REPORT_SECONDS
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True, name="watch")
        self._thread.start()

    def begin(self, attempt: Watched) -> None:
        """Watch an attempt that begins to train."""
        with self._changed:
            self._training = attempt
            self._due[attempt] = max(time.monotonic(), self._looked + REPORT_SECONDS)
            self._changed.notify()

    def store(self, attempt: Watched) -> None:
        """Put off the next look by an interval. Call this when training has ended and storing begins."""
        with self._changed:
            if attempt in self._due:
                self._due[attempt] = time.monotonic() + self.interval

    def end(self, attempt: Watched) -> None:
        """Stop watching the attempt. A look that is under way goes on."""
        with self._changed:
            self._due.pop(attempt, None)

    def close(self) -> None:
        """End the thread. Returns when no look is under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        leave_signals_to_the_main_thread()
        while attempt := self._next():
            attempt.look(report=attempt is self._training)
            self._looked = time.monotonic()
            with self._changed:
                if attempt in self._due:
                    self._due[attempt] = time.monotonic() + self.interval

    def _next(self) -> Watched | None:
        """Wait until an attempt is due and return the one that is due longest. Return None after `close`."""
        with self._changed:
            while not self._closed:
                attempt = min(self._due, key=lambda each: self._due[each], default=None)
                left = None if attempt is None else self._due[attempt] - time.monotonic()
                if left is not None and left <= 0:
                    return attempt
                self._changed.wait(left)
            return None
