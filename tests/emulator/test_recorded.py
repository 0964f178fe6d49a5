"""What an older version has left in the bucket and on the queue: this one finishes it, shows it and fetches it.

`recorded/run.json` was written once, by the code before the first release: a job of which one task is done, one has
failed, one was interrupted with a checkpoint, and one was never begun but for attempts that ended in the other ways.
"""

import json
from typing import Any

import pytest

from local.program import ROOT
from tests.helpers.deployed import Deployed
from trainq.protocol import layout

RUN = json.loads((ROOT / "tests" / "recorded" / "run.json").read_text())
# Fails unless the interrupted task finds its checkpoint.
FINISH = """
test $TRAINQ_TASK != 2 || test $(cat $TRAINQ_CHECKPOINT/step) = 41
cat $TRAINQ_SHARDS/*/* > $TRAINQ_OUTPUT/model
"""


@pytest.fixture
def left(deployed: Deployed) -> Deployed:
    """A stack with what the older version has left in it."""
    for key, body in RUN["objects"].items():
        deployed.stack.s3.put_object(Bucket=deployed.stack.bucket_name, Key=key, Body=body.encode())
    for message in RUN["messages"]:
        attributes = {
            name: {"DataType": "Number", "StringValue": value} for name, value in message["attributes"].items()
        }
        deployed.stack.sqs.send_message(
            QueueUrl=deployed.stack.model_training_queue_url,
            MessageBody=message["body"],
            MessageGroupId=message["group"],
            MessageAttributes=attributes,
        )
    return deployed


def records(deployed: Deployed, prefix: str) -> list[dict[str, Any]]:
    return [deployed.read(key) for key in deployed.keys(prefix)]


def test_what_an_older_version_has_left_is_shown(left: Deployed) -> None:
    status = json.loads(left.trainq("status", "old", "--json", status=3).stdout)
    assert (status["state"], status["done"], status["tasks"], status["retrying"]) == ("running", 1, 4, {"1": 1})
    said = left.trainq("logs", "old", "1").stdout
    assert "failed: sh -c" in said
    assert "loss is nan" in said
    assert ", interrupted" in left.trainq("logs", "old", "2").stdout
    ended = [line.rsplit(", ", 1)[-1] for line in left.trainq("logs", "old", "3").stdout.splitlines()]
    assert sorted(ended) == ["beaten", "cancelled", "interrupted", "lost"]
    drawn = left.trainq("timeline", "old", "-o", str(left.folder / "old.svg")).stdout
    assert "3 done" not in drawn
    assert "2 interrupted" in drawn


def test_what_an_older_version_has_left_is_finished_and_fetched(left: Deployed) -> None:
    """The result that is there counts, the checkpoint is gone on from, counts of attempts go on."""
    before = left.read(layout.result("old", 0))
    left.run_worker("new", "sh", "-ec", FINISH)
    assert left.read(layout.result("old", 0)) == before
    results = records(left, layout.results("old"))
    assert [(each["task"], each["attempt_number"], each["failures_before"]) for each in results] == [
        (0, 1, 0),
        (1, 1, 0),
        (2, 2, 0),
        (3, 1, 0),
    ]
    left.trainq("fetch", "old", str(left.folder / "results"))
    models = [
        (left.folder / "results" / path).read_text() for path in ("0/deep/model", "1/model", "2/model", "3/model")
    ]
    assert models == ["shard 0shard 1", "shard 2shard 3", "shard 4shard 5", "shard 6shard 7"]
    assert left.waiting("model_training_queue_url") + left.in_flight("model_training_queue_url") == 0


def test_what_is_kept_in_the_bucket_has_the_fields_that_were_recorded(left: Deployed) -> None:
    """A field that is gone, or has another type, is another format: older and newer workers share a run."""
    left.run_worker("new", "sh", "-ec", "test $TRAINQ_TASK != 1")
    for kind in ("results/", "failures/"):
        then = {key: value for key, value in RUN["objects"].items() if key.startswith(f"runs/old/{kind}")}
        (recorded,) = (json.loads(value) for value in then.values())
        new = [each for each in records(left, f"runs/old/{kind}") if each["worker"] == "new"]
        assert new
        for each in new:
            assert {name: type(value) for name, value in each.items()} == {
                name: type(value) for name, value in recorded.items()
            }
