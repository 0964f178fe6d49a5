"""Checkpoints: what one attempt leaves to the next."""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch
from trainq.protocol import layout
from trainq.transfers import TransferPool
from trainq.worker.checkpoint_saver import CheckpointSaver
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.training import TrainingTask

# Counts to TRAINQ_TEST_STEPS, a tenth of a second each, from where its checkpoint is; saves it when told to end. Notes
# each start, with the step it begins at.
STEPS = """
import os, pathlib, signal, sys, time
checkpoint, output = (pathlib.Path(os.environ[name]) for name in ("TRAINQ_CHECKPOINT", "TRAINQ_OUTPUT"))
step = int((checkpoint / "step").read_text()) if (checkpoint / "step").exists() else 0
with open(os.environ["TRAINQ_TEST_LOG"], "a") as log:
    log.write(f"{step}\\n")
def save(*_):
    (checkpoint / "step.new").write_text(str(step))
    (checkpoint / "step.new").rename(checkpoint / "step")
def end(*_):
    save()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while step < int(os.environ["TRAINQ_TEST_STEPS"]):
    time.sleep(0.1)
    step += 1
    if os.environ.get("TRAINQ_TEST_SAVE") == str(step):
        save()
        pathlib.Path(os.environ["TRAINQ_CHECKPOINT_NOW"]).touch()
(output / "steps").write_text(str(step))
"""


def steps(folder: Path, count: int, save: int = 0) -> list[str]:
    """The command that counts, with its environment."""
    program = folder / "steps.py"
    program.write_text(STEPS)
    log = folder / "steps.log"
    log.touch()
    settings = [f"TRAINQ_TEST_STEPS={count}", f"TRAINQ_TEST_LOG={log}", f"TRAINQ_TEST_SAVE={save}"]
    return ["env", *settings, "python3", str(program)]


def starts(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "steps.log").read_text().splitlines()]


def test_an_interrupted_task_goes_on_elsewhere_from_its_checkpoint(slow: Deployed, request: Any) -> None:
    """Within seconds, under a visibility timeout of minutes; and the interruption counts as no failure."""
    dispatch(slow)
    command = steps(slow.folder, 30)
    first = slow.worker("first", *command)
    request.addfinalizer(first.kill)
    eventually(lambda: starts(slow.folder), "the command runs")
    time.sleep(0.5)
    first.process.terminate()
    assert first.process.wait(20) == 0
    ended = time.monotonic()
    second = slow.worker("second", *command)
    request.addfinalizer(second.kill)
    eventually(lambda: len(starts(slow.folder)) == 2, "the task runs on the other worker")
    assert time.monotonic() - ended < 5
    eventually(lambda: slow.keys(layout.results("j")), "the task is done")
    assert starts(slow.folder)[1] > 0, "it went on from the checkpoint"
    result = slow.read(layout.result("j", 0))
    assert (result["attempt_number"], result["failures_before"], result["worker"]) == (2, 0, "second")
    eventually(lambda: slow.in_flight("model_training_queue_url") == 0, "the message is deleted")
    (ended_early,) = (slow.read(key) for key in slow.keys(layout.interruptions("j")))
    assert (ended_early["why"], ended_early["worker"]) == ("stop", "first")
    assert not slow.keys(layout.failures("j"))


def test_a_task_longer_than_sqs_hides_a_message_completes_across_several(deployed: Deployed, worker: Any) -> None:
    """The 12-hour wall, at 3 s (60 s of work and a wall of 15 s in `make chaos`)."""
    total, wall = (600, 15) if os.environ.get("TRAINQ_LONG") else (100, 3)
    dispatch(deployed)
    process = worker("w1", *steps(deployed.folder, total), options=("--max-hold", str(wall)))
    eventually(lambda: deployed.keys(layout.results("j")), "the task is done", seconds=120)
    process.end()
    begun = starts(deployed.folder)
    assert len(begun) >= 4, "it was carried across at least three messages"
    assert begun == sorted(set(begun)), "each time from further on"
    result = deployed.read(layout.result("j", 0))
    assert result["attempt_number"] == len(begun)
    assert result["failures_before"] == 0
    whys = {deployed.read(key)["why"] for key in deployed.keys(layout.interruptions("j"))}
    assert whys == {"wall"}
    assert deployed.waiting("model_training_queue_url") + deployed.in_flight("model_training_queue_url") == 0


def test_a_checkpoint_saved_on_request_survives_a_kill(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed)
    first = worker("first", *steps(deployed.folder, 300, save=5))
    key = layout.checkpoints("j", 0)
    eventually(lambda: any(each.endswith(".json") for each in deployed.keys(key)), "the checkpoint is saved")
    first.kill()
    deployed.run_worker("second", *steps(deployed.folder, 8), options=("--max-tasks", "1"))
    assert starts(deployed.folder)[-1] == 5
    assert deployed.keys(layout.results("j"))


def test_checkpoints_are_saved_at_intervals(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed)
    script = "cd $TRAINQ_CHECKPOINT; while :; do date +%N > new; mv new state; sleep 0.2; done"
    worker("w1", "sh", "-c", script, options=("--checkpoint-every", "1"))

    def complete() -> list[str]:
        return [key for key in deployed.keys(layout.checkpoints("j", 0)) if key.count("/") == 4]

    eventually(lambda: len(complete()) >= 2, "two checkpoints are saved")


def test_when_training_has_ended_no_checkpoint_is_being_saved(tmp_path: Path) -> None:
    """What is under way comes to its end first: its files are about to be removed."""
    saves: list[str] = []
    begun = threading.Event()

    class Slow:
        saved = 1

        def save(self, folder: Path) -> bool:
            begun.set()
            time.sleep(0.3)
            saves.append(folder.name)
            return True

    slow: Any = Slow()
    task = TrainingTask("j", 0, 1, {}, tmp_path)
    saver = CheckpointSaver(None)
    with saver.saving(slow, task):
        task.checkpoint_now.touch()
        assert begun.wait(10), "it is asked for"
    assert saves == ["checkpoint"]
    saver.close()


def checkpoints(deployed: Deployed, number: int, attempt: str) -> Checkpoints:
    pool = TransferPool(deployed.stack.s3, deployed.stack.bucket_name)
    return Checkpoints(pool, "j", 0, number, attempt * 32)


def test_the_newest_complete_checkpoint_is_that_of_the_latest_attempt(deployed: Deployed, tmp_path: Path) -> None:
    """A worker that had lost its task may come back with an old state. A checkpoint whose marker is missing does not
    count."""
    folders = {name: tmp_path / name for name in ("old", "new", "late", "restored")}
    for name, folder in folders.items():
        folder.mkdir()
        if name != "restored":
            (folder / "deep").mkdir()
            (folder / "deep" / "state").write_text(name)
    old = checkpoints(deployed, 1, "a")
    assert not old.save(folders["old"]), "what has not been restored to the end is not worth keeping"
    old.restored = True
    assert old.save(folders["old"])
    assert not old.save(folders["old"]), "nothing has changed"
    new = checkpoints(deployed, 2, "b")
    new.restored = True
    assert new.save(folders["new"])
    old.is_held = lambda: False
    with pytest.raises(RuntimeError, match="the lease was lost"):
        old.save(folders["late"])
    broken = layout.checkpoints("j", 0) + f"000009-000001-{'c' * 32}/state"
    deployed.stack.s3.put_object(Bucket=deployed.stack.bucket_name, Key=broken, Body=b"half")
    third = checkpoints(deployed, 3, "d")
    assert third.restore(folders["restored"]) == f"000002-000001-{'b' * 32}"
    assert (folders["restored"] / "deep" / "state").read_text() == "new"
    assert not third.save(folders["restored"]), "what was restored is stored already"
    redriven = checkpoints(deployed, 1, "e")
    shutil.rmtree(folders["restored"])
    folders["restored"].mkdir()
    assert redriven.restore(folders["restored"])
    (folders["restored"] / "more").write_text("x")
    assert redriven.save(folders["restored"])


def test_a_full_disk_does_not_end_the_thread_that_saves_checkpoints(tmp_path: Path) -> None:
    class Full:
        about = {"job": "j", "task": 0, "attempt": 1}  # noqa: RUF012
        tried = 0

        def save(self, folder: Path) -> bool:
            self.tried += 1
            raise OSError(28, "No space left on device")

    checkpoints: Any = Full()
    saver = CheckpointSaver(0.1)
    with saver.saving(checkpoints, TrainingTask("j", 0, 1, {}, tmp_path)):
        (tmp_path / "checkpoint-now").touch()
        eventually(lambda: checkpoints.tried >= 3, "it is tried again and again")
    saver.close()
