"""The life of a task on a worker, without AWS: states, the one outcome, and what is done with the message for each."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from local.standins import error
from tests.helpers.attempts import MOST, World, checkpoints, ending, raising
from trainq.protocol import layout
from trainq.worker.outcome import Outcome, State
from trainq.worker.training import TaskFailed, TrainingTask, WorkerBroken


def test_a_completed_task_is_acknowledged_after_its_result_is_there(world: Callable[..., World]) -> None:
    one = world()
    one.settlement.failures_in_a_row = 4
    one.run(lambda task: (task.output / "model").write_text("x"))
    assert (one.attempt.outcome, one.queue.done) == (Outcome.COMPLETED, [("acknowledge",)])
    (result,) = one.records(layout.results("j"))
    assert result["attempt"] == one.attempt.record.id
    assert one.store.objects[result["output"] + "model"] == b"x"
    assert one.settlement.failures_in_a_row == 0


@pytest.mark.parametrize("failures", range(MOST))
def test_a_failure_is_tried_again_and_the_last_one_dead_lettered(world: Callable[..., World], failures: int) -> None:
    one = world(failures=failures)
    one.run(raising(TaskFailed("loss is nan", exit_code=7)))
    last = failures == MOST - 1
    assert one.queue.done == (
        [("dead-letter", "failed 5 times, the last time on w: loss is nan")] if last else [("retry",)]
    )
    (failure,) = one.records(layout.failures("j"))
    assert (failure["reason"], failure["exit_code"], failure["failures_before"]) == ("loss is nan", 7, failures)
    assert one.settlement.failures_in_a_row == 1
    assert one.lease.released
    assert not checkpoints(one), "what has failed is not gone on from"


@pytest.mark.parametrize("outcome", [Outcome.SHUTDOWN, Outcome.HOLD_LIMIT])
def test_an_interrupted_task_is_released_as_an_attempt_with_its_checkpoint(
    world: Callable[..., World], outcome: Outcome
) -> None:
    one = world(failures=2)
    one.run(ending(one, outcome))
    assert one.queue.done == [("release", True)]
    assert (one.whys, len(checkpoints(one)), one.failures) == ([outcome.value], 1, [])
    assert one.settlement.failures_in_a_row == 0


def test_what_is_released_before_it_trained_is_no_attempt_and_leaves_no_record(world: Callable[..., World]) -> None:
    one = world()
    one.prepare()
    one.attempt.end(Outcome.SHUTDOWN)
    one.settlement.settle(one.attempt)
    assert one.queue.done == [("release", False)]
    assert not one.whys


def test_a_cancelled_jobs_task_is_acknowledged_before_it_begins(world: Callable[..., World]) -> None:
    one = world()
    one.cancelled.answer = True
    one.run(lambda task: pytest.fail("begun"))
    assert (one.attempt.outcome, one.queue.done, one.whys) == (Outcome.CANCELLED, [("acknowledge",)], [])


@pytest.mark.parametrize(("outcome", "why"), [(Outcome.CANCELLED, "cancelled"), (Outcome.SUPERSEDED, "beaten")])
def test_nobody_wants_what_trains_any_more(world: Callable[..., World], outcome: Outcome, why: str) -> None:
    one = world()
    one.run(ending(one, outcome))
    assert (one.queue.done, one.whys) == ([("acknowledge",)], [why])
    assert not one.records(layout.results("j"))
    assert not checkpoints(one)


def test_of_two_results_the_first_counts_and_the_second_claims_nothing(world: Callable[..., World]) -> None:
    one = world()
    key = layout.result("j", 0)
    first = json.dumps({"attempt": "f" * 32, "worker": "quick"}).encode()
    one.run(lambda task: one.store.objects.update({key: first}))
    assert (one.attempt.outcome, one.attempt.reason) == (Outcome.SUPERSEDED, "quick")
    assert (one.queue.done, one.whys) == ([("acknowledge",)], ["beaten"])
    assert one.store.objects[key] == first


def test_a_task_past_its_failures_that_has_a_result_is_acknowledged(world: Callable[..., World]) -> None:
    """Its last attempt committed, and died before the delete."""
    one = world(failures=MOST, again=True)
    done = {"job_id": "j", "task": 0, "attempt": "f" * 32, "worker": "quick", "files": []}
    done["output"] = layout.attempt_output("j", 0, "f" * 32)
    one.store.objects[layout.result("j", 0)] = json.dumps(done).encode()
    one.run(lambda task: pytest.fail("begun"))
    assert one.queue.done == [("acknowledge",)]


def test_a_task_whose_workers_died_is_exhausted_and_blames_no_worker(world: Callable[..., World]) -> None:
    """The next worker only finds it: it has not failed there."""
    one = world(failures=MOST + 1, again=True)
    one.run(lambda task: pytest.fail("begun"))
    ((what, reason),) = one.queue.done
    assert what == "dead-letter"
    assert reason == "received 6 times, and the last attempt did not report its end"
    assert not one.failures
    assert one.settlement.failures_in_a_row == 0


def test_a_broken_workers_task_is_released(world: Callable[..., World]) -> None:
    one = world()
    one.run(raising(WorkerBroken("its guard is gone")))
    assert (one.attempt.outcome, one.queue.done) == (Outcome.WORKER_BROKEN, [("release", True)])
    assert not one.failures


@pytest.mark.parametrize(
    "train",
    [lambda task: None, raising(TaskFailed("broken")), raising(WorkerBroken("broken"))],
    ids=["completed", "failed", "broken"],
)
def test_a_message_whose_lease_is_lost_is_left_whatever_was_decided(
    world: Callable[..., World], train: Callable[[TrainingTask], None]
) -> None:
    """Another worker may have it by now."""
    one = world()

    def lose(task: TrainingTask) -> None:
        one.lease.lost = True
        train(task)

    one.run(lose)
    assert one.queue.done == []
    assert one.lease.released


def test_a_lost_lease_ends_the_attempt_and_leaves_a_record(world: Callable[..., World]) -> None:
    one = world()
    one.run(ending(one, Outcome.LEASE_LOST))
    assert (one.attempt.outcome, one.queue.done, one.whys) == (Outcome.LEASE_LOST, [], ["lost"])


def test_a_result_that_cannot_be_committed_leaves_the_message(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that the task has done: no failure is recorded, but failures in a row count. The log has a traceback."""
    one = world()

    def train(task: TrainingTask) -> None:
        one.store.put_object = fail  # ty: ignore[invalid-assignment]

    def fail(**asked: Any) -> None:
        raise error(403, "AccessDenied")

    one.run(train)
    assert (one.attempt.outcome, one.queue.done, one.failures) == (Outcome.UNEXPECTED, [], [])
    assert one.settlement.failures_in_a_row == 1
    assert "Traceback" in caplog.text


def test_an_outcome_is_decided_once(world: Callable[..., World]) -> None:
    one = world()
    assert one.attempt.end(Outcome.HOLD_LIMIT)
    for later in (Outcome.SHUTDOWN, Outcome.FAILED, Outcome.LEASE_LOST):
        assert not one.attempt.end(later, "later")
    assert (one.attempt.outcome, one.attempt.reason) == (Outcome.HOLD_LIMIT, "")
    one.settlement.settle(one.attempt)


def test_nothing_ends_an_attempt_whose_commit_has_begun(world: Callable[..., World]) -> None:
    one = world()
    put, ended = one.store.put_object, []

    def commit(**asked: Any) -> None:
        ended.append((one.attempt.state, one.attempt.end(Outcome.CANCELLED)))
        put(**asked)

    one.run(lambda task: setattr(one.store, "put_object", commit))
    assert ended == [(State.COMMITTING, False)]
    assert (one.attempt.outcome, one.queue.done) == (Outcome.COMPLETED, [("acknowledge",)])


def test_what_is_ended_while_it_is_stored_is_not_committed(world: Callable[..., World]) -> None:
    one = world()
    upload = one.store.upload

    def ended(*asked: Any, **more: Any) -> None:
        upload(*asked, **more)
        one.attempt.end(Outcome.LEASE_LOST, "gone")

    def train(task: TrainingTask) -> None:
        (task.output / "model").write_text("x")
        one.store.upload = ended

    one.run(train)
    assert (one.attempt.outcome, one.queue.done) == (Outcome.LEASE_LOST, [])
    assert not one.records(layout.results("j"))


def test_a_second_settlement_does_nothing(world: Callable[..., World]) -> None:
    one = world()
    one.run(raising(TaskFailed("broken")))
    before = list(one.queue.done), len(one.failures), one.settlement.failures_in_a_row
    one.settlement.settle(one.attempt)
    assert (one.queue.done, len(one.failures), one.settlement.failures_in_a_row) == before


def test_a_settlement_that_fails_leaves_the_message_and_the_worker_goes_on(world: Callable[..., World]) -> None:
    one = world()
    one.queue.fault = error(503, "Slow")
    one.run(raising(TaskFailed("broken")))
    assert one.queue.done == []
    assert one.lease.released
    assert one.settlement.failures_in_a_row == 2, "the task's, and the settlement's own"


def test_failures_in_a_row_are_counted_by_many_threads_without_losing_one(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is between reading and writing the number when the others come, if nothing keeps them out."""
    settlement = world().settlement
    inside, meeting = [], threading.Event()

    class Slow(int):
        def __add__(self, other: int) -> "Slow":
            inside.append(1)
            # Another thread that is let in by now would set it.
            if len(inside) > 1 and not meeting.is_set():
                meeting.set()
            meeting.wait(0.05)
            inside.pop()
            return Slow(int(self) + other)

    settlement.failures_in_a_row = Slow()
    threads = [threading.Thread(target=settlement._count, args=(Outcome.FAILED,)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert settlement.failures_in_a_row == 8
    assert not meeting.is_set(), "one at a time"


def test_what_is_no_task_is_dead_lettered_with_the_reason(world: Callable[..., World]) -> None:
    one = world()
    one.settlement.refuse(one.delivery, "field 'job_id' is missing")
    assert one.queue.done == [("dead-letter", "field 'job_id' is missing")]
    one.queue.fault = error(503, "Slow")
    one.settlement.refuse(one.delivery, "again")
