"""The worker's end of the guard: a process that starts commands and outlives the worker. If the worker dies, the guard
kills all processes of the command and removes the worker's folder."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from trainq import folders
from trainq.machine import guard_process
from trainq.worker.training import WorkerBroken

# The guard's answer may take this long, in addition to the time in which it ends processes.
ANSWER_SECONDS = 10
# A signal that arrives just before a system call does not wake it: no call waits for longer than this, so that the
# signal's handler runs.
WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Ended:
    """The end of a command. `status`: exit status, below 0 for a signal. `left`: processes that could not be killed."""

    status: int
    left: Sequence[int]


class Guard:
    """Runs one command at a time in a guard process. Used from the main thread of a process without other children.

    All methods raise WorkerBroken if the guard process is gone: nothing would end the next command's processes.
    """

    def __init__(self, folder: Path, lock: int | None = None) -> None:
        """Start the guard process. `folder`: removed when the worker ends. `lock`: descriptor that the guard keeps
        open: the folder stays locked until both processes have ended."""
        # If the guard is killed, this process adopts the command's processes and can end them.
        guard_process.become_subreaper()
        self.folder = folder
        self._link, theirs = socket.socketpair()
        # Signals stay blocked until the guard process has set its handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, guard_process.SIGNALS)
        try:
            with theirs:
                # -I ignores PYTHONUTF8, too, which decides how file names are encoded: pass it as an option.
                utf8 = ["-X", f"utf8={sys.flags.utf8_mode}"]
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", *utf8, guard_process.__file__, str(theirs.fileno()), str(folder)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), *([] if lock is None else [lock])],
                    start_new_session=True,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._unread = b""
        self.ended: Ended | None = None

    def start(self, argv: Sequence[str], environment: Mapping[str, str], output: int) -> None:
        """Start a command in a session of its own. `output`: descriptor for its stdout and stderr.

        Raises OSError if the command cannot be started.
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
        """Wait until the command and all its processes have ended; return False if `seconds` pass before.

        A signal handler may raise an exception in here: the guard's answer is not lost. Call `take` for the result.
        """
        if seconds is None:
            while not self.wait(WAIT_SECONDS):
                pass
            return True
        if self.ended or self._unread:
            return True
        # Peek only: an exception of a signal handler must not lose data that has arrived.
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
        """Return how the command has ended. Call this after `wait` has returned True; otherwise it blocks."""
        if not self.ended:
            answer = self._answer()
            self.ended = Ended(answer["status"], answer["left"])
        return self.ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command's process group. Has no effect if the command has ended."""
        with self._unless_gone():
            self._link.sendall(json.dumps({"signal": number}).encode() + b"\n")

    def end(self) -> Ended:
        """Kill the command and all its processes. Return when none of them runs any more."""
        if not self.ended:
            self.signal(signal.SIGKILL)
        return self.take()

    def close(self) -> None:
        """Kill remaining processes, remove the folder and end the guard process."""
        self._link.close()
        if self._process.wait():
            guard_process.end_children()
        folders.remove(self.folder)

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
