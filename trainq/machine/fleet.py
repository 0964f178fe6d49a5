"""Runs several workers on one machine, each in its own process, and stops them together."""

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
from trainq.threads import STOP_SIGNALS, leave_signals_to_the_main_thread, stop_signals
from trainq.worker.signals import Interruption, StopRequests

log = logging.getLogger(__name__)


# Environment variables that tell a worker its slot in the fleet, and the pipe from the fleet's process.
SLOT, PIPE = "TRAINQ_FLEET_SLOT", "TRAINQ_FLEET_PIPE"


def run(size: int, gpus: Sequence[str]) -> int:
    """Run this program `size` times with its own arguments, and return the largest exit status. Main thread only.

    `gpus`: each worker gets one, if there are any. Signals go on through pipes, with the level of the
    request: a service manager may signal the workers as well, and that must not count as a second request. Only this
    process holds the write ends: if it ends, for whatever reason, its workers read the end of the pipe and stop.
    """
    processes: list[subprocess.Popen[bytes]] = []
    pipes: list[int] = []
    stop = StopRequests()

    def write(pipe: int) -> None:
        # The worker may have ended already.
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, bytes([stop.level]))

    def pass_on(number: int, frame: FrameType | None) -> None:
        stop.ask()
        for pipe in pipes:
            write(pipe)

    before = {number: signal.signal(number, pass_on) for number in stop_signals()}
    try:
        for slot in range(size):
            if stop.level:
                break
            read_end, write_end = os.pipe()
            own = {SLOT: str(slot), PIPE: str(read_end)} | ({"CUDA_VISIBLE_DEVICES": gpus[slot]} if gpus else {})
            # -P: a queue.py or types.py in this folder, usual in training code, is not the standard library's.
            argv = [sys.executable, "-P", "-m", "trainq", *sys.argv[1:]]
            # A session of its own: Ctrl-C reaches the worker only through this process.
            processes.append(subprocess.Popen(argv, env=os.environ | own, pass_fds=[read_end], start_new_session=True))
            os.close(read_end)
            pipes.append(write_end)
            # Pass on a request that came while this worker was being started.
            if stop.level:
                write(write_end)
        statuses = [process.wait() for process in processes]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for pipe in pipes:
            os.close(pipe)
    # A worker that receives a signal while it still imports modules ends with its number: no failure.
    expected = {status for number in STOP_SIGNALS for status in (-number, 128 + number)} if stop.level else set()
    statuses = [0 if status in expected else status for status in statuses]
    for slot, status in enumerate(statuses):
        if status:
            tell(log, events.FLEET_WORKER_FAILED, slot=slot, status=status)
    return max((abs(status) for status in statuses), default=0)


def join(interruption: Interruption) -> str | None:
    """Join the fleet that has started this process and return the slot; None if there is no fleet. Called in a worker.

    From then on `interruption` gets the fleet's requests to stop, and one when the fleet's process has ended.
    """
    slot, pipe = os.environ.pop(SLOT, None), int(os.environ.pop(PIPE, "-1"))

    def follow() -> None:
        leave_signals_to_the_main_thread()
        while told := os.read(pipe, 1):
            interruption.request_stop(told[0])
        interruption.request_stop(1)

    if slot is not None:
        threading.Thread(target=follow, daemon=True, name="fleet").start()
    return slot
