"""An attempt's files on this machine: the shards that it is given, and the output that it leaves."""

import shutil
from pathlib import Path
from typing import Any

from trainq.protocol import layout
from trainq.protocol.names import below, files_below
from trainq.transfers import Cancel, TransferPool
from trainq.worker.training import TaskFailed, TrainingTask


class Files:
    """The folder of one attempt, which is there once anybody has asked for it."""

    def __init__(self, pool: TransferPool, training: TrainingTask) -> None:
        self.pool, self.training = pool, training

    def fetch_shards(self, cancel: Cancel) -> None:
        """Download the task's shards. Raises Cancelled, or what S3 answers."""
        folder = self.training.folder / "shards"
        names = [(key, key.removeprefix(layout.DATASETS)) for key in self.training.keys]
        self.pool.download([(key, below(folder, name)) for key, name in names], cancel=cancel)

    def upload_output(self, prefix: str, cancel: Cancel) -> list[dict[str, Any]]:
        """Store the output below the prefix; return what a result's marker says of its files.

        Raises TaskFailed for what cannot be stored, Cancelled, or what S3 answers.
        """
        files = self._output()
        sizes = [{"path": name, "bytes": path.stat().st_size} for name, path in files.items()]
        self.pool.upload([(path, prefix + name) for name, path in files.items()], cancel=cancel)
        return sizes

    def _output(self) -> dict[str, Path]:
        # Only if it was asked for: to make and list an empty folder takes longer than some tasks.
        output = self.training.place / "output"
        try:
            return files_below(output) if output in self.training.made or output.exists() else {}
        except (ValueError, OSError) as error:
            raise TaskFailed(f"the output cannot be stored: {error}") from None

    @property
    def exist(self) -> bool:
        return self.training.place.exists()

    def remove(self) -> None:
        if self.exist:
            shutil.rmtree(self.training.folder, ignore_errors=True)
