"""A task's checkpoints: what one attempt leaves to the next, on whatever machine that is.

A checkpoint counts when its marker is there, which is written last. The newest is the one of the latest attempt, so
that a worker which had lost its task and comes back late cannot put its older state in front.
"""

import os
import re
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainq import bucket, markers, transfer
from trainq.stack import Stack

MARKER = re.compile(r"\d{6}-\d{6}-[0-9a-f]{32}\.json")
LOOK_SECONDS = 0.5
LINK_ATTEMPTS = 3
# For how long a worker believes that a job has no checkpoints.
BELIEVED_SECONDS = 60.0


@dataclass
class Checkpoints:
    """The checkpoints of one attempt, and those of the attempts before it."""

    stack: Stack
    job_id: str
    task: int
    attempt_number: int
    attempt: str
    saved: int = 0
    # Until the folder is as the attempt before left it, there is nothing in it that is worth keeping.
    restored: bool = False
    _last: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def restore(self, folder: Path) -> str | None:
        """Fill the folder with the newest complete checkpoint; return its name, None if there is none."""
        prefix = bucket.checkpoints(self.job_id, self.task)
        answer = self.stack.s3.list_objects_v2(Bucket=self.stack.bucket_name, Prefix=prefix, Delimiter="/")
        names = [each["Key"].removeprefix(prefix) for each in answer.get("Contents", ())]
        newest = max((name for name in names if MARKER.fullmatch(name)), default=None)
        if newest is None:
            self.restored = True
            return None
        # A task that was redriven begins to count anew; what it saves must not stand behind what is there.
        self.attempt_number = max(self.attempt_number, int(newest.split("-")[0]) + 1)
        marker = markers.read(self.stack.s3, self.stack.bucket_name, prefix + newest) or {"files": []}
        base = prefix + newest.removesuffix(".json") + "/"
        files = [(base + name, transfer.below(folder, name)) for name in marker["files"]]
        transfer.download(self.stack.s3, self.stack.bucket_name, files)
        self._last = _signature(folder)
        self.restored = True
        return newest.removesuffix(".json")

    def save(self, folder: Path) -> bool:
        """Store what is in the folder, unless it is empty or has not changed; whether it was stored."""
        with self._lock:
            signature = _signature(folder) if self.restored else []
            if not signature or signature == self._last:
                return False
            copy = folder.with_name("checkpoint-copy")
            try:
                _link_all(folder, copy)
                files = transfer.files_below(copy)
                self.saved += 1
                name = f"{self.attempt_number:06}-{self.saved:06}-{self.attempt}"
                base = bucket.checkpoints(self.job_id, self.task) + name
                pairs = [(path, f"{base}/{relative}") for relative, path in files.items()]
                transfer.upload(self.stack.s3, self.stack.bucket_name, pairs)
                marker = {"attempt": self.attempt, "files": list(files)}
                markers.commit(self.stack.s3, self.stack.bucket_name, f"{base}.json", marker)
            finally:
                shutil.rmtree(copy, ignore_errors=True)
            self._last = signature
            return True


class CheckpointThread:
    """A context manager that saves a running task's checkpoints: every so many seconds, and when the command asks
    for it by making the file `now`."""

    def __init__(self, checkpoints: Checkpoints, folder: Path, now: Path, every: float | None, log: Any) -> None:
        self.checkpoints, self.folder, self.now, self.every, self.log = checkpoints, folder, now, every, log
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="checkpoints")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self.every if self.every else float("inf")
        while not self._ended.wait(LOOK_SECONDS):
            asked = self.now.exists()
            if not asked and time.monotonic() < due:
                continue
            try:
                self.now.unlink(missing_ok=True)
                if self.checkpoints.save(self.folder):
                    self.log.info("checkpoint %d saved", self.checkpoints.saved)
            except Exception as error:
                self.log.warning("a checkpoint could not be saved and is tried again: %s", error)
                if asked:
                    self.now.touch()
            due = time.monotonic() + self.every if self.every else float("inf")


def _link_all(folder: Path, copy: Path) -> None:
    """Links keep what was there under each name, while the command goes on and puts new files in their place."""
    for attempt in range(LINK_ATTEMPTS):
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shutil.copytree(folder, copy, copy_function=os.link)
        except (shutil.Error, FileNotFoundError):
            # A file was renamed between being seen and being linked.
            if attempt + 1 == LINK_ATTEMPTS:
                raise
        else:
            return


@dataclass
class CheckpointedJobs:
    """Which jobs have checkpoints at all, so that the first attempts at tasks of other jobs do not look for any."""

    stack: Stack
    _asked: dict[str, float] = field(default_factory=dict)
    _found: set[str] = field(default_factory=set)

    def has(self, job_id: str) -> bool:
        """Whether the job had a checkpoint a minute ago."""
        if job_id in self._found:
            return True
        if time.monotonic() - self._asked.get(job_id, -BELIEVED_SECONDS) < BELIEVED_SECONDS:
            return False
        self._asked[job_id] = time.monotonic()
        prefix = bucket.all_checkpoints(job_id)
        answer = self.stack.s3.list_objects_v2(Bucket=self.stack.bucket_name, Prefix=prefix, MaxKeys=1)
        if answer.get("Contents"):
            self._found.add(job_id)
        return job_id in self._found


def _signature(folder: Path) -> list[tuple[str, int, int]]:
    """What is in the folder, by name, size and time; the same for the same files."""
    found = []
    for name, path in transfer.files_below(folder).items():
        status = path.stat()
        found.append((name, status.st_size, status.st_mtime_ns))
    return found
