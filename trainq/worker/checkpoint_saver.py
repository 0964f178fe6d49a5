"""Saves the checkpoint of the task that runs: at intervals, and when the training function asks for it."""

import contextlib
import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.training import TrainingTask

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5


class Savable(Protocol):
    """The checkpoints of an attempt."""

    about: dict[str, Any]

    def save(self, folder: Path) -> bool: ...


class CheckpointSaver:
    """One thread for all of a worker's tasks, which saves every so many seconds, and when a task's `checkpoint_now` is
    made."""

    def __init__(self, every: float | None) -> None:
        self.every = every
        self._current: tuple[Savable, TrainingTask] | None = None
        self._due = float("inf")
        self._looking, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="checkpoints")
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def saving(self, checkpoints: Savable, training: TrainingTask) -> Generator[None]:
        """Within this the task runs; after it nothing is being saved any more."""
        self._put_off()
        self._current = (checkpoints, training)
        try:
            yield
        finally:
            self._current = None
            with self._looking:
                pass

    def _put_off(self) -> None:
        self._due = time.monotonic() + self.every if self.every else float("inf")

    def _run(self) -> None:
        leave_signals_to_the_main_thread()
        while not self._ended.wait(LOOK_SECONDS):
            with self._looking:
                if self._current:
                    self._look(*self._current)

    def _look(self, checkpoints: Savable, training: TrainingTask) -> None:
        asked = False
        try:
            asked = training.checkpoint_now.exists()
            if not asked and time.monotonic() < self._due:
                return
            training.checkpoint_now.unlink(missing_ok=True)
            checkpoints.save(training.checkpoint)
        except Exception as error:
            tell(log, events.CHECKPOINT_FAILED, **checkpoints.about, reason=str(error))
            # A full disk must not end this thread.
            with contextlib.suppress(OSError):
                if asked:
                    training.checkpoint_now.touch()
        self._put_off()
