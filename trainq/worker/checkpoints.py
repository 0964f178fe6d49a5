"""Checkpoints in the bucket, so that the next attempt at a task goes on where the last one ended, on any machine.

The marker of a checkpoint is written last: a checkpoint without a marker is incomplete and ignored. Names sort by
attempt first, so that the late checkpoint of a worker that has lost its lease is never the newest.
"""

import logging
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainq import folders
from trainq.protocol import events, layout, markers
from trainq.protocol.events import tell
from trainq.protocol.names import below
from trainq.transfers import Cancel, TransferPool, listed
from trainq.worker import checkpoint_files
from trainq.worker.checkpoint_files import Contents

log = logging.getLogger(__name__)

MARKER = re.compile(r"\d{6}-\d{6}-[0-9a-f]{32}\.json")
# A marker names at most so many of the entries that are left out of its checkpoint.
MAX_LEFT_OUT = 100


@dataclass
class Checkpoints:
    """Restores the newest checkpoint of earlier attempts at a task, and saves those of this attempt.

    Call `restore` before the first `save`. `save` may be called from any thread.
    """

    pool: TransferPool
    job_id: str
    task: int
    attempt_number: int
    attempt: str
    saved: int = 0
    # False until the newest checkpoint is in the folder: a folder that is half restored must not be saved.
    restored: bool = False
    # What was wrong with the last save, in words; None if nothing was. For records that people read.
    problem: str | None = None
    # The fields of this attempt's events.
    about: dict[str, Any] = field(init=False)
    _last: Contents | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.about = {"job": self.job_id, "task": self.task, "attempt": self.attempt_number}

    def restore(self, folder: Path, cancel: Cancel | None = None) -> str | None:
        """Download the newest complete checkpoint into the folder. Return its name, None if there is none.

        Raises Cancelled, or ClientError from S3.
        """
        prefix = layout.checkpoints(self.job_id, self.task)
        found = listed(self.pool.s3, self.pool.bucket, prefix, delimiter="/")
        names = (each["Key"].removeprefix(prefix) for each in found)
        newest = max((name for name in names if MARKER.fullmatch(name)), default=None)
        if newest is None:
            self.restored = True
            return None
        # SQS counts a redriven task's receives from 1 again. New checkpoints must still sort after the old ones.
        self.attempt_number = max(self.attempt_number, int(newest.split("-")[0]) + 1)
        marker = markers.read(self.pool.s3, self.pool.bucket, prefix + newest) or {"files": []}
        base = prefix + newest.removesuffix(".json") + "/"
        files = [(base + name, below(folder, name)) for name in marker["files"]]
        self.pool.download(files, cancel=cancel)
        checkpoint_files.restore_links(folder, marker.get("links", {}))
        self._last = checkpoint_files.look(folder)
        self.restored = True
        return newest.removesuffix(".json")

    def save(self, folder: Path) -> bool:
        """Upload the folder as a new checkpoint. Return False if it is empty, unchanged or not restored yet.

        The command may write meanwhile: hard links keep the files as they are now. Entries that are neither files nor
        links within the folder are left out, and `problem` names them. Raises ClientError from S3, OSError; then
        `problem` says so.
        """
        with self._lock:
            if not self.restored:
                return False
            try:
                return self._save(folder)
            except Exception as error:
                self.problem = f"the checkpoint could not be saved: {error}"
                raise

    def _save(self, folder: Path) -> bool:
        now = checkpoint_files.look(folder)
        if now == self._last or not (now.files or now.left_out):
            return False
        copy = folder.with_name("checkpoint-copy")
        try:
            kept = checkpoint_files.keep(folder, copy)
            self.problem = kept.problem
            if self.problem:
                tell(log, events.CHECKPOINT_INCOMPLETE, **self.about, reason=self.problem)
            if kept.files:
                self._upload(copy, kept)
        finally:
            folders.remove(copy)
        self._last = now
        return bool(kept.files)

    def _upload(self, copy: Path, kept: Contents) -> None:
        self.saved += 1
        name = f"{self.attempt_number:06}-{self.saved:06}-{self.attempt}"
        base = layout.checkpoints(self.job_id, self.task) + name
        files = sorted(kept.files)
        self.pool.upload([(copy / each, f"{base}/{each}") for each in files])
        marker: dict[str, Any] = {"attempt": self.attempt, "files": files}
        # Only where there are any: workers of earlier versions read `files` alone.
        if kept.links:
            marker["links"] = kept.links
        if kept.left_out:
            marker["left_out"] = dict(sorted(kept.left_out.items())[:MAX_LEFT_OUT])
        markers.commit(self.pool.s3, self.pool.bucket, f"{base}.json", marker)
        tell(log, events.CHECKPOINT_SAVED, **self.about, number=self.saved)
