"""The guard's own process: it starts a worker's commands, and ends all that they have started, however the worker ends.

Run by path, as `python -I -S guard_process.py SOCKET FOLDER`: it imports the standard library alone, which takes 15 ms
and 10 MB. On Linux it is a subreaper: a process whose parent has died becomes its child. So whatever a command starts,
in whatever session, as PyTorch's elastic launcher starts its trainers, stays below the guard and is found. Elsewhere
only the command's process group is ended.

Messages are lines of JSON. From the worker: `{"argv", "environment"}`, with a descriptor for the output, starts a
command; `{"signal"}` sends a signal to its process group. To the worker: `{"pid"}` or `{"errno", "error"}`; and when
the command has ended, and all that it had started, `{"status", "left"}`. When the worker closes the socket, or is gone,
everything is ended and its folder is removed.
"""

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
PR_SET_CHILD_SUBREAPER = 36
# A process that the kernel does not let go of, in a driver's call for instance, is not waited for longer.
END_SECONDS = 10
READ_BYTES = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_given_up: set[int] = set()


def become_subreaper() -> None:
    """Adopt the orphans among this process's descendants. Linux only; elsewhere nothing happens."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children() -> list[int]:
    """Kill all descendants of this process, and reap those that are its children.

    Returns those that could not be ended: another user's, or stuck in the kernel for END_SECONDS.
    """
    deadline = time.monotonic() + END_SECONDS
    refused: set[int] = set()
    while _has_children():
        found = descendants() - refused - _given_up
        if not found or time.monotonic() > deadline:
            # Stuck ones are not waited for a second time.
            _given_up.update(found)
            return sorted(found | refused)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except PermissionError:
                refused.add(pid)
        time.sleep(0.002)
    return []


def descendants() -> set[int]:
    """The processes below this one that have not ended, as far as /proc tells."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        # One may end while we look.
        with contextlib.suppress(OSError):
            # "PID (NAME) STATE PARENT ...", where the name may have anything in it.
            state, parent = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(process.name))
    found: set[int] = set()
    below = [os.getpid()]
    while below:
        new = children.pop(below.pop(), [])
        found.update(new)
        below += new
    return found


def _has_children() -> bool:
    """Reap the children that have ended; False if there are no others."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


class _Commands:
    """Runs one command at a time for the worker at the other end of the socket."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.command: subprocess.Popen[bytes] | None = None
        self._unread = bytearray()
        self._descriptors: list[int] = []
        # When a command that was killed is given up.
        self._deadline: float | None = None

    def serve(self) -> None:
        """Return when the worker is gone."""
        # Written to at each signal, so that the end of a child ends a wait.
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        while True:
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready, _, _ = select.select([self.link, woken], [], [], left)
            if woken in ready:
                os.read(woken, READ_BYTES)
                self._reap_orphans()
            if self.link in ready and not self._read():
                return
            late = self._deadline is not None and time.monotonic() >= self._deadline
            if self.command and (self.command.poll() is not None or late):
                self._ended(self.command)

    def _read(self) -> bool:
        try:
            some, descriptors, _, _ = socket.recv_fds(self.link, READ_BYTES, 1)
        except ConnectionError:
            return False
        self._descriptors += descriptors
        self._unread += some
        if b"\n" in some:
            *lines, self._unread = self._unread.split(b"\n")
            for line in lines:
                self._handle(json.loads(line))
        return bool(some)

    def _reap_orphans(self) -> None:
        """Reap what the command has left to this process, or a long one would fill the machine's table of processes."""
        if sys.platform != "linux":
            return
        with contextlib.suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if self.command and found.si_pid == self.command.pid:
                    return
                os.waitpid(found.si_pid, 0)

    def _handle(self, message: dict) -> None:
        if "argv" in message:
            self._start(message["argv"], message["environment"], self._descriptors.pop())
        elif self.command and self.command.poll() is None:
            # The command may have become another user.
            with contextlib.suppress(PermissionError):
                os.killpg(self.command.pid, message["signal"])
            if message["signal"] == signal.SIGKILL:
                self._deadline = time.monotonic() + END_SECONDS

    def _start(self, argv: list[str], environment: dict[str, str], output: int) -> None:
        try:
            # A session of its own: Ctrl-C reaches the worker only, which then ends the command in its own way.
            self.command = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            self._tell(pid=self.command.pid)
        except OSError as error:
            self._tell(errno=error.errno or errno.EIO, error=str(error))
        except ValueError as error:
            self._tell(errno=errno.EINVAL, error=str(error))
        finally:
            os.close(output)

    def _ended(self, command: subprocess.Popen[bytes]) -> None:
        self.command = self._deadline = None
        status = command.returncode
        left = end_all_of(command.pid)
        if status is None:
            # It is another user's, or stuck in the kernel.
            _given_up.add(command.pid)
            status, left = -signal.SIGKILL, sorted({command.pid, *left})
        self._tell(status=status, left=left)

    def _tell(self, **message: object) -> None:
        # A worker that is gone is noticed at the next read.
        with contextlib.suppress(OSError):
            self.link.sendall(json.dumps(message).encode() + b"\n")


def end_all_of(group: int) -> list[int]:
    """End a process group and all descendants; return what could not be ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    return end_children()


def _nothing(number: int, frame: object) -> None:
    """A handler instead of SIG_IGN, which the commands would inherit."""


def main(link: int, folder: str) -> None:
    for number in SIGNALS:
        # Under nohup commands ignore SIGHUP too. The others a command must hear, however the worker was started.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    become_subreaper()
    commands = _Commands(socket.socket(fileno=link))
    try:
        commands.serve()
    finally:
        if commands.command:
            end_all_of(commands.command.pid)
        end_children()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
