"""Watches the tasks that train or are being stored: reports them, and ends those whose result nobody wants any more."""

import threading
import time
from typing import Protocol

from trainq.threads import leave_signals_to_the_main_thread

# A worker reports when a task begins, but not more often than this: a short task costs no request.
REPORT_SECONDS = 1.0


class Watched(Protocol):
    """What is looked at: an attempt."""

    def look(self, *, report: bool) -> None: ...


class Watch:
    """A thread that looks at each attempt in its turn, a second after it has begun and then every `interval` seconds.

    A look that takes long puts the others off, and none of them is dropped: while S3 does not answer, heartbeats go on
    in a thread of their own. The attempt that trains is reported, not those that are being stored.
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
        """The attempt begins to train."""
        with self._changed:
            self._training = attempt
            self._due[attempt] = max(time.monotonic(), self._looked + REPORT_SECONDS)
            self._changed.notify()

    def store(self, attempt: Watched) -> None:
        """Training is over: look again only if storing takes longer than an interval, and report it no more once
        another trains."""
        with self._changed:
            if attempt in self._due:
                self._due[attempt] = time.monotonic() + self.interval

    def end(self, attempt: Watched) -> None:
        with self._changed:
            self._due.pop(attempt, None)

    def close(self) -> None:
        """Return when no look is under way any more."""
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
        """Wait for the attempt that has waited longest for its look; None at the end."""
        with self._changed:
            while not self._closed:
                attempt = min(self._due, key=lambda each: self._due[each], default=None)
                left = None if attempt is None else self._due[attempt] - time.monotonic()
                if left is not None and left <= 0:
                    return attempt
                self._changed.wait(left)
            return None
