"""The deployed system: from a submitted job to fetched results, and what becomes of bad messages."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from trainq.cli import trainq

# Writes the number of bytes of its shards, and what it was told.
COUNT = (
    "import os, json, pathlib; "
    "files = sorted(p for p in pathlib.Path(os.environ['TRAINQ_SHARDS']).rglob('*') if p.is_file()); "
    "out = pathlib.Path(os.environ['TRAINQ_OUTPUT']); (out / 'deep').mkdir(); "
    "(out / 'deep' / 'names.json').write_text(json.dumps("
    "[str(p.relative_to(os.environ['TRAINQ_SHARDS'])) for p in files])); "
    "(out / 'count.json').write_text(json.dumps({'bytes': sum(p.stat().st_size for p in files), "
    "'parameters': json.loads(pathlib.Path(os.environ['TRAINQ_PARAMETERS']).read_text()), "
    "'told': [os.environ[n] for n in ('TRAINQ_JOB_ID', 'TRAINQ_TASK', 'TRAINQ_TASKS')]}))"
)


def test_a_job_goes_through_to_results(deployed: Deployed) -> None:
    """The main path, through the command line, each with the rights of its role."""
    shards = deployed.folder / "corpus"
    (shards / "a b").mkdir(parents=True)
    for number in range(5):
        (shards / "a b" / f"{number}.txt").write_text("x" * (number + 1))

    said = deployed.trainq("upload", str(shards), "--dataset", "corpus/v1").stdout
    assert "5 shards uploaded, 0 were there already" in said
    options = ["--dataset", "corpus/v1", "--job-id", "sweep", "-p", "order=3", "-g", "lr=[0.1, 0.5]"]
    deployed.trainq("submit", *options, "--shards-per-task", "2")
    eventually(lambda: deployed.keys("runs/sweep/dispatched.json"), "the job is dispatched")
    assert "being dispatched" not in deployed.trainq("status", "sweep", status=3).stdout

    deployed.run_worker("w1", sys.executable, "-c", COUNT)
    assert "done, 6 of 6 tasks done" in deployed.trainq("status", "sweep").stdout
    assert json.loads(deployed.trainq("status", "sweep", "--json").stdout)["complete"] is True
    deployed.trainq("fetch", "sweep", str(deployed.folder / "results"))

    results = [json.loads(line) for line in (deployed.folder / "results" / "results.jsonl").read_text().splitlines()]
    assert [each["task"] for each in results] == list(range(6))
    found = []
    for each in results:
        folder = deployed.folder / "results" / str(each["task"])
        count = json.loads((folder / "count.json").read_text())
        assert count["told"] == ["sweep", str(each["task"]), "6"]
        assert count["parameters"] == each["parameters"]
        names = json.loads((folder / "deep" / "names.json").read_text())
        assert names == [key.removeprefix("datasets/") for key in each["shards"]]
        found.append((count["bytes"], count["parameters"]["lr"], each["parameters"]["order"]))
    assert found == [(size, lr, 3) for size in (1 + 2, 3 + 4, 5) for lr in (0.1, 0.5)]
    assert deployed.waiting("model_training_queue_url") == deployed.in_flight("model_training_queue_url") == 0


def test_an_upload_goes_on_where_it_stopped(deployed: Deployed) -> None:
    folder = deployed.folder / "data"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}").write_text(f"{number}")
    deployed.trainq("upload", str(folder), "--dataset", "d")
    (folder / "1").write_text("!")
    (folder / "0").unlink()
    done = deployed.trainq("upload", str(folder), "--dataset", "d")
    assert "1 shards uploaded, 1 were there already" in done.stdout
    assert "note: 1 other objects under this prefix are part of the dataset too, such as datasets/d/0" in done.stderr
    assert deployed.stack.s3.get_object(Bucket=deployed.stack.bucket_name, Key="datasets/d/1")["Body"].read() == b"!"


def test_a_large_shard_is_known_again_though_its_etag_says_nothing_of_its_content(deployed: Deployed) -> None:
    """Neither that of an object which came in parts is its MD5, nor any under a key of one's own."""
    folder = deployed.folder / "data"
    folder.mkdir()
    large = folder / "large"
    large.write_bytes(b"a" * (9 * 1024 * 1024))
    deployed.trainq("upload", str(folder), "--dataset", "d")
    (listed,) = deployed.stack.s3.list_objects_v2(Bucket=deployed.stack.bucket_name, Prefix="datasets/d/")["Contents"]
    assert listed["ETag"].strip('"') != hashlib.md5(large.read_bytes()).hexdigest()
    assert "0 shards uploaded, 1 were there" in deployed.trainq("upload", str(folder), "--dataset", "d").stdout
    large.write_bytes(b"b" * (9 * 1024 * 1024))
    assert "1 shards uploaded, 0 were there" in deployed.trainq("upload", str(folder), "--dataset", "d").stdout


def trigger(deployed: Deployed, *, enabled: bool) -> None:
    """Hold the message queue's trigger, or let it go."""
    function = deployed.emulator.client("lambda")
    mapping = function.list_event_source_mappings(EventSourceArn=deployed.outputs["queue_arn"])["EventSourceMappings"]
    function.update_event_source_mapping(UUID=mapping[0]["UUID"], Enabled=enabled)


def reasons(deployed: Deployed) -> dict[str, str]:
    """The messages on the message queue's dead letter queue, each with its reason."""
    found = deployed.receive_all("message_dead_letter_queue_url")
    return {each["Body"]: each["MessageAttributes"]["reason"]["StringValue"] for each in found}


def test_one_bad_message_among_nine_good_ones_goes_to_the_dead_letter_queue_alone(deployed: Deployed) -> None:
    """In one batch; and the reason is the one that `trainq submit` gives before it sends anything."""
    deployed.put_dataset("d", {"1": b"x", "2": b"y"})
    bad = json.dumps({"job_id": "bad", "dataset": "datasets/d/", "shards_per_task": 0})
    refused = deployed.trainq("submit", "-", stdin=bad, status=1)
    assert deployed.waiting("message_queue_url") == 0, "nothing was sent"

    trigger(deployed, enabled=False)
    bodies = [json.dumps({"job_id": f"good-{number}", "dataset": "datasets/d/"}) for number in range(9)]
    bodies.insert(4, bad)
    deployed.stack.sqs.send_message_batch(
        QueueUrl=deployed.stack.message_queue_url,
        Entries=[{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)],
    )
    trigger(deployed, enabled=True)
    eventually(lambda: deployed.waiting("model_training_queue_url") == 18, "the nine good jobs' tasks are sent")
    eventually(lambda: deployed.waiting("message_dead_letter_queue_url") == 1, "the bad message is dead-lettered")
    eventually(lambda: deployed.in_flight("message_queue_url") == 0, "the batch is finished")
    said = reasons(deployed)
    assert list(said) == [bad]
    assert said[bad] == "field 'shards_per_task' is 0: allowed is a whole number from 1, or \"all\""
    assert refused.stderr.strip() == f"Error: {said[bad]}"


def test_messages_that_can_never_succeed_are_dead_lettered_at_once_with_the_reason(deployed: Deployed) -> None:
    """What `trainq submit` says of the same message is the same."""
    deployed.put_dataset("d", {"1": b"x"})
    deployed.submit(job_id="used", dataset="datasets/d/")
    eventually(lambda: deployed.keys("runs/used/dispatched.json"), "the first job is dispatched")
    bad: dict[str, Any] = {
        "not json": "is not JSON",
        json.dumps({"job_id": "j", "dataset": "datasets/d/", "shard": 1}): "field 'shard' is 1: there is no such field",
        json.dumps({"job_id": "j", "dataset": 3}): "field 'dataset' is 3: allowed is",
        json.dumps({"job_id": "j", "dataset": "datasets/none/"}): "there is no object under s3://",
        json.dumps({"job_id": "used", "dataset": "datasets/d/", "parameters": {"a": 1}}): "different: parameters",
    }
    for body in bad:
        deployed.send(body)
    eventually(lambda: deployed.waiting("message_dead_letter_queue_url") == len(bad), "all five are dead-lettered")
    found = reasons(deployed)
    for body, reason in bad.items():
        assert reason in found[body]
        assert deployed.trainq("submit", "-", stdin=body, status=1).stderr.strip() == f"Error: {found[body]}"


def test_a_job_submitted_twice_is_done_once(deployed: Deployed) -> None:
    deployed.put_dataset("d", {"1": b"x", "2": b"y"})
    for _ in range(2):
        deployed.trainq("submit", "--dataset", "d", "--job-id", "j")
        eventually(lambda: deployed.keys("runs/j/dispatched.json"), "the job is dispatched")
    eventually(
        lambda: deployed.waiting("message_queue_url") + deployed.in_flight("message_queue_url") == 0,
        "both messages are done with",
    )
    assert deployed.waiting("model_training_queue_url") == 2
    assert deployed.waiting("message_dead_letter_queue_url") == 0


def test_results_of_an_unfinished_job_are_fetched_only_on_request(deployed: Deployed) -> None:
    """A merge of half the results must not pass for the whole."""
    deployed.put_dataset("d", {"1": b"x", "2": b"y"})
    deployed.submit(job_id="j", dataset="datasets/d/")
    eventually(lambda: deployed.keys("runs/j/dispatched.json"), "the job is dispatched")
    deployed.run_worker("w1", "sh", "-c", "touch $TRAINQ_OUTPUT/done", options=("--max-tasks", "1"))
    folder = str(deployed.folder / "results")
    assert "1 of 2 tasks are done" in deployed.trainq("fetch", "j", folder, status=1).stderr
    assert not (deployed.folder / "results").exists()
    assert "1 of 2 results fetched" in deployed.trainq("fetch", "j", folder, "--partial").stdout


def test_results_of_two_jobs_are_not_mixed_in_one_folder(deployed: Deployed) -> None:
    """Models have the same size whatever is in them: an equal size proves nothing."""
    deployed.put_dataset("d", {"1": b"x"})
    folder = deployed.folder / "results"
    for job in ("a", "b"):
        deployed.submit(job_id=job, dataset="datasets/d/")
        eventually(lambda job=job: deployed.keys(f"runs/{job}/dispatched.json"), "the job is dispatched")
        script = "echo $TRAINQ_JOB_ID > $TRAINQ_OUTPUT/model"
        deployed.run_worker(f"w-{job}", "sh", "-c", script, options=("--max-tasks", "1"))
    deployed.trainq("fetch", "a", str(folder))
    assert "has results of job 'a': name another folder" in deployed.trainq("fetch", "b", str(folder), status=1).stderr
    (folder / "0" / "model").write_text("cut")
    deployed.trainq("fetch", "a", str(folder))
    assert (folder / "0" / "model").read_text() == "a\n", "a file of another size is fetched again"
    (folder / "results.jsonl").unlink()
    deployed.trainq("fetch", "b", str(folder))
    assert (folder / "0" / "model").read_text() == "b\n", "files of unknown origin are replaced"


def test_a_job_that_nobody_knows_is_said_to_be_unknown(deployed: Deployed) -> None:
    assert "job 'x' has no plan: it was not submitted" in deployed.trainq("status", "x", status=1).stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("-p", f"x={'[' * 100_000}", "--parameter 'x': its value is JSON nested too deeply"),
        ("-p", 'optim={"lr":0.1,"lr":0.5}', "--parameter 'optim': its value has the name \"lr\" twice in one object"),
        ("-p", f"x={'9' * 5_000}", "--parameter 'x': its value has a whole number of 5,000 digits in it"),
        ("-g", f"x=[{'9' * 5_000}]", "--grid 'x': its value has a whole number of 5,000 digits in it"),
        ("-p", "x=[NaN]", "--parameter 'x': its value has NaN in it, which is not a JSON value"),
        ("-p", "x=1e999", "--parameter 'x': its value has the number \"1e999\" in it"),
        ("-g", "x=[0.1,0.10]", "field 'grid' has 0.1 twice in 'x'"),
        ("--shards-per-task", "1" * 5_000, "allowed is a whole number from 1"),
    ],
)
def test_a_value_that_python_cannot_take_is_refused_in_a_line(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    done = CliRunner().invoke(trainq, ["--stack", str(tmp_path), "submit", "--dataset", "d", option, value])
    assert said in f"{done.output}{done.exception}"
