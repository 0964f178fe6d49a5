"""The worker's side of its guard: a process that starts the commands and survives the worker, to end them and all that
they have started, and to remove the worker's folder."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from trainq.machine import guard_process
from trainq.worker.training import WorkerBroken

# What the guard may take to answer, besides what it gives processes to end.
ANSWER_SECONDS = 10


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, below 0 for a signal; and the processes that could not be ended."""

    status: int
    left: Sequence[int]


class Guard:
    """Runs one command at a time. For the main thread of a process that has no other children.

    All methods raise WorkerBroken if somebody has killed the guard: nothing would end the next command.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: is removed at the end."""
        # If the guard is killed, what it has started becomes this process's.
        guard_process.become_subreaper()
        self.folder = folder
        self._link, theirs = socket.socketpair()
        # Blocked until the guard has its handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, guard_process.SIGNALS)
        try:
            with theirs:
                # -I leaves out PYTHONUTF8, too, which decides how names are encoded.
                utf8 = ["-X", f"utf8={sys.flags.utf8_mode}"]
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", *utf8, guard_process.__file__, str(theirs.fileno()), str(folder)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._unread = b""
        self.ended: Ended | None = None

    def start(self, argv: Sequence[str], environment: Mapping[str, str], output: int) -> None:
        """Start a command in a session of its own; what it prints goes to the descriptor `output`.

        Raises OSError if it cannot be started.
        """
        self.ended = None
        message = json.dumps({"argv": list(argv), "environment": dict(environment)}).encode() + b"\n"
        with self._unless_gone():
            sent = socket.send_fds(self._link, [message], [output])
            self._link.sendall(message[sent:])
        answer = self._answer()
        if "error" in answer:
            raise OSError(answer["errno"], answer["error"])

    def wait(self, seconds: float | None = None) -> bool:
        """Return whether the command has ended within the time, with all that it had started: then `ended` tells how.

        An exception that a signal handler raises in here loses nothing.
        """
        if self.ended or self._unread:
            return True
        # Looked at, not taken: a signal that interrupts this must not take what has arrived with it.
        self._link.settimeout(seconds)
        try:
            self._link.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        except OSError:
            self._broken()
        finally:
            self._link.settimeout(None)
        return True

    def take(self) -> Ended:
        """Return how the command has ended, after `wait`."""
        if not self.ended:
            answer = self._answer()
            self.ended = Ended(answer["status"], answer["left"])
        return self.ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command's process group, if the command has not ended."""
        with self._unless_gone():
            self._link.sendall(json.dumps({"signal": number}).encode() + b"\n")

    def end(self) -> Ended:
        """Kill the command and all that it has started; return when nothing of it runs any more."""
        if not self.ended:
            self.signal(signal.SIGKILL)
        return self.take()

    def close(self) -> None:
        """End what still runs and remove the folder: the worker ends in an orderly way."""
        self._link.close()
        if self._process.wait():
            guard_process.end_children()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _answer(self) -> dict[str, Any]:
        self._link.settimeout(2 * guard_process.END_SECONDS + ANSWER_SECONDS)
        try:
            while b"\n" not in self._unread:
                some = self._link.recv(guard_process.READ_BYTES)
                if not some:
                    self._broken()
                self._unread += some
        except OSError:
            self._broken()
        finally:
            self._link.settimeout(None)
        line, self._unread = self._unread.split(b"\n", 1)
        return json.loads(line)

    @contextlib.contextmanager
    def _unless_gone(self) -> Generator[None]:
        try:
            yield
        except OSError:
            self._broken()

    def _broken(self) -> NoReturn:
        self._process.kill()
        self._process.wait()
        guard_process.end_children()
        raise WorkerBroken("this worker's guard process is gone") from None
