"""An attempt's files on this machine: downloads its shards, uploads its output, removes its folder."""

from pathlib import Path
from typing import Any

from trainq import folders
from trainq.protocol import layout
from trainq.protocol.names import below, files_below
from trainq.transfers import Cancel, TransferPool
from trainq.worker.training import TaskFailed, TrainingTask


class Files:
    """The local files of one attempt. `TrainingTask` makes the folder when it is first used."""

    def __init__(self, pool: TransferPool, training: TrainingTask) -> None:
        self.pool, self.training = pool, training

    def fetch_shards(self, cancel: Cancel) -> None:
        """Download the task's shards. Raises Cancelled, or ClientError from S3."""
        folder = self.training.folder / "shards"
        names = [(key, key.removeprefix(layout.DATASETS)) for key in self.training.keys]
        self.pool.download([(key, below(folder, name)) for key, name in names], cancel=cancel)

    def upload_output(self, prefix: str, cancel: Cancel) -> list[dict[str, Any]]:
        """Upload the output below the prefix. Return path and size (bytes) of each file, for the result marker.

        Raises TaskFailed for a file that cannot be an object, Cancelled, or ClientError from S3.
        """
        files = self._output()
        sizes = [{"path": name, "bytes": path.stat().st_size} for name, path in files.items()]
        self.pool.upload([(path, prefix + name) for name, path in files.items()], cancel=cancel)
        return sizes

    def _output(self) -> dict[str, Path]:
        # Only if the task has used the folder: to make and list an empty one takes longer than some tasks.
        output = self.training.place / "output"
        try:
            found = files_below(output) if output in self.training.made or output.exists() else {}
            _refuse_links_out_of(output, found)
        except (ValueError, OSError) as error:
            raise TaskFailed(f"the output cannot be stored: {error}") from None
        return found

    @property
    def exist(self) -> bool:
        """Return whether the attempt's folder exists."""
        return self.training.place.exists()

    def remove(self) -> None:
        """Remove the attempt's folder and everything in it."""
        folders.remove(self.training.place)


def _refuse_links_out_of(folder: Path, files: dict[str, Path]) -> None:
    """Raise ValueError for a link to a file elsewhere, such as the worker's private key: submitters read results."""
    if folder.is_symlink():
        raise ValueError(f"{str(folder)!r} is a link")
    within = folder.resolve()
    for name, path in files.items():
        if path.is_symlink() and not path.resolve().is_relative_to(within):
            raise ValueError(f"{name!r} is a link out of the folder")
