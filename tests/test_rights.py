"""Who may do what in the deployed system, with IAM and TLS enforced: the denied as well as the allowed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import policies
from local.deploy import deploy
from local.emulator import Emulator
from tests.conftest import Deployed
from trainq.markers import status_of

QUEUES = ("message_queue_url", "message_dead_letter_queue_url", "model_training_queue_url", "dead_letter_queue_url")


@pytest.fixture(scope="module")
def deployed(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """One stack for all of these: nothing here changes it."""
    folder: Path = tmp_path_factory.mktemp("rights")
    return Deployed(emulator, deploy(emulator, folder / "stack.json"), folder)


@pytest.fixture(scope="module")
def processor_credentials(deployed: Deployed) -> dict[str, str]:
    """The function's own rights, which are part of its role, on a role that a test may assume."""
    iam = deployed.emulator.client("iam")
    name = (
        deployed.emulator.client("lambda")
        .get_function_configuration(FunctionName=deployed.outputs["message_processor_name"])["Role"]
        .rsplit("/", 1)[-1]
    )
    (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    text = document if isinstance(document, str) else json.dumps(document)
    arn = iam.create_policy(PolicyName=f"copy-of-{policy}", PolicyDocument=text)["Policy"]["Arn"]
    return deployed.emulator.role_credentials(f"copy-of-{name}", arn)


@pytest.fixture(scope="module")
def principals(deployed: Deployed, processor_credentials: dict[str, str]) -> dict[str, dict[str, str]]:
    return {
        "worker": deployed.worker_credentials,
        "submitter": deployed.submitter_credentials,
        "operator": deployed.operator_credentials,
        "processor": processor_credentials,
    }


def allowed(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ClientError as error:
        status = status_of(error)
    else:
        status = 200
    # Allowed may still be refused for another reason: no such key, a made-up receipt handle.
    assert status in (200, 400, 403, 404), status
    return status != 403


SEND = {
    "message_queue_url": {"submitter", "operator", "processor"},
    "message_dead_letter_queue_url": {"processor"},
    "model_training_queue_url": {"processor", "operator", "worker"},
    "dead_letter_queue_url": {"worker"},
}
RECEIVE = {
    "message_queue_url": {"processor"},
    "message_dead_letter_queue_url": {"operator"},
    "model_training_queue_url": {"worker"},
    "dead_letter_queue_url": {"operator"},
}


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("who", ["worker", "submitter", "operator", "processor"])
def test_a_queue_is_sent_to_and_read_by_those_who_must_and_nobody_else(
    deployed: Deployed, principals: dict[str, dict[str, str]], who: str, queue: str
) -> None:
    sqs = deployed.emulator.client("sqs", principals[who])
    url = deployed.outputs[queue]
    assert allowed(lambda: sqs.send_message(QueueUrl=url, MessageBody="{}")) == (who in SEND[queue]), "send"
    calls = {
        "receive": lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0, VisibilityTimeout=0),
        "delete": lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle="none"),
        "hide": lambda: sqs.change_message_visibility(QueueUrl=url, ReceiptHandle="none", VisibilityTimeout=0),
    }
    for what, call in calls.items():
        assert allowed(call) == (who in RECEIVE[queue]), what
    assert not allowed(lambda: sqs.purge_queue(QueueUrl=url)), "purge"
    assert not allowed(lambda: sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})), "change"


READ = {
    "datasets/d/1": {"worker", "submitter"},
    "runs/j/plan.json": {"worker", "submitter", "operator", "processor"},
    "runs/j/results/0.json": {"worker", "submitter", "operator"},
}
WRITE = {
    "datasets/d/1": {"submitter"},
    "runs/j/plan/groups.jsonl": {"processor"},
    "runs/j/attempts/0/a/model": {"worker"},
    "runs/j/checkpoints/0/a/model": {"worker"},
    "runs/j/workers/w1.json": {"worker"},
}
# Only with If-None-Match.
COMMIT = {
    "runs/j/plan.json": {"processor"},
    "runs/j/dispatched.json": {"processor"},
    "runs/j/results/0.json": {"worker"},
    "runs/j/failures/0/a.json": {"worker"},
    "runs/j/interruptions/0/a.json": {"worker"},
    "runs/j/cancelled.json": {"submitter", "operator"},
    "elsewhere/1": set(),
}


@pytest.mark.parametrize("who", ["worker", "submitter", "operator", "processor"])
def test_each_prefix_is_read_and_written_by_those_who_must_and_nobody_else(
    deployed: Deployed, principals: dict[str, dict[str, str]], who: str
) -> None:
    s3 = deployed.emulator.client("s3", principals[who])
    name = deployed.stack.bucket_name
    for key, readers in READ.items():
        assert allowed(lambda key=key: s3.get_object(Bucket=name, Key=key)) == (who in readers), f"read {key}"
    for key, writers in WRITE.items():
        assert allowed(lambda key=key: s3.put_object(Bucket=name, Key=key)) == (who in writers), f"write {key}"
    for key in (*READ, *WRITE):
        assert not allowed(lambda key=key: s3.delete_object(Bucket=name, Key=key)), f"delete {key}"
    assert allowed(lambda: s3.list_objects_v2(Bucket=name)), "without it a missing key is a 403"
    assert not allowed(lambda: s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"}))
    assert not allowed(lambda: s3.delete_bucket_policy(Bucket=name))


@pytest.mark.parametrize("key", COMMIT)
@pytest.mark.parametrize("who", ["worker", "submitter", "operator", "processor"])
def test_what_is_committed_cannot_be_overwritten_by_anybody(
    deployed: Deployed, principals: dict[str, dict[str, str]], who: str, key: str
) -> None:
    """The bucket's policy asks for a conditional write; the condition then fails."""
    s3 = deployed.emulator.client("s3", principals[who])
    name = deployed.stack.bucket_name
    deployed.stack.s3.put_object(Bucket=name, Key=key, Body=b"committed")
    assert not allowed(lambda: s3.put_object(Bucket=name, Key=key, Body=b"other")), "unconditional"
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket=name, Key=key, Body=b"other", IfNoneMatch="*")
    assert status_of(raised.value) == (412 if who in COMMIT[key] else 403)
    assert deployed.stack.s3.get_object(Bucket=name, Key=key)["Body"].read() == b"committed"


def test_nothing_is_to_be_had_without_tls(deployed: Deployed, principals: dict[str, dict[str, str]]) -> None:
    """Each with a right that holds over TLS, so that it is TLS which makes the difference."""
    holders = {
        "message_queue_url": "submitter",
        "message_dead_letter_queue_url": "operator",
        "model_training_queue_url": "worker",
        "dead_letter_queue_url": "operator",
    }
    for queue, who in holders.items():
        for plain in (False, True):
            sqs = deployed.emulator.client("sqs", principals[who], plain=plain)
            asked = {"QueueUrl": deployed.outputs[queue], "AttributeNames": ["QueueArn"]}
            assert allowed(lambda sqs=sqs, asked=asked: sqs.get_queue_attributes(**asked)) != plain, queue
    for plain in (False, True):
        s3 = deployed.emulator.client("s3", principals["worker"], plain=plain)
        assert allowed(lambda s3=s3: s3.get_object(Bucket=deployed.stack.bucket_name, Key="datasets/d/2")) != plain


def test_a_stranger_may_do_nothing(deployed: Deployed) -> None:
    iam = deployed.emulator.client("iam")
    unrelated = policies.document(policies.allow("KnowWhoIAm", ["sts:GetCallerIdentity"], ["*"]))
    arn = iam.create_policy(PolicyName="stranger", PolicyDocument=json.dumps(unrelated))["Policy"]["Arn"]
    credentials = deployed.emulator.role_credentials("stranger", arn)
    sqs, s3 = (deployed.emulator.client(service, credentials) for service in ("sqs", "s3"))
    for queue in QUEUES:
        assert not allowed(lambda queue=queue: sqs.receive_message(QueueUrl=deployed.outputs[queue], WaitTimeSeconds=0))
    assert not allowed(lambda: s3.list_objects_v2(Bucket=deployed.stack.bucket_name))
