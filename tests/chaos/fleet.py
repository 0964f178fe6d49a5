"""The workers of a chaos run, and what happens to them."""

import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from local.emulator import Emulator
from local.workers import WorkerProcess, tree
from tests.helpers.commands import run_forked
from tests.helpers.waiting import eventually
from trainq.stack import Stack

TRAIN = [sys.executable, "-S", str(Path(__file__).with_name("train.py"))]
STOPPED_SECONDS = 7.0
# A job whose function dies at each of its receives is given up, on AWS too. Below that there is room for invocations
# that a loaded machine has not ended in time.
FUNCTION_KILLS = 5
# From Kubernetes' SIGTERM to its SIGKILL: less than a worker may take to end.
POD_SECONDS = 2.0
FAULTS = (
    "SIGKILL",
    "SIGSTOP past the timeout",
    "stopped as by systemd",
    "stopped as by Slurm",
    "stopped as by Kubernetes",
    "killed with its guard and commands",
    "function killed",
)


@dataclass
class Chaos:
    """A fleet of workers, and what is done to it. All choices come from `chance`."""

    emulator: Emulator
    stack_file: Path
    stack: Stack
    credentials: dict[str, str]
    folder: Path
    chance: random.Random
    fleet: list[WorkerProcess] = field(default_factory=list)
    stopped: list[tuple[float, int, WorkerProcess]] = field(default_factory=list)
    evicted: list[tuple[float, WorkerProcess]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    started: int = 0

    def start_worker(self) -> None:
        self.started += 1
        # Every second one takes ten tasks at once: then there is more to lose with it. Every third is a fleet of two.
        options = ("--backoff", "0.02", "--grace", "5", "--prefetch", "10" if self.started % 2 else "1")
        options += ("--concurrency", "2") if self.started % 3 == 0 else ()
        environment = self.emulator.environment(self.credentials)
        name = f"w{self.started}"
        self.fleet.append(
            WorkerProcess.start(name, self.stack_file, TRAIN, environment, self.folder, *options, run=run_forked)
        )

    def strike(self, kinds: tuple[str, ...]) -> None:
        """One fault, of one of these kinds, at a random worker; who is gone is replaced."""
        kind = self.chance.choice(kinds)
        worker = self.chance.choice(self.fleet)
        if kind == "function killed":
            if self.done[kind] >= FUNCTION_KILLS or not kill_functions(self.stack.bucket_name):
                return
        elif worker.process.poll() is not None or any(each is worker for _, _, each in self.stopped):
            return
        elif kind == "SIGKILL":
            # Of a fleet one worker, or the process that has started them.
            kill(self.chance.choice(worker.fleet), signal.SIGKILL)
        elif kind == "stopped as by systemd":
            # KillMode=mixed: the main process first, which passes it on.
            kill(worker.process.pid, signal.SIGTERM)
        elif kind == "stopped as by Slurm":
            # Every process of the step, in whatever order.
            everyone = tree(worker.process.pid)
            self.chance.shuffle(everyone)
            for pid in everyone:
                kill(pid, signal.SIGTERM)
        elif kind == "stopped as by Kubernetes":
            kill(worker.process.pid, signal.SIGTERM)
            self.evicted.append((time.monotonic() + POD_SECONDS, worker))
        elif kind == "killed with its guard and commands":
            kill_all(worker)
        else:
            pid = self.chance.choice(worker.fleet)
            kill(pid, signal.SIGSTOP)
            self.stopped.append((time.monotonic() + STOPPED_SECONDS, pid, worker))
        self.done[kind] += 1

    def mend(self, size: int) -> None:
        """Wake who has slept long enough, and bring the fleet back to its size."""
        for each in [each for each in self.stopped if each[0] <= time.monotonic()]:
            kill(each[1], signal.SIGCONT)
            self.stopped.remove(each)
        for each in [each for each in self.evicted if each[0] <= time.monotonic()]:
            kill_all(each[1])
            self.evicted.remove(each)
        self.fleet = [each for each in self.fleet if each.process.poll() is None]
        while len(self.fleet) < size:
            self.start_worker()

    def end(self) -> None:
        """End all workers; the last one to start removes what killed ones have left on the disk."""
        self.start_worker()
        last = self.fleet[-1]
        eventually(lambda: "worker.started" in last.log.read_text(), "the last worker runs")
        for _, pid, _ in self.stopped:
            kill(pid, signal.SIGCONT)
        for worker in self.fleet:
            worker.process.terminate()
        for worker in self.fleet:
            worker.end()


def kill(pid: int, number: signal.Signals) -> None:
    """One that has ended meanwhile needs no signal."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(worker: WorkerProcess) -> None:
    """SIGKILL to a worker, its guards and all that they have started, as the end of a container. Nothing can be
    started between the look and the kill, since the processes are stopped first."""
    if worker.process.poll() is not None:
        return
    known: list[int] = []
    while (now := tree(worker.process.pid)) != known:
        known = now
        for pid in known:
            kill(pid, signal.SIGSTOP)
    for pid in known:
        kill(pid, signal.SIGKILL)


def kill_functions(bucket_name: str) -> int:
    """SIGKILL to the processes in which the emulator runs this stack's function, wherever they are at."""
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes()
            if b"MESSAGE_QUEUE_VISIBILITY_TIMEOUT" in environment and bucket_name.encode() in environment:
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    return killed
