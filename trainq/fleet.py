"""Several workers on one machine, one process each, started and stopped together."""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType

log = logging.getLogger(__name__)


# How a worker knows that it is one of a fleet: its slot, and the pipe that closes with the fleet's own process.
SLOT, PIPE = "TRAINQ_FLEET_SLOT", "TRAINQ_FLEET_PIPE"


def run(size: int, gpus: Sequence[str]) -> int:
    """Run this program `size` times, with the arguments that it has itself; return the largest of the exit statuses.

    Each slot has one of the `gpus` to itself, if there are any. SIGINT and SIGTERM are passed on to all.
    """
    # Held open by this process alone: when it is gone, however it ended, the workers see that.
    read_end, _write_end = os.pipe()
    processes: list[subprocess.Popen[bytes]] = []

    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for slot in range(size):
            if told:
                break
            own = {SLOT: str(slot), PIPE: str(read_end)} | ({"CUDA_VISIBLE_DEVICES": gpus[slot]} if gpus else {})
            argv = [sys.executable, "-m", "trainq", *sys.argv[1:]]
            # Sessions of their own, so that Ctrl-C reaches each once, through this process.
            processes.append(subprocess.Popen(argv, env=os.environ | own, pass_fds=[read_end], start_new_session=True))
            # One that came while this one was being started.
            if told:
                processes[-1].send_signal(told[-1])
        statuses = [process.wait() for process in processes]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    # A worker that is told to end while it is still being loaded ends by the signal itself.
    expected = {130, -signal.SIGINT, -signal.SIGTERM} if told else set()
    statuses = [0 if status in expected else status for status in statuses]
    for slot, status in enumerate(statuses):
        if status:
            log.error("the worker of slot %d ended with status %d", slot, status)
    return max((abs(status) for status in statuses), default=0)


def join() -> str | None:
    """In a worker: its slot if it is one of a fleet. It then stops, as if told to, when the fleet's process is gone."""
    slot, pipe = os.environ.pop(SLOT, None), int(os.environ.pop(PIPE, "-1"))

    def watch() -> None:
        os.read(pipe, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    if slot is not None:
        threading.Thread(target=watch, daemon=True, name="fleet").start()
    return slot
