"""What operators see and mend: status, jobs, logs, timeline, cancel, dead letters."""

import json
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.deploy import deploy
from local.emulator import Emulator
from local.faults import Faults
from local.standins import error, fake_stack
from local.workers import TRAINQ
from tests.conftest import Deployed, eventually, running
from tests.test_workers import dispatch, started, worker
from trainq.client import dead_letters
from trainq.client import status as looking
from trainq.client.dead_letters import DeadLetterQueue
from trainq.client.status import JobStatus
from trainq.protocol import layout

__all__ = ["worker"]


def as_operator(deployed: Deployed, *arguments: str, **expected: Any) -> subprocess.CompletedProcess[str]:
    return deployed.trainq(*arguments, credentials=deployed.operator_credentials, **expected)


def look(deployed: Deployed) -> JobStatus:
    found = looking.status(deployed.stack, "j")
    assert found
    return found


def test_status_tells_done_running_failing_and_given_up_tasks_apart(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed, shards=4)
    script = "case $TRAINQ_TASK in 0) ;; 1) echo bad luck; exit 1;; *) sleep 600;; esac"
    workers = [worker(name, "sh", "-c", script) for name in ("w1", "w2")]
    eventually(lambda: all(started(each) and each.current.task >= 2 for each in workers), "both are at long tasks")

    eventually(lambda: len(deployed.keys(layout.workers("j"))) == 2, "both have reported")
    eventually(lambda: len(look(deployed).running) == 2, "what they are at now")
    found = json.loads(deployed.trainq("status", "j", "--json", status=3).stdout)
    assert {(each["worker"], each["task"]) for each in found["running"]} == {
        (each.name, each.current.task) for each in workers
    }
    assert (found["state"], found["done"], found["tasks"], found["dead"]) == ("running", 1, 4, [])
    assert list(found["retrying"]) == ["1"]
    text = deployed.trainq("status", "j", status=3).stdout
    assert "job j: running, 1 of 4 tasks done" in text
    assert "running: task 2 on w" in text
    assert "tried again after failures: 1 tasks" in text
    assert "bad luck" in text
    for each in workers:
        each.end()
    deployed.run_worker("w3", "sh", "-c", "test $TRAINQ_TASK != 1", options=("--backoff", "0", "--idle-exit", "2"))
    found = json.loads(deployed.trainq("status", "j", "--json", status=4).stdout)
    assert (found["state"], found["done"], found["dead"], found["running"]) == ("given up", 3, [1], [])
    assert found["settled"] is True
    assert "given up: 1 tasks" in deployed.trainq("status", "j", "--watch", status=4).stdout, "and it does not wait"
    assert deployed.trainq("jobs").stdout == "j  given up          3 of 4 tasks done, 1 given up\n"


def test_a_killed_workers_task_is_not_shown_as_running_for_ever(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed)
    process = worker("w1", "sleep", "600")

    eventually(lambda: look(deployed).running, "it has reported")
    process.kill()
    eventually(lambda: not look(deployed).running, "it is not believed to run any more")


def test_the_timeline_shows_every_attempt_and_how_it_ended(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed, shards=3)
    killed = worker("killed", "sleep", "600")
    eventually(lambda: deployed.keys(layout.workers("j")), "it has reported")
    killed.kill()
    stopped = worker("stopped", "sleep", "600")
    eventually(lambda: started(stopped), "it trains")
    stopped.end()
    tried = deployed.folder / "tried"
    script = f"test $TRAINQ_TASK != 2 || test -e {tried} || {{ touch {tried}; exit 1; }}"
    deployed.run_worker("last", "sh", "-c", script, options=("--idle-exit", "6"))
    for ending in ("svg", "png"):
        picture = deployed.folder / f"timeline.{ending}"
        said = deployed.trainq("timeline", "j", "-o", str(picture)).stdout
        assert said == f"{picture}: 6 attempts (3 done, 1 killed, 1 interrupted, 1 failed)\n"
        assert picture.stat().st_size > 1000
    text = (deployed.folder / "timeline.svg").read_text()
    for word in ("killed", "stopped", "last", "interrupted", "failed", "done"):
        assert f">{word}<" in text, f"{word} stands in the picture as text"
    assert "allowed endings are .svg" in deployed.trainq("timeline", "j", "-o", "x.bmp", status=2).stderr


def test_logs_show_what_a_tasks_attempts_printed(deployed: Deployed) -> None:
    dispatch(deployed)
    deployed.run_worker("w1", "sh", "-c", r"printf 'first\033[31m\n'; exit 2", options=("--max-tasks", "1"))
    eventually(lambda: deployed.waiting("model_training_queue_url") == 1, "the task comes back")
    deployed.run_worker("w2", "echo", "second", options=("--max-tasks", "1"))
    lines = deployed.trainq("logs", "j", "0").stdout.splitlines()
    assert lines[0].startswith("attempt 1 on w1")
    assert "failed: sh -c" in lines[0]
    assert lines[1] == "    first\N{REPLACEMENT CHARACTER}[31m", "what would repaint the terminal is not passed on"
    assert lines[2].startswith("attempt 2 on w2")
    assert lines[2].endswith("done")
    assert lines[3] == "    second"
    assert "nothing is known of task 7" in deployed.trainq("logs", "j", "7", status=1).stderr


def test_a_cancelled_job_is_cancelled_once_by_submitters_and_operators(deployed: Deployed) -> None:
    dispatch(deployed)
    first = deployed.trainq("cancel", "j").stdout
    assert first.startswith("cancelled: j, by ")
    assert as_operator(deployed, "cancel", "j").stdout == first, "who was first stays"
    assert "job j: cancelled, 0 of 1 tasks done" in deployed.trainq("status", "j", status=4).stdout


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
    eventually(lambda: deployed.waiting("message_dead_letter_queue_url") == 1, "the refused job is put aside")
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


class MovingSqs:
    """As AWS documents StartMessageMoveTask; the emulator has none."""

    def __init__(self, *statuses: str, refused: str = "") -> None:
        self.statuses, self.refused = list(statuses), refused
        self.started: dict[str, str] = {}

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        return {"Attributes": {"QueueArn": f"arn:{QueueUrl}"}}

    def start_message_move_task(self, **arguments: str) -> None:
        if self.refused:
            raise error(400, self.refused)
        self.started = arguments

    def list_message_move_tasks(self, SourceArn: str, MaxResults: int) -> dict[str, Any]:
        status = self.statuses.pop(0)
        counts = {"ApproximateNumberOfMessagesMoved": 3, "ApproximateNumberOfMessagesToMove": 7}
        return {"Results": [{"Status": status, "FailureReason": "why", **counts}]}


def moving(sqs: MovingSqs, monkeypatch: pytest.MonkeyPatch) -> DeadLetterQueue:
    monkeypatch.setattr(dead_letters.time, "sleep", lambda seconds: None)
    return DeadLetterQueue(fake_stack(None, sqs), "model-training")


def test_on_aws_sqs_moves_everything_and_its_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = MovingSqs("RUNNING", "COMPLETED")
    assert list(moving(sqs, monkeypatch).move_all_on_aws()) == [(3, 7), (3, 7)]
    assert sqs.started == {"SourceArn": "arn:dlq", "DestinationArn": "arn:q"}


def test_a_move_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="the move ended as FAILED: why"):
        list(moving(MovingSqs("FAILED"), monkeypatch).move_all_on_aws())
    with pytest.raises(ClientError):
        list(moving(MovingSqs(refused="AccessDenied"), monkeypatch).move_all_on_aws())


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Generator[Deployed]:
    """A stack whose every answer to a role takes half a minute."""
    folder = tmp_path_factory.mktemp("hanging")
    log = folder / "faults.jsonl"
    log.touch()
    with Emulator(folder / "emulator", Faults(1.0, 1, str(log), slow_seconds=30, kinds=("slow",))) as emulator:
        yield Deployed(emulator, deploy(emulator, folder / "stack.json"), folder)


@pytest.mark.parametrize(
    "command",
    [
        "upload shards --dataset d",
        "submit --dataset d",
        "status j",
        "status j --watch",
        "jobs",
        "logs j 0",
        "timeline j",
        "fetch j results",
        "cancel j",
        "dlq list",
        "dlq redrive --job j",
        "work -- true",
        "work --concurrency 2 -- true",
    ],
)
def test_ctrl_c_ends_every_command_at_once_in_a_line(hanging: Deployed, tmp_path: Path, command: str) -> None:
    """In the middle of a request; no traceback, no process, no folder is left."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "1").write_text("x")
    (tmp_path / "tmp").mkdir()
    faults = hanging.folder / "faults.jsonl"
    before = len(faults.read_text().splitlines())
    process = subprocess.Popen(
        [*TRAINQ, "--stack", str(hanging.stack_file), *command.split()],
        env=hanging.environment(hanging.submitter_credentials) | {"TMPDIR": str(tmp_path / "tmp")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: len(faults.read_text().splitlines()) > before, "its request hangs")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == (0 if command.startswith("work") else 130)
    assert "Traceback" not in said
    if not command.startswith("work"):
        assert said.strip() == "interrupted"
    eventually(lambda: not running(f"TMPDIR={tmp_path}"), "no process is left")
    assert not list((tmp_path / "tmp").iterdir())
