"""What is in the bucket was written by somebody: no odd object keeps commands from the rest."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.deployed import Deployed
from tests.helpers.records import CANCELLED, A, B, C, record, time
from tests.helpers.results import files_of, marker, put, put_bytes
from trainq.client.attempts import attempts
from trainq.client.results import committed, done_tasks
from trainq.client.status import JobStatus, status
from trainq.protocol import layout, markers
from trainq.protocol.markers import MarkerError


@pytest.fixture
def odd(slow: Deployed) -> Deployed:
    """Job j of four tasks: 0 and 1 are done, 2 has failed, 3 runs. Among them one of each kind of odd object."""
    put(slow, layout.plan("j"), {"tasks": 4, "shards": 4})
    put(slow, layout.dispatched("j"), {"tasks": 4})
    for task in (0, 1):
        about = marker(task, files=[{"path": "x", "bytes": 1}]) | record(task, notes={"output_tail": "fine", "nan": 1})
        put_bytes(slow, layout.result("j", task), json.dumps(about).replace('"nan": 1', '"nan": NaN').encode())
        put_bytes(slow, f"runs/j/attempts/{task}/{A}/x", b"%d" % task)
    put(slow, layout.failure("j", 2, B), record(2, B, reason="bad\x1b[2J", output_tail="luck\x1b[2J"))
    put(slow, layout.former_report("j", "w$\\frac{$"), record(3, C, worker="w$\\frac{$", heartbeat=time(9)))

    put(slow, layout.result("j", 99), marker(99) | record(99))
    for key in ("results/x.json", "results/", "workers/", "failures/", "interruptions/", "workers/a/b.json", ""):
        put_bytes(slow, f"runs/j/{key}", b"")
    heartbeats: list[Any] = ["2026", float("nan"), "2026-01-01T00:00:00", None, {}]
    for number, heartbeat in enumerate(heartbeats):
        name = f"odd{number}"
        put(slow, layout.former_report("j", name), record(3, f"{number:032}", worker=name, heartbeat=heartbeat))
    put(slow, layout.former_report("j", "x"), {"a": 1})
    put(slow, layout.former_report("j", "a\x1b[2Jb"), {"a": 1})
    put(slow, layout.former_report("j", "far"), record(99, "d" * 32, worker="far", heartbeat=time(9)))
    put(slow, layout.former_report("j", "other"), record(3, worker="w", heartbeat=time(9)))
    put_bytes(slow, layout.former_report("j", "large"), b" " * (markers.MAX_RECORD_BYTES + 1))
    put(slow, layout.failure("j", 3, "e" * 32), {"a": 1})
    put(slow, layout.failure("j", 0, "e" * 32), [])
    put(slow, layout.failure("j", 99, "e" * 32), record(99, "e" * 32, reason="x", failures_before=9))
    put(slow, layout.interruption("j", 3, "f" * 32), record(3, "f" * 32, why="no\x1b[2J"))
    put(slow, layout.interruption("j", 3, "1" * 32), record(2, "1" * 32, why="stop"))
    return slow


def left_out(said: str) -> int:
    """How many records a command says that it could not read."""
    (line,) = (line for line in said.splitlines() if "records could not be read" in line)
    assert ": 'runs/j/" in line
    return int(line.split()[0])


def test_every_command_reads_a_job_full_of_odd_objects(odd: Deployed, tmp_path: Path) -> None:
    """As a submitter: what is good is shown, the rest is counted, and the exit status is as if it were not there."""
    done = odd.trainq("status", "j", status=3)
    assert done.stdout.startswith("job j: running, 2 of 4 tasks done\n")
    assert "running: task 3 on w$\\frac{$" in done.stdout
    assert "task 2: 1 failed, the last on w: bad\N{REPLACEMENT CHARACTER}[2J\n" in done.stdout
    # The newest interruption of task 3 is among them, which `fetch` does not read.
    assert left_out(done.stderr) == 11

    listed = odd.trainq("status", "j", "--json", status=3)
    found = json.loads(listed.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (found["done"], found["tasks"], found["complete"], found["dead"]) == (2, 4, False, [])
    assert [each["worker"] for each in found["running"]] == ["w$\\frac{$"]

    assert odd.trainq("jobs").stdout == "j  running           2 of 4 tasks done\n"

    folder = tmp_path / "results"
    assert "2 of 4 tasks are done" in odd.trainq("fetch", "j", str(folder), status=1).stderr
    fetched = odd.trainq("fetch", "j", str(folder), "--partial")
    assert fetched.stdout == f"2 of 4 results fetched: {folder}\n"
    assert left_out(fetched.stderr) == 10
    assert files_of(folder) == ["0/x", "1/x", "results.jsonl"]
    assert "NaN" not in (folder / "results.jsonl").read_text()

    logs = odd.trainq("logs", "j", "2")
    assert logs.stdout.splitlines()[1:] == ["    luck\N{REPLACEMENT CHARACTER}[2J"]
    assert left_out(logs.stderr) == 13
    assert odd.trainq("logs", "j", "0").stdout.endswith("done\n    fine\n")
    assert "running" in odd.trainq("logs", "j", "3").stdout

    picture = tmp_path / "j.svg"
    drawn = odd.trainq("timeline", "j", "-o", str(picture))
    assert "2 failed" in drawn.stdout
    assert left_out(drawn.stderr) == 13
    assert ">w$\\frac{$<" in picture.read_text()


def test_results_count_only_for_tasks_that_the_job_has(odd: Deployed) -> None:
    """With 99 among them the job would have more tasks done than it has, and would never be complete."""
    for task in (2, 3):
        put(odd, layout.result("j", task), marker(task) | record(task))
    found = status(odd.stack, "j")
    assert isinstance(found, JobStatus)
    assert (found.state, found.done, found.complete) == ("done", 4, True)
    assert sorted(done_tasks(odd.stack, "j", 4)) == [0, 1, 2, 3]
    assert [each["task"] for each in committed(odd.stack, "j", tasks=4)] == [0, 1, 2, 3]
    assert "4 of 4 tasks done" in odd.trainq("status", "j").stdout


def test_an_attempt_whose_record_is_odd_is_not_shown_as_killed(deployed: Deployed) -> None:
    put(deployed, layout.failure("j", 0, A), {"a": 1})
    put(deployed, layout.former_report("j", "w"), record(heartbeat=time(-60)))
    refused: list[MarkerError] = []
    assert attempts(deployed.stack, "j", refused.append) == []
    assert len(refused) == 1


@pytest.mark.parametrize("body", [b"x", b"{}", b'{"by":1,"at":{}}'])
def test_a_job_with_an_odd_marker_is_cancelled_for_every_command(deployed: Deployed, body: bytes) -> None:
    """A submitter may create it: for nobody may that break status, jobs or cancel."""
    put(deployed, layout.plan("j"), {"tasks": 1, "shards": 1})
    put_bytes(deployed, CANCELLED, body)
    assert "job j: cancelled" in deployed.trainq("status", "j", status=4).stdout
    assert deployed.trainq("jobs").stdout == "j  cancelled         0 of 1 tasks done\n"
    said = deployed.trainq("cancel", "j").stdout
    assert said.startswith(f"cancelled: j, before, but its marker does not say by whom and when: {CANCELLED!r}")


def test_a_broken_job_is_named_and_the_others_are_listed(deployed: Deployed) -> None:
    for job, plan in {
        "a": {"tasks": 1, "shards": 1},
        "b": {},
        "c": {"tasks": "x"},
        "d": {"tasks": 2, "shards": 2},
    }.items():
        put(deployed, layout.plan(job), plan)
    for key in (
        "runs/a\x1b[2Jb/plan.json",
        "runs//plan.json",
        "runs/.x/plan.json",
        "runs/x y/plan.json",
        "runs/results/",
    ):
        put(deployed, key, {"tasks": 1, "shards": 1})
    said = deployed.trainq("jobs", status=1)
    assert [line.split()[0] for line in said.stdout.splitlines()] == ["a", "d"]
    assert [line.split("'")[1] for line in said.stderr.splitlines()] == ["runs/b/plan.json", "runs/c/plan.json"]
    assert "field 'tasks' is null" in deployed.trainq("status", "b", status=1).stderr
