"""The function in the emulator, as deployed."""

import json
from pathlib import Path
from typing import Any

from local.deploy import deploy
from local.emulator import Emulator
from local.faults import Faults
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from trainq.protocol import layout


def test_a_listing_is_parsed_as_boto3_parses_it(entry: Any, emulator: Emulator) -> None:
    """Only its keys and sizes, many times faster; and whatever its keys look like."""
    usual = emulator.client("s3")
    names = [
        "1",
        "a b+c%20d",
        "x&amp;<ETag>y</ETag>",
        "é/ü\u3042",
        "</Key>",
        "q\"'",
        "\u3000\u202f\xa0",
        "\u06cc\u200c\U0001f469\u200d",
    ]
    usual.create_bucket(Bucket="listings")
    for name in names:
        usual.put_object(Bucket="listings", Key=f"datasets/d/{name}", Body=name.encode())
    quick = emulator.client("s3")
    parsed: list[dict[str, Any]] = []

    def parse(**event: Any) -> None:
        entry.parse_listing(**event)
        parsed.append(event["customized_response_dict"])

    quick.meta.events.register_first("before-parse.s3.ListObjectsV2", parse)
    for size in (1000, 1):
        pages, expected = (
            list(each.get_paginator("list_objects_v2").paginate(Bucket="listings", PaginationConfig={"PageSize": size}))
            for each in (quick, usual)
        )
        found, known = ([each for page in listed for each in page["Contents"]] for listed in (pages, expected))
        assert found == [{"Key": each["Key"], "Size": each["Size"]} for each in known]
        assert {each["Key"] for each in found} == {f"datasets/d/{name}" for name in names}
    assert all(parsed), "otherwise botocore has parsed it"


def test_a_job_that_takes_several_invocations_reaches_the_queue_whole(tmp_path: Path) -> None:
    """With the shortest timeout that can be set, of which the last two seconds are kept, and a slow SQS."""
    slow = Faults(rate=1, seed=0, log=str(tmp_path / "faults.jsonl"), slow_seconds=0.25, kinds=("slow",))
    tasks = 2_000
    with Emulator(tmp_path / "emulator", slow) as emulator:
        deployed = Deployed(
            emulator,
            deploy(emulator, tmp_path / "stack.json", function_timeout=5, model_training_visibility_timeout=600),
            tmp_path,
        )
        deployed.put_dataset("d", {f"{number:02}": b"x" for number in range(10)})
        deployed.submit(job_id="j", dataset="datasets/d/", grid={"seed": list(range(tasks // 10))})
        eventually(lambda: deployed.keys(layout.dispatched("j")), "all tasks are sent")
        eventually(lambda: not deployed.in_flight("message_queue_url"), "the message is deleted")
        assert deployed.waiting("message_queue_url") == 0
        assert deployed.waiting("message_dead_letter_queue_url") == 0
        found = [json.loads(each["Body"])["task"] for each in deployed.receive_all("model_training_queue_url")]
        # At least once: on a machine that is busy an invocation may be cut off before it says how far it got.
        assert set(found) == set(range(tasks))
        logs = emulator.client("logs")
        (group,) = logs.describe_log_groups()["logGroups"]
        lines = [each["message"] for each in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]]
        assert sum("the next invocation goes on" in line for line in lines) >= 1
        assert [line for line in lines if "left for redelivery" in line] == [], "that would use up a receive"
