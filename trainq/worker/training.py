"""The interface of a training function: the task that it gets and the exceptions that it may raise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class TaskFailed(Exception):
    """Raised if an attempt failed. Reason and `details` go into its failure record; the task is retried."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.details = details


class WorkerBroken(Exception):
    """Raised if the worker cannot go on. Its task is released, without a failure, and the worker ends."""


@dataclass(frozen=True)
class TrainingTask:
    """The task that a training function gets.

    `job_id`, `task`, `tasks`: the job, and the task's number from 0 to `tasks` - 1. `parameters`: the values to train
    with. `shards`: folder with the files to read, named as in the bucket without 'datasets/'. `output`: folder for the
    files to keep. `checkpoint`: folder with the state of the last attempt; after an interruption its files are saved
    for the next attempt. `keys`: the shards' keys in `bucket`, for a function that reads them from there
    (`Options.download=False`). `folder` and everything in it is removed after the attempt.
    """

    job_id: str
    task: int
    tasks: int
    parameters: dict[str, Any]
    # Path of `folder`, which may not exist yet.
    place: Path
    keys: Sequence[str] = ()
    bucket: str = ""
    # Values (JSON) that the training function adds to the result marker, such as `output_tail`.
    notes: dict[str, Any] = field(default_factory=dict)
    # Returns whether the attempt must end; see `should_stop`.
    stop_requested: Callable[[], bool] = lambda: False
    # The folders that were used. If one is missing later, the training function has removed it.
    made: set[Path] = field(default_factory=set, repr=False)
    told: list[bool] = field(default_factory=list, repr=False)

    @property
    def should_stop(self) -> bool:
        """Return whether the function must save its checkpoint and return.

        For functions that must not be interrupted by an exception (`Options.interrupt_training=False`) or that do not
        run in the main thread. Once this was True, the output is not committed: the next attempt goes on from the
        checkpoint.
        """
        if self.stop_requested():
            self.told.append(True)
        return self.told_to_stop

    @property
    def told_to_stop(self) -> bool:
        """Return whether `should_stop` has been True before."""
        return bool(self.told)

    # Folders are made on first use: to make and remove them takes longer than some tasks.
    @property
    def folder(self) -> Path:
        """Return the attempt's folder. Makes it on first use."""
        return self._make(self.place)

    @property
    def output(self) -> Path:
        """Return the folder for the output. Makes it on first use."""
        return self._make(self.folder / "output")

    @property
    def checkpoint(self) -> Path:
        """Return the folder of the checkpoint. Makes it on first use."""
        return self._make(self.folder / "checkpoint")

    @property
    def shards(self) -> Path:
        """Return the folder with the task's shards. It does not exist if shards are not downloaded."""
        return self.place / "shards"

    @property
    def checkpoint_now(self) -> Path:
        """Return the path of a file that requests a checkpoint: make it, and the worker removes it and saves."""
        return self.place / "checkpoint-now"

    @property
    def done(self) -> Path:
        """Return the path of a file by which a command says that its output is complete."""
        return self.place / "done"

    def _make(self, folder: Path) -> Path:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.made.add(folder)
        return folder


Train = Callable[[TrainingTask], None]
