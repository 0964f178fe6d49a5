"""Commands: what they leave behind, how they are ended, and what they may write."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.program import ROOT
from local.workers import WorkerProcess, running, tree
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch
from trainq.protocol import layout


def test_a_command_that_does_not_exist_is_found_before_the_first_task(deployed: Deployed, worker) -> None:
    """Or a typo would send a whole job to the dead letter queue."""
    process = worker("w1", "no-such-program")
    assert process.process.wait(30) == 2
    assert "there is no program 'no-such-program'" in process.log.read_text()


def test_outputs_may_have_any_name(deployed: Deployed) -> None:
    """Also those that markers have elsewhere: the bucket's policy must tell them apart."""
    dispatch(deployed)
    names = ["results/0.json", "plan.json", "dispatched.json", "a b/ü.txt"]
    script = "".join(
        f'mkdir -p "$TRAINQ_OUTPUT/{Path(name).parent}"; echo x > "$TRAINQ_OUTPUT/{name}"; ' for name in names
    )
    deployed.run_worker("w1", "sh", "-c", script, options=("--max-tasks", "1"))
    assert [each["path"] for each in deployed.read(layout.result("j", 0))["files"]] == sorted(names)


# A process in a session of its own, as PyTorch's elastic launcher starts it; and one whose parent ends, as a daemon's.
LEAVES = (
    "import os, subprocess as s, sys; "
    "s.Popen(['sleep', '301']); s.Popen(['sleep', '302'], start_new_session=True); "
    "os.fork() or (os.setsid(), s.Popen(['sleep', '303'], start_new_session=True), os._exit(0)); "
)


def left_running(deployed: Deployed) -> list[bytes]:
    """The command lines of what belongs to this test's attempts."""
    found = []
    for pid in running(f"TRAINQ_OUTPUT={deployed.folder}"):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def test_what_a_command_leaves_behind_ends_with_its_attempt(deployed: Deployed) -> None:
    """In its group, in a session of its own, or orphaned; before the next task begins."""
    dispatch(deployed)
    command = (sys.executable, "-c", LEAVES + "os.wait()")
    deployed.run_worker("w1", *command, options=("--max-tasks", "1"))
    assert not left_running(deployed)
    assert deployed.keys(layout.results("j"))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "the command is killed", "the guard is killed"])
def test_what_has_a_session_of_its_own_ends_however_the_attempt_does(deployed: Deployed, worker, how: str) -> None:
    """The survivor would keep the GPU's memory, and the next tasks fail."""
    dispatch(deployed)
    process = worker("w1", sys.executable, "-c", LEAVES + "import time; time.sleep(600)")
    ours = {b"sleep\x00301\x00", b"sleep\x00302\x00", b"sleep\x00303\x00"}
    eventually(lambda: ours <= set(left_running(deployed)), "the command and what it has started run")
    (command,) = (pid for pid in running(f"TRAINQ_OUTPUT={deployed.folder}") if is_python(pid))
    if how == "the command is killed":
        os.kill(command, signal.SIGKILL)
    elif how == "the guard is killed":
        os.kill(guard_of(process), signal.SIGKILL)
    else:
        process.process.send_signal(signal.Signals[how])
    eventually(lambda: not left_running(deployed), "nothing of it runs any more")


def is_python(pid: int) -> bool:
    return b"time.sleep(600)" in Path(f"/proc/{pid}/cmdline").read_bytes()


def guard_of(worker: WorkerProcess) -> int:
    (guard,) = set(tree(worker.process.pid)) & set(running("guard_process.py"))
    return guard


def test_a_signal_that_reaches_worker_and_command_together_is_an_interruption(deployed: Deployed, worker) -> None:
    """As systemd sends it, to everything in the unit: the command's end must not count as a failure."""
    dispatch(deployed)
    process = worker("w1", "sleep", "600")
    mark = f"TRAINQ_OUTPUT={deployed.folder}"
    (command,) = eventually(lambda: running(mark), "the command runs")
    os.kill(command, signal.SIGTERM)
    assert process.end() == 0
    process.follow()
    assert [event.what for event in process.events] == ["started", "released"]
    assert not deployed.keys(layout.failures("j"))


def test_a_worker_whose_guard_is_gone_ends_and_gives_its_task_back(deployed: Deployed, worker) -> None:
    process = worker("w1", "true")
    eventually(lambda: "waiting for tasks" in process.log.read_text(), "the worker polls")
    os.kill(guard_of(process), signal.SIGKILL)
    dispatch(deployed)
    assert process.process.wait(30) == 1
    assert process.log.read_text().splitlines()[-1] == "Error: this worker's guard process is gone"
    eventually(lambda: deployed.waiting("model_training_queue_url") == 1, "the task is given back", seconds=4)


# A worker's side of a guard in a process of its own, which then ends as it is told.
GUARDED = """
import os, sys, time
from pathlib import Path
from trainq.machine.guard import Guard
guard = Guard(Path(sys.argv[1]))
guard.start(["sh", "-c", "setsid sleep 600 & sleep 600"], dict(os.environ), 1)
print("started", flush=True)
time.sleep(600)
"""


def test_a_guard_without_a_worker_ends_what_it_has_started_and_removes_the_folder(tmp_path: Path) -> None:
    """However the worker ended: here it is killed. Nobody else is told of it."""
    folder = tmp_path / "work"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", GUARDED, folder], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"started\n"
        process.kill()
        # The pipe is open for as long as one of them runs.
        assert process.stdout.read() == b""
    eventually(lambda: not folder.exists(), "the folder is removed")


def test_nothing_is_left_of_tasks_that_are_done(deployed: Deployed, worker) -> None:
    """Neither in the worker's folder while it goes on, nor the folder itself when it has ended."""
    dispatch(deployed, shards=3)
    process = worker("w1", "true")
    eventually(lambda: len(deployed.keys(layout.results("j"))) == 3, "the tasks are done")
    eventually(lambda: not list(deployed.folder.glob("trainq-*/*")), "the attempts' folders are removed")
    assert list(deployed.folder.glob("trainq-*"))
    process.end()
    assert not list(deployed.folder.glob("trainq-*"))


def test_a_worker_removes_the_folder_of_one_that_was_killed_together_with_its_guard(deployed: Deployed, worker) -> None:
    """As the OOM killer ends a container, whose next start has the same `--workdir`."""
    process = worker("w1", "true")
    eventually(lambda: "waiting for tasks" in process.log.read_text(), "the worker polls")
    guard = guard_of(process)
    os.kill(guard, signal.SIGSTOP)
    process.process.kill()
    os.kill(guard, signal.SIGKILL)
    process.process.wait()
    assert list(deployed.folder.glob("trainq-worker-*"))
    deployed.run_worker("w2", "true", options=("--idle-exit", "0"))
    assert not list(deployed.folder.glob("trainq-worker-*"))
