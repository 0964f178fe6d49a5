"""The table of docs/security.md, cell by cell, in the deployed system, with IAM, TLS and the key enforced."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.deploy import deploy
from local.emulator import Emulator
from policies import statements
from tests.helpers.deployed import Deployed
from tests.helpers.rights import (
    ANY,
    WHO,
    Tried,
    allowed,
    customer_policy,
    processor_policy,
    role_with,
    table,
    worker_policy,
    wrong,
)
from trainq.protocol.markers import status_of

# They share an emulator and a stack.
pytestmark = pytest.mark.xdist_group("rights")


@pytest.fixture(scope="module")
def emulator() -> Generator[Emulator]:
    """On http, too, to try what the policies refuse there."""
    with Emulator(plain=True) as running:
        yield running


@pytest.fixture(scope="module")
def deployed(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """One stack for all of these: nothing here changes it."""
    folder: Path = tmp_path_factory.mktemp("rights")
    return Deployed(emulator, deploy(emulator, folder / "stack.json"), folder)


@pytest.fixture(scope="module")
def principals(deployed: Deployed) -> dict[str, Tried]:
    unrelated = statements.document(statements.allow("KnowWhoIAm", ["sts:GetCallerIdentity"], ["*"]))
    credentials = {
        "message processor": role_with(deployed, "processor", processor_policy(deployed)),
        "worker": deployed.worker_credentials,
        "submitter": deployed.submitter_credentials,
        "operator": deployed.operator_credentials,
        "anyone else": role_with(deployed, "stranger", unrelated),
    }
    return {who: Tried(deployed, each) for who, each in credentials.items()}


def test_the_table_has_allowed_and_denied_cells_for_everybody() -> None:
    cells = table()
    assert len(cells) >= 60
    for who in WHO:
        marks = {cell.allowed for cell in cells if cell.who == who}
        assert marks == ({False} if who == "anyone else" else {True, False}), who


def test_the_table_names_every_prefix_that_a_policy_names(deployed: Deployed) -> None:
    """A prefix that somebody gets a right to must be in the table."""
    documents = [processor_policy(deployed), *(customer_policy(deployed, who) for who in WHO[1:4])]
    arn = f"arn:aws:s3:::{deployed.stack.bucket_name}/"
    named = {
        resource.removeprefix(arn)
        for document in documents
        for statement in document["Statement"]
        for resource in statement["Resource"]
        if statement["Effect"] == "Allow" and resource.startswith(arn)
    }
    keys = [cell.resource.replace("JOB", "j").replace("…", ANY) for cell in table() if "/" in cell.resource]
    for pattern in named:
        assert any(
            re.fullmatch(pattern.replace(".", r"\.").replace("?", ".").replace("*", ".*"), key) for key in keys
        ), pattern


@pytest.mark.parametrize("who", WHO)
def test_everybody_may_do_what_the_table_says_and_nothing_else(principals: dict[str, Tried], who: str) -> None:
    assert not wrong([cell for cell in table() if cell.who == who], principals)


def test_a_right_given_or_taken_shows(deployed: Deployed) -> None:
    """The check above can fail: with rights that the table does not have, and without one that it has."""
    more = worker_policy(deployed)
    everything = f"arn:aws:s3:::{deployed.stack.bucket_name}/*"
    more["Statement"].append(statements.allow("DeleteObjects", ["s3:DeleteObject"], [everything]))
    less = worker_policy(deployed)
    for statement in less["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != "sqs:ChangeMessageVisibility"]
    keyless = worker_policy(deployed)
    keyless["Statement"] = [each for each in keyless["Statement"] if each["Sid"] != "UseTheKeyThroughSqsAndS3"]
    cells = [cell for cell in table() if cell.who == "worker"]
    encrypted = [cell for cell in cells if cell.action in ("receive", "read")]
    found = {}
    for name, document, tried_on in (("more", more, cells), ("less", less, cells), ("keyless", keyless, encrypted)):
        tried = {"worker": Tried(deployed, role_with(deployed, f"worker-{name}", document))}
        found[name] = wrong(tried_on, tried)
    assert len(found["more"]) == 3, "delete: a dataset, an attempt's output, a result"
    assert all("worker may delete" in each for each in found["more"])
    (taken,) = found["less"]
    assert taken.startswith("worker may not change visibility (model training queue)")
    assert any("worker may not receive (model training queue)" in each for each in found["keyless"])
    assert any("worker may not read (datasets/…)" in each for each in found["keyless"])


@pytest.mark.parametrize(
    "key",
    [
        "runs/j/plan.json",
        "runs/j/dispatched.json",
        "runs/j/cancelled.json",
        "runs/j/results/0.json",
        "runs/j/failures/0/a.json",
        "runs/j/interruptions/0/a.json",
    ],
)
@pytest.mark.parametrize("who", ["worker", "submitter", "operator", "message processor"])
def test_what_is_committed_stays(deployed: Deployed, principals: dict[str, Tried], who: str, key: str) -> None:
    """The bucket's policy asks for a conditional write; the condition then fails."""
    s3, name = principals[who].client("s3"), deployed.stack.bucket_name
    deployed.stack.s3.put_object(Bucket=name, Key=key, Body=b"committed")
    assert not allowed(lambda: s3.put_object(Bucket=name, Key=key, Body=b"other")), "unconditional"
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket=name, Key=key, Body=b"other", IfNoneMatch="*")
    assert status_of(raised.value) in (412, 403)
    assert deployed.stack.s3.get_object(Bucket=name, Key=key)["Body"].read() == b"committed"


def test_nothing_is_to_be_had_without_tls(deployed: Deployed, principals: dict[str, Tried]) -> None:
    """Each with a right that holds over TLS, so that it is TLS which makes the difference."""
    holders = {
        "message_queue_url": "operator",
        "message_dead_letter_queue_url": "operator",
        "model_training_queue_url": "worker",
        "dead_letter_queue_url": "operator",
    }
    for queue, who in holders.items():
        for plain in (False, True):
            sqs = deployed.emulator.client("sqs", principals[who].credentials, plain=plain)
            asked = {"QueueUrl": deployed.outputs[queue], "AttributeNames": ["QueueArn"]}
            assert allowed(lambda sqs=sqs, asked=asked: sqs.get_queue_attributes(**asked)) != plain, queue
    for plain in (False, True):
        s3 = deployed.emulator.client("s3", principals["worker"].credentials, plain=plain)
        assert allowed(lambda s3=s3: s3.get_object(Bucket=deployed.stack.bucket_name, Key="datasets/d/2")) != plain
