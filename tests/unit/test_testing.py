"""A user's own test of a training function, without AWS."""

import threading
import time

import pytest

from trainq import TaskFailed, TrainingTask
from trainq.testing import run
from trainq.worker.outcome import Outcome

SHARDS = {"corpus/1.txt": "one ", "corpus/deep/2.txt": b"two"}


def join(task: TrainingTask) -> None:
    text = "".join(path.read_text() for path in sorted(task.shards.rglob("*.txt")))
    (task.output / "models").mkdir()
    (task.output / "models" / "model.txt").write_text(text * task.parameters["times"])
    task.notes["loss"] = 0.5


def test_output_and_notes_come_back() -> None:
    result = run(join, shards=SHARDS, parameters={"times": 2})
    assert (result.outcome, result.failure) == (Outcome.COMPLETED, None)
    assert result.output == {"models/model.txt": b"one twoone two"}
    assert result.notes == {"loss": 0.5}
    assert result.checkpoint == {}


@pytest.mark.parametrize(
    ("error", "said"), [(TaskFailed("loss is nan"), "loss is nan"), (KeyError("times"), "KeyError: 'times'")]
)
def test_a_failure_comes_back_with_its_reason_and_nothing_of_the_output(error: Exception, said: str) -> None:
    def fail(task: TrainingTask) -> None:
        (task.output / "half").write_text("x")
        raise error

    result = run(fail, shards=SHARDS)
    assert (result.outcome, result.failure, result.output) == (Outcome.FAILED, said, {})


def count(task: TrainingTask) -> None:
    """Goes on from its checkpoint; an exception may come at any time."""
    saved = task.checkpoint / "step"
    step = int(saved.read_text()) if saved.exists() else 0
    while step < task.parameters["steps"]:
        time.sleep(0.001)
        step += 1
        saved.with_suffix(".new").write_text(str(step))
        saved.with_suffix(".new").rename(saved)
    (task.output / "steps").write_text(str(step))


def test_an_interrupted_attempt_leaves_its_checkpoint_from_which_the_next_goes_on() -> None:
    first = run(count, shards=SHARDS, parameters={"steps": 60_000}, interrupt_after=0.3)
    assert (first.outcome, first.output) == (Outcome.SHUTDOWN, {})
    step = int(first.checkpoint["step"])
    assert 0 < step < 60_000
    second = run(count, shards=SHARDS, parameters={"steps": step + 5}, checkpoint=first.checkpoint)
    assert second.output == {"steps": str(step + 5).encode()}


def polite(task: TrainingTask) -> None:
    """No exception is welcome in its midst: it asks."""
    step = 0
    while not task.should_stop:
        time.sleep(0.001)
        step += 1
    (task.checkpoint / "step").write_text(str(step))
    (task.output / "half").write_text("no result")


def test_a_function_that_asks_ends_politely_and_its_output_is_no_result() -> None:
    result = run(polite, shards=SHARDS, interrupt_after=0.2, interrupt_training=False)
    assert (result.outcome, result.output) == (Outcome.SHUTDOWN, {})
    assert int(result.checkpoint["step"]) > 0


def test_it_is_asked_where_no_signal_reaches_it() -> None:
    """Python delivers signals to the main thread alone."""
    found = []
    thread = threading.Thread(target=lambda: found.append(run(polite, shards=SHARDS, interrupt_after=0.2)))
    thread.start()
    thread.join(30)
    assert found[0].outcome is Outcome.SHUTDOWN
    assert found[0].checkpoint


def test_a_function_that_need_not_stop_is_not_told_to() -> None:
    def asking(task: TrainingTask) -> None:
        assert not task.should_stop
        (task.output / "model").write_text("x")

    assert run(asking, shards=SHARDS).output == {"model": b"x"}
