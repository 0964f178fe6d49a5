"""Several workers on one machine, one process each, started and stopped together."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.threads import leave_signals_to_the_main_thread
from trainq.worker.signals import Interruption, StopRequests

log = logging.getLogger(__name__)


# How a worker knows that it is one of a fleet: its slot, and a pipe from the fleet's process.
SLOT, PIPE = "TRAINQ_FLEET_SLOT", "TRAINQ_FLEET_PIPE"


def run(size: int, gpus: Sequence[str]) -> int:
    """Run this program `size` times, with the arguments that it has itself; return the largest of the exit statuses.

    Each slot has one of the `gpus` to itself, if there are any. SIGINT and SIGTERM are passed on to all, through their
    pipes: a worker that a service manager has signalled too must not take that for a second request. A pipe is held
    open by this process alone: when it is gone, however it ended, the worker sees that.
    """
    processes: list[subprocess.Popen[bytes]] = []
    pipes: list[int] = []
    stop = StopRequests()

    def write(pipe: int) -> None:
        # A worker that has ended reads no more.
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, bytes([stop.level]))

    def pass_on(number: int, frame: FrameType | None) -> None:
        stop.ask()
        for pipe in pipes:
            write(pipe)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for slot in range(size):
            if stop.level:
                break
            read_end, write_end = os.pipe()
            own = {SLOT: str(slot), PIPE: str(read_end)} | ({"CUDA_VISIBLE_DEVICES": gpus[slot]} if gpus else {})
            argv = [sys.executable, "-m", "trainq", *sys.argv[1:]]
            # Sessions of their own, so that Ctrl-C reaches them through this process alone.
            processes.append(subprocess.Popen(argv, env=os.environ | own, pass_fds=[read_end], start_new_session=True))
            os.close(read_end)
            pipes.append(write_end)
            # A request that came while this one was being started.
            if stop.level:
                write(write_end)
        statuses = [process.wait() for process in processes]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for pipe in pipes:
            os.close(pipe)
    # A worker that is signalled itself while it is still being loaded ends by the signal.
    expected = {130, -signal.SIGINT, -signal.SIGTERM} if stop.level else set()
    statuses = [0 if status in expected else status for status in statuses]
    for slot, status in enumerate(statuses):
        if status:
            tell(log, events.FLEET_WORKER_FAILED, slot=slot, status=status)
    return max((abs(status) for status in statuses), default=0)


def join(interruption: Interruption) -> str | None:
    """In a worker: return its slot if it is one of a fleet. It then stops when the fleet says so, or is gone."""
    slot, pipe = os.environ.pop(SLOT, None), int(os.environ.pop(PIPE, "-1"))

    def follow() -> None:
        leave_signals_to_the_main_thread()
        while told := os.read(pipe, 1):
            interruption.request_stop(told[0])
        interruption.request_stop(1)

    if slot is not None:
        threading.Thread(target=follow, daemon=True, name="fleet").start()
    return slot
