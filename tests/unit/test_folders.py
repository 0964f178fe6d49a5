"""Folders of workers and attempts: locked while they are used, and removed whatever is in them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from local.program import ROOT
from local.workers import running
from tests.helpers.attempts import World
from tests.helpers.files import as_somebody_else
from tests.helpers.waiting import eventually
from trainq import folders
from trainq.worker import work_folder
from trainq.worker.outcome import Outcome
from trainq.worker.training import TrainingTask

# A worker's folder and guard in a process of its own, with a command that has written into the folder.
WORKER = """
import os, sys, time
from pathlib import Path
from trainq.machine.guard import Guard
from trainq.worker import work_folder
folder = work_folder.make(Path(sys.argv[1]))
guard = Guard(folder.path, folder.lock)
guard.start(["sh", "-c", "echo x > $0/shard; sleep 600", str(folder.path)], dict(os.environ), 1)
while not (folder.path / "shard").exists():
    time.sleep(0.01)
print(guard._process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()
        for pid in running(str(tmp_path)):
            os.kill(pid, signal.SIGKILL)


def guard_of(worker: subprocess.Popen[bytes]) -> int:
    assert worker.stdout
    return int(worker.stdout.readline())


def is_running(pid: int) -> bool:
    """Return whether the process runs. Who reaps it depends on the machine."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_folder_of_a_worker_that_was_killed_together_with_its_guard_is_swept(
    worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """As the OOM killer ends a container: each start would add one."""
    guard = guard_of(worker)
    os.kill(guard, signal.SIGSTOP)
    worker.kill()
    os.kill(guard, signal.SIGKILL)
    worker.wait()
    eventually(lambda: not is_running(guard), "both are dead")
    (left,) = tmp_path.iterdir()
    next_one = work_folder.make(tmp_path)
    assert list(tmp_path.iterdir()) == [next_one.path]
    assert left != next_one.path
    next_one.remove()
    assert not list(tmp_path.iterdir())


def test_a_folder_stays_while_the_worker_or_its_guard_runs(worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A guard that outlives its worker still ends the command, whose files must stay until then."""
    guard = guard_of(worker)
    (folder,) = tmp_path.iterdir()
    work_folder.make(tmp_path).remove()
    assert (folder / "shard").exists()
    os.kill(guard, signal.SIGSTOP)
    worker.kill()
    worker.wait()
    work_folder.make(tmp_path).remove()
    assert (folder / "shard").exists()
    os.kill(guard, signal.SIGCONT)
    eventually(lambda: not folder.exists(), "the guard removes it")


def test_only_the_folders_of_workers_are_swept(tmp_path: Path) -> None:
    """Not a link with such a name, a file, an attempt's folder, nor the folder of another user."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("x")
    (tmp_path / "trainq-worker-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "trainq-worker-file").write_text("x")
    (tmp_path / "trainq-attempt-1").mkdir()
    (tmp_path / "trainq-old").mkdir()
    if not os.geteuid():
        (tmp_path / "trainq-worker-theirs").mkdir()
        os.chown(tmp_path / "trainq-worker-theirs", 65534, 65534)
    before = sorted(tmp_path.rglob("*"))
    work_folder.make(tmp_path).remove()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker starts at the same moment."""
    lock, seen = folders.lock, []

    def swept(folder: Path) -> int | None:
        seen.append(folder)
        if len(seen) == 1:
            folder.rmdir()
        descriptor = lock(folder)
        if len(seen) == 2:
            folder.rmdir()
        return None if len(seen) == 3 else descriptor

    monkeypatch.setattr(folders, "lock", swept)
    made = work_folder.make(tmp_path)
    assert made.path == seen[3]
    assert made.path.exists()
    made.remove()


@pytest.mark.parametrize("error", [9, 38, 95])
def test_where_no_folder_can_be_locked_none_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """NFS locks no folder that is open for reading (EBADF); other file systems have no locks at all."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(folders.fcntl, "flock", refuse)
    first, second = work_folder.make(tmp_path), work_folder.make(tmp_path)
    assert first.path.exists()
    assert second.lock is None


@pytest.fixture
def theirs() -> Generator[Path]:
    """A folder of somebody without rights, outside of pytest's folders, which only their owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix="test-folders-"))
    if not os.geteuid():
        os.chown(folder, 65534, 65534)
    yield folder
    shutil.rmtree(folder)


def test_an_attempts_files_are_removed_though_its_folders_are_read_only(theirs: Path) -> None:
    def train(task: TrainingTask) -> None:
        for name, mode in (("readonly", 0o555), ("closed", 0)):
            (task.output / name / "deep").mkdir(parents=True)
            (task.output / name / "deep" / "file").write_text("x")
            (task.output / name / "deep").chmod(mode)
            (task.output / name).chmod(mode)
        raise RuntimeError("failed")

    with as_somebody_else():
        one = World(theirs)
        one.run(train)
        one.saver.close()
    assert one.attempt.outcome is Outcome.FAILED
    assert not list(theirs.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files of another user")
def test_files_of_another_user_are_named_in_the_log(theirs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As `docker run -v` leaves them: they fill the disk, and nobody else says so."""
    (theirs / "attempt" / "output").mkdir(parents=True)
    for number in range(5):
        (theirs / "attempt" / "output" / f"model-{number}").write_text("x")
    os.chown(theirs / "attempt", 65534, 65534)
    with as_somebody_else():
        folders.remove(theirs / "attempt")
    (event,) = caplog.records
    assert event.__dict__["event"] == "files.left"
    said = event.getMessage()
    assert said.startswith(f"files in {theirs / 'attempt'} could not be removed: {theirs}/attempt/output/model-")
    assert said.endswith(": Permission denied, and 2 more")


def test_removing_a_folder_changes_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o500)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("folder", "link", "missing"):
        folders.remove(tmp_path / name)
    folders._make_writable(tmp_path / "elsewhere" / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o500
