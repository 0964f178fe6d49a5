"""Saves the checkpoint of the running task: at intervals, and when the training function asks for it."""

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

# How often the thread looks for a `checkpoint_now` file. Half a second: far less than a checkpoint takes to compute.
LOOK_SECONDS = 0.5


class Savable(Protocol):
    """The part of `Checkpoints` that the saver uses."""

    about: dict[str, Any]

    def save(self, folder: Path) -> bool: ...


class CheckpointSaver:
    """A thread that saves the running task's checkpoint every `every` seconds (never if None), and when the training
    function makes the file `checkpoint_now`. Its methods are called from the worker's thread."""

    def __init__(self, every: float | None) -> None:
        self.every = every
        self._current: tuple[Savable, TrainingTask] | None = None
        self._due = float("inf")
        self._saving, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="checkpoints")
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def saving(self, checkpoints: Savable, training: TrainingTask) -> Generator[None]:
        """Save checkpoints while the block runs. After the block no save is under way."""
        self._schedule()
        self._current = (checkpoints, training)
        try:
            yield
        finally:
            self._current = None
            with self._saving:
                pass

    def _schedule(self) -> None:
        self._due = time.monotonic() + self.every if self.every else float("inf")

    def _run(self) -> None:
        leave_signals_to_the_main_thread()
        while not self._ended.wait(LOOK_SECONDS):
            with self._saving:
                if self._current:
                    self._save_if_due(*self._current)

    def _save_if_due(self, checkpoints: Savable, training: TrainingTask) -> None:
        asked = False
        try:
            asked = training.checkpoint_now.exists()
            if not asked and time.monotonic() < self._due:
                return
            training.checkpoint_now.unlink(missing_ok=True)
            checkpoints.save(training.checkpoint)
        except Exception as error:
            tell(log, events.CHECKPOINT_FAILED, **checkpoints.about, reason=str(error))
            # The disk may be full: touch() fails then, which must not end this thread.
            with contextlib.suppress(OSError):
                if asked:
                    training.checkpoint_now.touch()
        self._schedule()
