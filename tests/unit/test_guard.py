"""The guard and its commands, without a stack: what is left, what cannot be ended, and which signals are heard."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from local.program import ROOT
from local.workers import parent_of
from tests.helpers.waiting import eventually
from trainq.machine import guard_process
from trainq.machine.command import Command
from trainq.machine.guard import Guard
from trainq.worker.signals import Interrupted, Interruption
from trainq.worker.training import TaskFailed, TrainingTask


def states_below(pid: int) -> list[str]:
    """The states of the processes whose parent this is, as /proc has them."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if parent_of(int(each.name)) == pid:
                found.append((each / "stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            continue
    return found


def task(folder: Path) -> TrainingTask:
    return TrainingTask("j", 0, 1, {}, folder / "attempt")


def test_orphans_of_a_running_command_leave_no_zombies(guard: Guard, tmp_path: Path) -> None:
    """A training that leaves one each step would run out of processes after some hours."""
    script = f"for i in $(seq 50); do (true & ); done; touch {tmp_path}/made; sleep 60"
    with (tmp_path / "output").open("wb") as output:
        guard.start(["sh", "-c", script], dict(os.environ), output.fileno())
    eventually(lambda: (tmp_path / "made").exists(), "the orphans are made")
    eventually(lambda: "Z" not in states_below(guard._process.pid), "they are reaped", seconds=10)
    assert len(states_below(guard._process.pid)) == 1, "the command alone"
    assert guard.end().status == -signal.SIGKILL


def test_a_signal_that_does_not_wake_the_wait_is_handled_all_the_same(guard: Guard, tmp_path: Path) -> None:
    """As one that arrives just before the system call. Here another thread of the process gets it."""
    with (tmp_path / "output").open("wb") as output:
        guard.start(["sleep", "60"], dict(os.environ), output.fileno())
    asked = threading.Event()
    other = threading.Thread(target=asked.wait)
    other.start()
    with Interruption() as interruption:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
            began = time.monotonic()
            with pytest.raises(Interrupted):
                interruption.allow(guard.wait)
            assert time.monotonic() - began < 10
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            asked.set()
            other.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not kill the command")
def test_a_command_that_cannot_be_killed_is_named_and_given_up() -> None:
    """As one that is stuck in the kernel: the attempt ends all the same, and the worker goes on."""
    program = """
import os, signal, socket, sys
sys.path.insert(0, sys.argv[1])
from trainq.machine import guard_process
guard_process.END_SECONDS = 0.5
signal.signal(signal.SIGCHLD, lambda *_: None)
ours, theirs = socket.socketpair()
if os.fork() == 0:
    ours.close()
    commands = guard_process._Commands(theirs)
    start = commands._start
    def become_nobody(*arguments):
        start(*arguments)
        os.setuid(65534)
    commands._start = become_nobody
    guard_process.become_subreaper()
    commands.serve()
    os._exit(0)
theirs.close()
import json
socket.send_fds(ours, [json.dumps({"argv": ["sleep", "60"], "environment": {}}).encode() + b"\\n"], [2])
file = ours.makefile()
pid = json.loads(file.readline())["pid"]
ours.sendall(json.dumps({"signal": 9}).encode() + b"\\n")
answer = json.loads(file.readline())
os.kill(pid, 9)
print(answer == {"status": -9, "left": [pid]}, answer)
"""
    done = subprocess.run([sys.executable, "-c", program, str(ROOT)], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("True"), done.stdout + done.stderr


@pytest.mark.parametrize(("number", "heard"), [("TERM", True), ("INT", True), ("HUP", False)])
def test_what_the_worker_was_started_to_ignore_only_nohup_hands_on(tmp_path: Path, number: str, heard: bool) -> None:
    """A shell starts what is in the background with SIGINT ignored; a command has to hear when it is to end."""
    program = f"""
import os, sys
from pathlib import Path
from trainq.machine.guard import Guard
guard = Guard(Path({str(tmp_path / "work")!r}))
guard.start([sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIG{number}) != signal.SIG_IGN)"],
            dict(os.environ), 1)
guard.wait()
guard.close()
"""
    shell = ["sh", "-c", f"trap '' {number}; exec \"$@\"", "sh", sys.executable, "-c", program]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(heard), done.stderr


def test_a_command_whose_output_nobody_can_read_is_ended(
    guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can be started where processes are limited: it must not run beside the next one."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Interruption() as interruption:
        command = Command(["sleep", "600"], guard, interruption)
        with monkeypatch.context() as limited:
            limited.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                interruption.allow(command, task(tmp_path))
        assert states_below(guard._process.pid) == []
        quick: Any = Command(["false"], guard, interruption)
        with pytest.raises(TaskFailed, match="exit status 1"):
            interruption.allow(quick, task(tmp_path))


def test_commands_that_leave_daemons_cost_no_descriptors_and_no_threads(guard: Guard, tmp_path: Path) -> None:
    """A daemon holds the pipe of the output open: after some 1,000 tasks a worker would have too many files."""
    counted = []
    with Interruption() as interruption:
        command: Any = Command(["sh", "-c", "setsid sleep 600 &"], guard, interruption)
        for _ in range(4):
            interruption.allow(command, task(tmp_path))
            threads = [each for each in threading.enumerate() if each.name == "command-output"]
            counted.append((len(list(Path("/proc/self/fd").iterdir())), len(threads)))
    assert counted == [(counted[0][0], 0)] * 4


@pytest.mark.parametrize(("number", "name"), [(11, "SIGSEGV"), (34, "SIGRTMIN"), (40, "40")])
def test_a_command_that_a_signal_ends_fails_with_the_signals_name_or_number(
    guard: Guard, tmp_path: Path, number: int, name: str
) -> None:
    """Real-time signals have no names, but for the first and the last."""
    with Interruption() as interruption:
        command: Any = Command(["sh", "-c", f"echo said; kill -{number} $$"], guard, interruption)
        with pytest.raises(TaskFailed, match=rf"signal {name}$") as raised:
            interruption.allow(command, task(tmp_path))
    details = raised.value.details
    assert (details["signal"], details["exit_code"], details["output_tail"]) == (number, None, "said\n")


def test_a_large_environment_is_taken_in_linear_time(guard: Guard, tmp_path: Path) -> None:
    """It arrives in pieces of 64 KB: none of them is copied again with each."""
    copied = []

    class Counted(bytearray):
        def split(self, *arguments: Any) -> Any:  # ty: ignore[incompatible-method-override]
            copied.append(len(self))
            return super().split(*arguments)

    commands = guard_process._Commands(None)  # ty: ignore[invalid-argument-type]
    commands._unread = Counted()
    ours, theirs = guard_process.socket.socketpair()
    commands.link = theirs
    commands._handle = copied.append  # ty: ignore[invalid-assignment]
    line = b'{"signal": "' + b"x" * 1_000_000 + b'"}\n'
    sender = threading.Thread(target=ours.sendall, args=(line,))
    sender.start()
    deadline = time.monotonic() + 20
    while not copied and time.monotonic() < deadline:
        commands._read()
    sender.join()
    assert copied[0] == len(line), "it is split once"
    ours.close()
    theirs.close()


def test_waking_the_main_thread_ends_no_process_that_leaves_its_handlers() -> None:
    """SIGUSR1 would, which is how another thread wakes it: by default it ends a process."""
    program = """
import sys, threading
sys.setswitchinterval(1e-5)
from trainq.worker.signals import Interrupted, Interruption
for _ in range(300):
    interruption, ended = Interruption(), threading.Event()
    def ask():
        while not ended.is_set():
            interruption.request_stop(1)
    asking = threading.Thread(target=ask)
    asking.start()
    with interruption:
        pass
    ended.set()
    asking.join()
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0
