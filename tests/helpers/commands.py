"""The command line in a process that is forked from one that has imported it: as `python -m trainq`, 0.8 s sooner."""

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

from local.forks import FORKS, forked
from trainq.__main__ import main


def trainq(*words: str, environment: dict[str, str], stdin: str, seconds: float) -> CompletedProcess[str]:
    """Run `trainq` with this environment and no other."""
    status, said, complained = forked(_run, words, environment, stdin, seconds=seconds)
    return CompletedProcess(words, status, said, complained)


class Forked:
    """A process of `multiprocessing` with the methods of Popen."""

    def __init__(self, process: BaseProcess) -> None:
        self.process = process
        self.pid = process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("trainq", timeout or 0)
        return self.process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.process.exitcode is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()


def run_forked(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
    """Start `trainq` as `local.workers.run_interpreter` does."""
    log.touch()
    process = FORKS.Process(target=_work, args=(words, os.environ | environment, log))
    process.start()
    return Forked(process)


def _work(words: Sequence[str], environment: dict[str, str], log: Path) -> None:
    os.setsid()
    with log.open("ab") as file:
        _become(words, environment, (file.fileno(), file.fileno()))
    status = _status()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)


def _run(words: tuple[str, ...], environment: dict[str, str], stdin: str) -> tuple[int, str, str]:
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        os.dup2(given.fileno(), 0)
        sys.stdin = given
        _become(words, environment, (out.fileno(), err.fileno()))
        status = _status()
        sys.stdout.flush()
        sys.stderr.flush()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
        return status, said[0], said[1]


def _become(words: Sequence[str], environment: dict[str, str], outputs: tuple[int, int]) -> None:
    """Take over arguments, environment and descriptors for stdout and stderr, also for commands that are started."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["trainq", *words]
    for number, descriptor in enumerate(outputs, 1):
        os.dup2(descriptor, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, encoding="utf-8", closefd=False) for number in (1, 2))


def _status() -> int:
    """Return the exit status of `main`, as Python would."""
    try:
        main()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
