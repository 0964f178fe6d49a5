"""The guard process: starts a worker's commands, and kills all their processes, however the worker ends.

Run by path, as `python -I -S guard_process.py SOCKET FOLDER`. It imports only the standard library: 15 ms and 10 MB. On
Linux it is a subreaper: a process whose parent has died becomes its child. So the guard finds every process that a
command starts, also in other sessions, as PyTorch's elastic launcher starts its trainers. On other systems the guard
kills only the command's process group.

Messages are lines of JSON. From the worker: `{"argv", "environment"}`, with a descriptor for the output, starts a
command; `{"signal"}` sends a signal to its process group. To the worker: `{"pid"}` or `{"errno", "error"}` after the
start; `{"status", "left"}` when the command and all its processes have ended. When the worker closes the socket or
dies, the guard kills everything and removes the worker's folder.
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
# A killed process may be stuck in the kernel, in a driver's call for instance: give it up after this time.
END_SECONDS = 10
READ_BYTES = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_given_up: set[int] = set()


def become_subreaper() -> None:
    """Make this process the parent of its orphaned descendants. Linux only; has no effect on other systems."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children() -> list[int]:
    """Kill all descendants of this process and reap its children.

    Returns the processes that could not be killed: another user's, or stuck in the kernel for END_SECONDS.
    """
    deadline = time.monotonic() + END_SECONDS
    refused: set[int] = set()
    while _has_children():
        found = descendants() - refused - _given_up
        if not found or time.monotonic() > deadline:
            # Do not wait for stuck processes a second time.
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


def descendants(pid: int | None = None) -> set[int]:
    """Return the living descendants of a process, by default this one, from /proc; none on systems without it."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end while /proc is read.
        with contextlib.suppress(OSError):
            # "PID (NAME) STATE PARENT ...", where NAME may contain spaces and parentheses.
            state, parent = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(process.name))
    found: set[int] = set()
    below = [pid or os.getpid()]
    while below:
        new = children.pop(below.pop(), [])
        found.update(new)
        below += new
    return found


def _has_children() -> bool:
    """Reap the children that have ended. Return whether there are others."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


class _Commands:
    """Runs one command at a time for the worker at the other end of the socket. Single-threaded."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.command: subprocess.Popen[bytes] | None = None
        self._unread = bytearray()
        self._descriptors: list[int] = []
        # When to give up a killed command that does not end.
        self._deadline: float | None = None

    def serve(self) -> None:
        """Serve the worker's requests. Returns when the worker has closed the socket or died."""
        # Python writes to this pipe at each signal: the end of a child (SIGCHLD) wakes select().
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
        """Reap orphans while the command runs: a long command would otherwise fill the system's process table."""
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
            # The command may run as another user by now.
            with contextlib.suppress(PermissionError):
                os.killpg(self.command.pid, message["signal"])
            if message["signal"] == signal.SIGKILL:
                self._deadline = time.monotonic() + END_SECONDS

    def _start(self, argv: list[str], environment: dict[str, str], output: int) -> None:
        try:
            # A session of its own: Ctrl-C reaches only the worker, which then ends the command with its grace period.
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
            # The command runs as another user, or is stuck in the kernel.
            _given_up.add(command.pid)
            status, left = -signal.SIGKILL, sorted({command.pid, *left})
        self._tell(status=status, left=left)

    def _tell(self, **message: object) -> None:
        # If the worker has died, the next read tells.
        with contextlib.suppress(OSError):
            self.link.sendall(json.dumps(message).encode() + b"\n")


def end_all_of(group: int) -> list[int]:
    """Kill a process group and all descendants. Return the processes that could not be killed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    return end_children()


def _nothing(number: int, frame: object) -> None:
    """Do nothing. A handler, since commands would inherit SIG_IGN."""


def main(link: int, folder: str) -> None:
    """Run the guard process. `link`: descriptor of the socket to the worker. `folder`: removed at the end."""
    for number in SIGNALS:
        # SIGHUP stays ignored under nohup, also for commands. Commands must receive the other signals in any case.
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
