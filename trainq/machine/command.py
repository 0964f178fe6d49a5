"""Runs a command as the training function of a worker."""

import contextlib
import io
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

# This much of the end of the output is kept with a result. A failure keeps TAIL_BYTES.
KEPT_OUTPUT_CHARACTERS = 4_000
# From SIGTERM to SIGKILL, if the command must save a checkpoint, and if its checkpoint would not be used (lost lease,
# cancelled job).
DEFAULT_GRACE_SECONDS = 90
USELESS_GRACE_SECONDS = 7
# After all processes of a command have ended, its output is read for up to this long. Only a process that could not be
# killed holds the pipe open for longer.
DRAIN_SECONDS = 2
READ_BYTES = 1 << 16
# A service manager signals command and worker together: the worker's signal may arrive this much later.
SIGNALLED_TOGETHER_SECONDS = 0.5
TAIL_BYTES = 16 * 1024


class Command:
    """A training function that runs a command for each task, in a session of its own. Called in the main thread only.

    The output is passed on to this process's stderr. An exit status other than 0 raises TaskFailed with the end of the
    output. An interruption sends SIGTERM to the process group, after `grace` SIGKILL, and is raised again, unless the
    command then made `task.done` and ended with 0. In all cases every process that the command has started is killed,
    also those in other sessions.
    """

    def __init__(
        self,
        argv: Sequence[str],
        guard: Guard,
        interruption: Interruption,
        *,
        grace: float = DEFAULT_GRACE_SECONDS,
        require_done: bool = False,
        whole_lines: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`grace`: seconds from SIGTERM to SIGKILL. `require_done`: exit status 0 without `task.done` is a failure.
        `whole_lines`: pass output on line by line, so that no line of the log begins within one. `environment`:
        variables to add to the worker's own."""
        self.whole_lines = whole_lines
        self.argv, self.guard, self.interruption = list(argv), guard, interruption
        self.grace, self.require_done, self.environment = grace, require_done, environment or {}

    def __call__(self, task: TrainingTask) -> None:
        parameters = task.folder / "parameters.json"
        parameters.write_text(json.dumps(task.parameters))
        keys = task.folder / "shards.txt"
        keys.write_text("".join(f"{key}\n" for key in task.keys), encoding="utf-8")
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
                "TRAINQ_DONE": str(task.done),
            }
        )
        tail = None
        kills = oom_kills()
        try:
            # A signal that comes during the start is raised after it.
            with self.interruption.held():
                tail = self._start(environment)
            self.guard.wait()
            with self.interruption.held():
                status = self.guard.take().status
            undone = self.require_done and status == 0 and not task.done.exists()
            if undone or status in (-signal.SIGTERM, 128 + signal.SIGTERM):
                time.sleep(SIGNALLED_TOGETHER_SECONDS)
        except Interrupted as interrupted:
            if not (tail and self._completes(task, interrupted.outcome)):
                raise
            status, undone = 0, False
        finally:
            if tail and (left := self.guard.end().left):
                tell(log, events.COMMAND_LEFT, processes=", ".join(map(str, left)))
        tail.thread.join(DRAIN_SECONDS)
        task.notes["output_tail"] = tail.text()[-KEPT_OUTPUT_CHARACTERS:]
        if undone:
            reason = f"{shlex.join(self.argv)}: exit status 0, but it has not made the file $TRAINQ_DONE"
            raise TaskFailed(reason, exit_code=0, output_tail=tail.text())
        if status:
            out_of_memory = ran_out(status in (-signal.SIGKILL, 128 + signal.SIGKILL), kills, tail.text())
            how = f"exit status {status}" if status > 0 else f"signal {_signal_name(-status)}"
            raise TaskFailed(
                f"{shlex.join(self.argv)}: {how}{', out of memory' if out_of_memory else ''}",
                out_of_memory=out_of_memory,
                exit_code=status if status > 0 else None,
                signal=-status if status < 0 else None,
                output_tail=tail.text(),
            )

    def _completes(self, task: TrainingTask, outcome: Outcome) -> bool:
        """End the command. Return whether it has completed the task nevertheless."""
        self._end(outcome)
        return self.guard.end().status == 0 and outcome is Outcome.SHUTDOWN and task.done.exists()

    def _end(self, outcome: Outcome) -> None:
        """Send SIGTERM and wait for the command to save its checkpoint. A second signal to the worker ends the wait."""
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
            return _Tail(read_end, self.whole_lines)
        except BaseException:
            # The thread that reads the output could not be started.
            os.close(read_end)
            self.guard.end()
            raise


def _signal_name(number: int) -> str:
    """Return the name of a signal; its number if it has no name, as real-time signals."""
    names = {each.value: each.name for each in signal.Signals}
    return names.get(number, str(number))


class _Tail:
    """A thread that passes a command's output on to stderr and keeps its end. `output`: a descriptor; it is closed.
    `whole_lines`: a newline is added to the last line if it has none, and to each READ_BYTES without any."""

    def __init__(self, output: int, whole_lines: bool) -> None:
        self.kept, self.whole_lines = b"", whole_lines
        self.thread = threading.Thread(target=self._read, args=(output,), daemon=True, name="command-output")
        self.thread.start()

    def _read(self, output: int) -> None:
        with io.BufferedReader(io.FileIO(output), READ_BYTES) as pipe:
            read = pipe.readline if self.whole_lines else pipe.read1
            while some := read(READ_BYTES):
                self.kept = (self.kept + some)[-TAIL_BYTES:]
                if self.whole_lines and not some.endswith(b"\n"):
                    some += b"\n"
                # The reader of our stderr may have ended: the command must go on all the same.
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.buffer.write(some)
                    sys.stderr.buffer.flush()

    def text(self) -> str:
        return self.kept.decode(errors="replace")
