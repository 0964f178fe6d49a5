"""What a training function is given, and how it says that an attempt has failed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class TaskFailed(Exception):
    """An attempt did not work out; what is known of why goes into its failure record."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.details = details


class WorkerBroken(Exception):
    """This worker cannot go on; its task is not to blame."""


@dataclass(frozen=True)
class TrainingTask:
    """What a training function gets.

    It reads `parameters` and the files below `shards` (as in the bucket, without 'datasets/'), and writes files below
    `output`. `checkpoint` holds what an earlier attempt at the task left there; what is in it when an attempt is
    interrupted is what the next one finds. All of `folder` is removed afterwards. `task` counts from 0 to `tasks` - 1.
    `keys` are the shards' in `bucket`, for a function that reads them from there itself (`Options.download`).
    """

    job_id: str
    task: int
    tasks: int
    parameters: dict[str, Any]
    # Where `folder` is or will be.
    place: Path
    keys: Sequence[str] = ()
    bucket: str = ""
    # What the training function leaves to be kept with the result, such as `output_tail`.
    notes: dict[str, Any] = field(default_factory=dict)
    # Tells whether the attempt is to end: see `should_stop`.
    stop_requested: Callable[[], bool] = lambda: False
    # The folders that were asked for: what is gone of them since has been removed by the training function.
    made: set[Path] = field(default_factory=set, repr=False)
    told: list[bool] = field(default_factory=list, repr=False)

    @property
    def should_stop(self) -> bool:
        """Whether the function is to save its checkpoint and return.

        For a function in which an exception is unwelcome (`Options.interrupt_training`), or that does not run in the
        main thread. Once this was true, what the function returns is no result: the next attempt goes on from the
        checkpoint.
        """
        if self.stop_requested():
            self.told.append(True)
        return self.told_to_stop

    @property
    def told_to_stop(self) -> bool:
        """Whether `should_stop` has been true."""
        return bool(self.told)

    # Folders are made when they are asked for: to make and remove them takes longer than some tasks.
    @property
    def folder(self) -> Path:
        return self._make(self.place)

    @property
    def output(self) -> Path:
        return self._make(self.folder / "output")

    @property
    def checkpoint(self) -> Path:
        return self._make(self.folder / "checkpoint")

    @property
    def shards(self) -> Path:
        return self.place / "shards"

    @property
    def checkpoint_now(self) -> Path:
        """A file that, once made, has the checkpoint saved at once; it is removed when that begins."""
        return self.place / "checkpoint-now"

    def _make(self, folder: Path) -> Path:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.made.add(folder)
        return folder


Train = Callable[[TrainingTask], None]
