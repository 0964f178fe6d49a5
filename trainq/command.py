"""Runs a command as the training function of a worker."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from trainq.guard import Guard
from trainq.interruption import Interrupted, Interruption
from trainq.worker import TaskFailed, TrainingTask

# What a command may take to end after SIGTERM. Less than the 10 s after which Docker kills the worker itself.
GRACE_SECONDS = 7
# What it may take, once the command's group is gone, until its output is read to the end. Longer takes only output
# that a process outside of the group still holds open.
DRAIN_SECONDS = 2
# A service manager may signal the command together with the worker, which then hears of it a little later.
SIGNALLED_TOGETHER_SECONDS = 0.5
TAIL_BYTES = 16 * 1024


class Command:
    """A training function that runs a program, in a process group of its own, once for each task.

    Its output goes on to this process's stderr. An exit status other than 0 raises TaskFailed with the end of the
    output; an interruption ends the whole group (SIGTERM, then SIGKILL) and is raised again.
    """

    def __init__(self, argv: Sequence[str], guard: Guard, interruption: Interruption) -> None:
        self.argv, self.guard, self.interruption = list(argv), guard, interruption

    def __call__(self, task: TrainingTask) -> None:
        parameters = task.folder / "parameters.json"
        parameters.write_text(json.dumps(task.parameters))
        environment = os.environ | {
            "TRAINQ_JOB_ID": task.job_id,
            "TRAINQ_TASK": str(task.task),
            "TRAINQ_TASKS": str(task.tasks),
            "TRAINQ_SHARDS": str(task.shards),
            "TRAINQ_PARAMETERS": str(parameters),
            "TRAINQ_OUTPUT": str(task.output),
        }
        process = None
        try:
            # A signal between the start and the guard's knowing of it would leave the command to itself.
            with self.interruption.held():
                process = self._start(environment)
                tail = _Tail(process.stdout)
                self.guard.watch(process.pid)
            status = process.wait()
            if status in (-signal.SIGTERM, 128 + signal.SIGTERM):
                time.sleep(SIGNALLED_TOGETHER_SECONDS)
        except Interrupted:
            if process:
                _signal_group(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_SECONDS)
            raise
        finally:
            if process:
                # Also what the command left running in its group.
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
                self.guard.watch(0)
        tail.thread.join(DRAIN_SECONDS)
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
            raise TaskFailed(
                f"{shlex.join(self.argv)}: {how}",
                exit_code=status if status > 0 else None,
                signal=-status if status < 0 else None,
                output_tail=tail.text(),
            )

    def _start(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the worker only, which then ends the command in its own way.
                start_new_session=True,
            )
        except OSError as error:
            raise TaskFailed(f"{shlex.join(self.argv)}: {error}") from error


class _Tail:
    """Passes a command's output on to stderr, and keeps the end of it."""

    def __init__(self, output: IO[bytes] | None) -> None:
        assert output
        self.kept = b""
        self.thread = threading.Thread(target=self._read, args=(output,), daemon=True, name="command-output")
        self.thread.start()

    def _read(self, output: IO[bytes]) -> None:
        with output:
            while some := os.read(output.fileno(), 65536):
                self.kept = (self.kept + some)[-TAIL_BYTES:]
                # Whoever read our stderr may be gone; the command's work goes on.
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.buffer.write(some)
                    sys.stderr.buffer.flush()

    def text(self) -> str:
        return self.kept.decode(errors="replace")


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
