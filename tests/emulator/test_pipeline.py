"""What becomes of attempts: committed, failed, found to be done, given back."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from local.standins import error
from tests.helpers.counting import counting, done, left
from tests.helpers.deployed import Deployed
from tests.helpers.working import dispatch, run_here, send_again, write
from trainq.protocol import layout, markers
from trainq.worker.signals import Interrupted
from trainq.worker.task_queue import TaskQueue
from trainq.worker.training import TrainingTask, WorkerBroken


def test_the_shards_of_a_task_need_not_be_fetched(deployed: Deployed) -> None:
    """Its function finds their keys."""
    dispatch(deployed, shards=2)
    counted, requests = counting(deployed)
    seen = []

    def train(task: TrainingTask) -> None:
        seen.append((list(task.keys), task.bucket, task.shards.exists()))

    run_here(counted, train, max_tasks=2, download=False)
    assert sorted(seen) == [([f"datasets/d/{n:03}"], deployed.stack.bucket_name, False) for n in range(2)]
    assert requests["s3.PutObject"] <= 4


@pytest.mark.parametrize("option", ["--no-download", "--backoff=1"])
def test_a_command_finds_its_shards_keys(deployed: Deployed, option: str) -> None:
    """In both modes; without the download only them."""
    dispatch(deployed)
    script = (
        "cp $TRAINQ_SHARD_LIST $TRAINQ_OUTPUT/keys; echo $TRAINQ_BUCKET >> $TRAINQ_OUTPUT/keys; ls $TRAINQ_SHARDS/d"
    )
    deployed.run_worker("w1", "sh", "-c", script + " || true", options=("--max-tasks", "1", option))
    result = deployed.read(layout.result("j", 0))
    answer = deployed.stack.s3.get_object(Bucket=deployed.stack.bucket_name, Key=result["output"] + "keys")
    assert answer["Body"].read().decode() == f"datasets/d/000\n{deployed.stack.bucket_name}\n"
    assert (result["notes"]["output_tail"] == "000\n") == (option != "--no-download")


def test_one_that_is_on_the_queue_twice_is_ended_when_its_result_is_found(deployed: Deployed) -> None:
    """A first delivery is not looked into before it begins; in the background it is, after a second."""
    dispatch(deployed)
    run_here(deployed, write("first"))
    before = deployed.read(layout.result("j", 0))
    send_again(deployed)
    ended = []

    def train(task: TrainingTask) -> None:
        try:
            time.sleep(30)
        except Interrupted:
            ended.append(task.task)
            raise

    run_here(deployed, train, name="w2")
    assert ended == [0]
    assert deployed.read(layout.result("j", 0)) == before
    (interruption,) = (deployed.read(key) for key in deployed.keys(layout.interruptions("j")))
    assert (interruption["worker"], interruption["why"]) == ("w2", "beaten")
    assert not deployed.keys(layout.failures("j"))
    assert left(deployed) == 0


def test_a_result_that_cannot_be_committed_leaves_the_message_for_another_delivery(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nothing that the task has done: no failure is recorded, and its neighbours get through."""
    dispatch(deployed, shards=3)
    commit = markers.commit
    refused: list[str] = []

    def refusing(s3: Any, name: str, key: str, value: dict[str, Any]) -> dict[str, Any]:
        if key == layout.result("j", 1) and not refused:
            refused.append(key)
            raise error(403, "AccessDenied")
        return commit(s3, name, key, value)

    monkeypatch.setattr(markers, "commit", refusing)
    run_here(deployed, write("x"), max_tasks=3, prefetch=3)
    assert refused
    assert done(deployed) == [0, 2]
    assert left(deployed) == 1
    run_here(deployed, write("x"), max_tasks=1, prefetch=3)
    assert done(deployed) == [0, 1, 2]
    assert deployed.read(layout.result("j", 1))["attempt_number"] == 2
    assert not deployed.keys(layout.failures("j"))
    assert left(deployed) == 0


def test_signals_are_for_the_main_thread_alone(deployed: Deployed) -> None:
    """The second of two at once is delivered to any thread that takes it, and would not wake the main one."""
    dispatch(deployed, shards=2)
    blocking: dict[str, bool] = {}

    def train(task: TrainingTask) -> None:
        for thread in threading.enumerate():
            status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
            (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
            blocking[thread.name.split("_")[0]] = bool(mask >> (signal.SIGTERM - 1) & 1)

    run_here(deployed, train, max_tasks=2, prefetch=1)
    own = ("heartbeat", "watch", "checkpoints", "acknowledger", "prepare", "store")
    assert {name: blocking[name] for name in own} == dict.fromkeys(own, True)
    assert not blocking["MainThread"]


def test_notes_that_cannot_be_written_down_are_the_tasks_failure_with_its_reason(deployed: Deployed) -> None:
    dispatch(deployed, shards=1)

    def train(task: TrainingTask) -> None:
        task.notes["loss"] = object()

    run_here(deployed, train, max_tasks=1)
    (failure,) = deployed.keys(layout.failures("j"))
    assert "not JSON serializable" in deployed.read(failure)["reason"]
    assert not deployed.keys(layout.results("j"))


def test_a_broken_workers_task_is_given_back_without_a_failure(deployed: Deployed) -> None:
    dispatch(deployed, shards=1)

    def train(task: TrainingTask) -> None:
        raise WorkerBroken("its guard is gone")

    with pytest.raises(WorkerBroken):
        run_here(deployed, train, max_tasks=1)
    (back,) = TaskQueue(deployed.stack).receive(5, 1)
    assert (back.attempt, back.failures) == (2, 0)


def test_a_task_that_has_killed_as_many_workers_as_it_may_is_not_begun(deployed: Deployed) -> None:
    """SQS counts receives of a copy from one again: what came before is on the message."""
    dispatch(deployed, shards=1)
    (delivery,) = TaskQueue(deployed.stack).receive(5, 1)
    deployed.stack.sqs.delete_message(
        QueueUrl=deployed.stack.model_training_queue_url, ReceiptHandle=delivery.receipt_handle
    )
    counted = {name: {"DataType": "Number", "StringValue": "5"} for name in ("attempts", "failures")}
    deployed.stack.sqs.send_message(
        QueueUrl=deployed.stack.model_training_queue_url, MessageBody=delivery.body, MessageAttributes=counted
    )
    begun: list[int] = []
    run_here(deployed, lambda task: begun.append(task.task), max_tasks=1)
    assert not begun
    assert deployed.waiting("dead_letter_queue_url") == 1
    assert left(deployed) == 0
