"""Dead letters in the deployed system: shown, moved back, dropped."""

import json
from typing import Any

import pytest

from tests.helpers.deployed import Deployed
from tests.helpers.operating import as_operator
from tests.helpers.waiting import eventually
from trainq.client.dead_letters import DeadLetterQueue
from trainq.protocol import layout


@pytest.fixture
def dead(deployed: Deployed) -> Deployed:
    """Two dead tasks of each of two jobs, and a refused job."""
    for job in ("a", "b"):
        deployed.put_dataset(job, {"1": b"x", "2": b"y"})
        deployed.submit(job_id=job, dataset=f"datasets/{job}/")
    eventually(lambda: deployed.waiting("model_training_queue_url") == 4, "the tasks are sent")
    for message in deployed.receive_all("model_training_queue_url"):
        deployed.stack.sqs.send_message(QueueUrl=deployed.outputs["dead_letter_queue_url"], MessageBody=message["Body"])
        handle = message["ReceiptHandle"]
        deployed.stack.sqs.delete_message(QueueUrl=deployed.stack.model_training_queue_url, ReceiptHandle=handle)
    deployed.send("garbage")
    eventually(lambda: deployed.waiting("message_dead_letter_queue_url") == 1, "the refused job is dead-lettered")
    return deployed


def listed(deployed: Deployed) -> list[dict[str, Any]]:
    return [json.loads(line) for line in as_operator(deployed, "dlq", "list", "--json").stdout.splitlines()]


def test_listing_dead_letters_shows_them_and_uses_nothing_up(dead: Deployed) -> None:
    for _ in range(2):
        found = listed(dead)
        assert sorted((each["queue"], each["job"], each["task"]) for each in found if each["job"]) == [
            ("model-training", job, task) for job in ("a", "b") for task in (0, 1)
        ]
        (refused,) = (each for each in found if each["queue"] == "message")
        assert "is not JSON" in refused["reason"]
    assert dead.waiting("dead_letter_queue_url") == 4
    assert dead.waiting("message_dead_letter_queue_url") == 1
    shown = as_operator(dead, "dlq", "show", refused["id"]).stdout
    assert "is not JSON" in shown
    assert shown.endswith("garbage\n")
    assert len(as_operator(dead, "dlq", "list", "--queue", "message").stdout.splitlines()) == 1
    assert "there is no message 'x'" in as_operator(dead, "dlq", "show", "x", status=1).stderr


def test_redriving_a_job_moves_its_messages_and_no_other(dead: Deployed) -> None:
    said = as_operator(dead, "dlq", "redrive", "--job", "a", "--dry-run").stdout
    assert said.count("would be moved back") == 2
    assert dead.waiting("dead_letter_queue_url") == 4, "a dry run moves nothing"
    before = listed(dead)
    assert as_operator(dead, "dlq", "redrive", "--job", "a").stdout.count("moved back") == 2
    assert {each["id"] for each in listed(dead)} == {each["id"] for each in before if each["job"] != "a"}
    dead.run_worker("w1", "true")
    assert sorted(dead.keys("runs/a/results/")) == [layout.result("a", task) for task in (0, 1)]
    assert not dead.keys("runs/b/results/")


def test_redriving_all_works_also_where_sqs_cannot_do_it_alone(dead: Deployed) -> None:
    as_operator(dead, "dlq", "redrive", "--all", "--queue", "model-training")
    assert dead.waiting("dead_letter_queue_url") == 0
    assert dead.waiting("model_training_queue_url") == 4
    assert dead.waiting("message_dead_letter_queue_url") == 1


def test_dropping_is_asked_for_and_drops_what_was_said(dead: Deployed) -> None:
    (refused,) = (each for each in listed(dead) if each["queue"] == "message")
    assert "Go on?" in as_operator(dead, "dlq", "drop", "--id", refused["id"], stdin="n\n", status=130).stdout
    assert dead.waiting("message_dead_letter_queue_url") == 1
    as_operator(dead, "dlq", "drop", "--id", refused["id"], "--yes")
    assert {each["queue"] for each in listed(dead)} == {"model-training"}
    assert dead.waiting("dead_letter_queue_url") == 4


@pytest.mark.parametrize("selection", [(), ("--all", "--job", "a")])
def test_moving_asks_for_exactly_one_selection(dead: Deployed, selection: tuple[str, ...]) -> None:
    """A forgotten option must not mean everything."""
    assert "say which messages" in as_operator(dead, "dlq", "redrive", *selection, status=2).stderr
    assert dead.waiting("dead_letter_queue_url") == 4


def test_a_crash_between_copy_and_delete_leaves_a_message_on_both_queues(dead: Deployed) -> None:
    queue = DeadLetterQueue(dead.stack, "model-training")
    queue.drop = lambda letter: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit), queue.held() as letters:
        queue.move_back(letters[0])
    assert dead.waiting("dead_letter_queue_url") == 4
    assert dead.waiting("model_training_queue_url") == 1
