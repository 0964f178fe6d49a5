"""Starts worker processes for the demo and tests, and reads the events in their logs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trainq.machine.guard_process import descendants

TRAINQ = [sys.executable, "-P", "-m", "trainq"]


def running(marker: str) -> list[int]:
    """Return the ids of processes that have the marker in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker.encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    return [pid, *sorted(descendants(pid))]


@dataclass(frozen=True)
class Event:
    """An event of a task from a worker's log. `what`: 'started', 'done', 'failed' ... (trainq.protocol.events)."""

    task: int
    attempt: int
    what: str


def _event(line: bytes) -> Event | None:
    """Return the event of a task in a line of a worker's log; None for other events and a command's output."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    kind, _, what = told.get("event", "").partition(".") if isinstance(told, dict) else ("", "", "")
    return Event(told["task"], told["attempt"], what) if kind == "task" else None


class Process(Protocol):
    """The methods of Popen that are used of a worker's process."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def run_interpreter(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start `trainq` with these words, and with these variables besides one's own. `log`: gets what it prints."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [*TRAINQ, *words],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


@dataclass
class WorkerProcess:
    """A `trainq work` process, its log and the events in it so far."""

    name: str
    process: Process
    log: Path
    events: list[Event] = field(default_factory=list)
    _read: int = 0

    @classmethod
    def start(
        cls,
        name: str,
        stack_file: Path,
        command: Sequence[str],
        environment: dict[str, str],
        folder: Path,
        *options: str,
        run: Callable[[Sequence[str], Mapping[str, str], Path], Process] = run_interpreter,
    ) -> "WorkerProcess":
        log = folder / f"{name}.log"
        words = ["--stack", str(stack_file), "work", "--name", name, "--workdir", str(folder), "--poll", "1"]
        words += ["--backoff", "1", "--log-format", "json", *options, "--", *command]
        return cls(name, run(words, environment, log), log)

    def follow(self) -> list[Event]:
        """Read the new lines of the log and return their events."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        new = [found for line in whole.splitlines() if (found := _event(line))]
        self.events += new
        return new

    @property
    def current(self) -> Event | None:
        """Return the event of the task that the worker trains, by the log as far as it was read."""
        return self.events[-1] if self.events and self.events[-1].what == "started" else None

    @property
    def fleet(self) -> list[int]:
        """Return the ids of its own process and, with --concurrency, of the workers that it has started."""
        workers = []
        for pid in running("TRAINQ_FLEET_PIPE="):
            with contextlib.suppress(OSError):
                if parent_of(pid) == self.process.pid:
                    workers.append(pid)
        return [self.process.pid, *workers]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float = 30) -> int:
        """Stop the worker with SIGTERM, as an operator does. Return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
