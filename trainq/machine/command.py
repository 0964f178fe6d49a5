"""Runs a command as the training function of a worker."""

import contextlib
import json
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence

from trainq.machine.guard import Guard
from trainq.machine.memory import oom_kills, ran_out
from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.worker.outcome import Outcome
from trainq.worker.signals import Interrupted, Interruption
from trainq.worker.training import TaskFailed, TrainingTask

log = logging.getLogger(__name__)

# The end of a command's output that is kept with a result; a failure keeps more.
KEPT_OUTPUT_CHARACTERS = 4_000
# What a command may take to end after SIGTERM, when it is to save what it has, and when that is of no use any more.
DEFAULT_GRACE_SECONDS = 90
USELESS_GRACE_SECONDS = 7
# What it may take, once the command is gone with all that it had started, until its output is read to the end. Longer
# takes only output that a process still holds open that could not be ended.
DRAIN_SECONDS = 2
READ_BYTES = 1 << 16
# A service manager may signal the command together with the worker, which then hears of it a little later.
SIGNALLED_TOGETHER_SECONDS = 0.5
TAIL_BYTES = 16 * 1024


class Command:
    """A training function that runs a program, in a session of its own, once for each task.

    Its output goes on to this process's stderr. An exit status other than 0 raises TaskFailed with the end of the
    output; an interruption ends it (SIGTERM to its process group, then SIGKILL) and is raised again. However it ends,
    what it has started ends with it, in whatever session that is.
    """

    def __init__(
        self,
        argv: Sequence[str],
        guard: Guard,
        interruption: Interruption,
        *,
        grace: float = DEFAULT_GRACE_SECONDS,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`grace`: seconds from SIGTERM to SIGKILL. `environment`: what the command gets besides the worker's own."""
        self.argv, self.guard, self.interruption = list(argv), guard, interruption
        self.grace, self.environment = grace, environment or {}

    def __call__(self, task: TrainingTask) -> None:
        parameters = task.folder / "parameters.json"
        parameters.write_text(json.dumps(task.parameters))
        keys = task.folder / "shards.txt"
        keys.write_text("".join(f"{key}\n" for key in task.keys))
        environment = (
            os.environ
            | self.environment
            | {
                "TRAINQ_JOB_ID": task.job_id,
                "TRAINQ_TASK": str(task.task),
                "TRAINQ_TASKS": str(task.tasks),
                "TRAINQ_SHARDS": str(task.shards),
                "TRAINQ_SHARD_LIST": str(keys),
                "TRAINQ_BUCKET": task.bucket,
                "TRAINQ_PARAMETERS": str(parameters),
                "TRAINQ_OUTPUT": str(task.output),
                "TRAINQ_CHECKPOINT": str(task.checkpoint),
                "TRAINQ_CHECKPOINT_NOW": str(task.checkpoint_now),
            }
        )
        tail = None
        kills = oom_kills()
        try:
            # A signal that comes while it is being started is heard when it has been.
            with self.interruption.held():
                tail = self._start(environment)
            self.guard.wait()
            with self.interruption.held():
                status = self.guard.take().status
            if status in (-signal.SIGTERM, 128 + signal.SIGTERM):
                time.sleep(SIGNALLED_TOGETHER_SECONDS)
        except Interrupted as interrupted:
            if tail:
                self._end(interrupted.outcome)
            raise
        finally:
            if tail and (left := self.guard.end().left):
                tell(log, events.COMMAND_LEFT, processes=", ".join(map(str, left)))
        tail.thread.join(DRAIN_SECONDS)
        task.notes["output_tail"] = tail.text()[-KEPT_OUTPUT_CHARACTERS:]
        if status:
            out_of_memory = ran_out(status in (-signal.SIGKILL, 128 + signal.SIGKILL), kills, tail.text())
            how = f"exit status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
            raise TaskFailed(
                f"{shlex.join(self.argv)}: {how}{', out of memory' if out_of_memory else ''}",
                out_of_memory=out_of_memory,
                exit_code=status if status > 0 else None,
                signal=-status if status < 0 else None,
                output_tail=tail.text(),
            )

    def _end(self, outcome: Outcome) -> None:
        """SIGTERM, and time to save a checkpoint where that is of use; a second signal to the worker cuts it short."""
        grace = self.grace if outcome in (Outcome.SHUTDOWN, Outcome.HOLD_LIMIT) else USELESS_GRACE_SECONDS
        deadline = time.monotonic() + grace
        self.guard.signal(signal.SIGTERM)
        tell(log, events.COMMAND_ENDING, seconds=grace)
        while time.monotonic() < deadline and not self.interruption.hurried:
            if self.guard.wait(0.1):
                return

    def _start(self, environment: dict[str, str]) -> "_Tail":
        read_end, write_end = os.pipe()
        try:
            self.guard.start(self.argv, environment, write_end)
        except OSError as error:
            os.close(read_end)
            raise TaskFailed(f"{shlex.join(self.argv)}: {error.strerror}") from error
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        try:
            return _Tail(read_end)
        except BaseException:
            # No thread could be started.
            os.close(read_end)
            self.guard.end()
            raise


class _Tail:
    """Passes a command's output on to stderr, and keeps the end of it. `output`: a descriptor, which it closes."""

    def __init__(self, output: int) -> None:
        self.kept = b""
        self.thread = threading.Thread(target=self._read, args=(output,), daemon=True, name="command-output")
        self.thread.start()

    def _read(self, output: int) -> None:
        with os.fdopen(output, "rb", buffering=0) as pipe:
            while some := pipe.read(READ_BYTES):
                self.kept = (self.kept + some)[-TAIL_BYTES:]
                # Whoever read our stderr may be gone; the command's work goes on.
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.buffer.write(some)
                    sys.stderr.buffer.flush()

    def text(self) -> str:
        return self.kept.decode(errors="replace")
