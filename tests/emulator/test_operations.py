"""What operators see and mend: status, logs, timeline, cancel."""

import json
from typing import Any

from tests.helpers.deployed import Deployed
from tests.helpers.operating import as_operator
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, started
from trainq.client import status as looking
from trainq.client.status import JobStatus
from trainq.protocol import layout


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
