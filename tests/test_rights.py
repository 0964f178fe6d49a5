"""The table of docs/security.md, cell by cell, in the deployed system, with IAM, TLS and the key enforced."""

import json
import re
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.deploy import deploy
from local.emulator import Emulator
from local.program import ACCOUNT, ROOT
from policies import statements
from tests.conftest import Deployed
from trainq.protocol.markers import status_of

# For "…": enough segments for every pattern.
ANY = "0/a/b.json"
YES, NO = "✓", "\N{EN DASH}"
WHO = ("message processor", "worker", "submitter", "operator", "anyone else")
QUEUES = {
    "message queue": "message_queue_url",
    "message dead letter queue": "message_dead_letter_queue_url",
    "model training queue": "model_training_queue_url",
    "dead letter queue": "dead_letter_queue_url",
}


@dataclass(frozen=True)
class Cell:
    resource: str
    action: str
    who: str
    allowed: bool


def table() -> list[Cell]:
    """The first table of docs/security.md."""
    found = []
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        cells = [each.strip(" `") for each in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 + len(WHO) and cells[2] in (YES, NO):
            found += [Cell(cells[0], cells[1], who, mark == YES) for who, mark in zip(WHO, cells[2:], strict=True)]
    return found


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


@dataclass(frozen=True)
class Tried:
    """The stack as one principal meets it."""

    deployed: Deployed
    credentials: dict[str, str]
    clients: dict[str, Any] = field(default_factory=dict)

    def allows(self, resource: str, action: str) -> bool:
        if resource in QUEUES:
            call = self._queue_call(action, self.deployed.outputs[QUEUES[resource]])
        elif "/" in resource:
            call = self._object_call(action, resource)
        else:
            call = self._other_call(resource, action)
        return allowed(call)

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = self.deployed.emulator.client(service, self.credentials)
        return self.clients[service]

    def _queue_call(self, action: str, url: str) -> Callable[[], Any]:
        sqs = self.client("sqs")
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{url.rsplit('/', 1)[-1]}"
        return {
            "send": lambda: sqs.send_message(QueueUrl=url, MessageBody="{}"),
            "receive": lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0, VisibilityTimeout=0),
            "delete": lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle="none"),
            "change visibility": lambda: sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle="none", VisibilityTimeout=0
            ),
            "look at counts": lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]),
            "move back": lambda: sqs.start_message_move_task(SourceArn=arn),
            "purge": lambda: sqs.purge_queue(QueueUrl=url),
            "change settings": lambda: sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"}),
        }[action]

    def _object_call(self, action: str, pattern: str) -> Callable[[], Any]:
        s3, bucket = self.client("s3"), self.deployed.stack.bucket_name
        key = pattern.replace("JOB", "j").replace("…", ANY)
        return {
            "read": lambda: s3.get_object(Bucket=bucket, Key=key),
            "create": lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"created", IfNoneMatch="*"),
            "write": lambda: s3.put_object(Bucket=bucket, Key=key, Body=b"written"),
            "delete": lambda: s3.delete_object(Bucket=bucket, Key=key),
        }[action]

    def _other_call(self, resource: str, action: str) -> Callable[[], Any]:
        outputs, bucket = self.deployed.outputs, self.deployed.stack.bucket_name
        s3, ssm, kms = (self.client(service) for service in ("s3", "ssm", "kms"))
        function = outputs["message_processor_name"]
        logs, (group, key_id) = self.client("logs"), named(self.deployed)
        suspended = {"Status": "Suspended"}
        return {
            ("bucket", "list"): lambda: s3.list_objects_v2(Bucket=bucket),
            ("bucket", "read old versions"): lambda: s3.get_object(Bucket=bucket, Key="datasets/a", VersionId="1"),
            ("bucket", "delete old versions"): lambda: s3.delete_object(Bucket=bucket, Key="datasets/a", VersionId="1"),
            ("bucket", "change versioning"): lambda: s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration=suspended
            ),
            ("bucket", "change its policy"): lambda: s3.delete_bucket_policy(Bucket=bucket),
            ("stack parameter", "read"): lambda: ssm.get_parameter(Name=outputs["stack_parameter"]),
            ("stack parameter", "write"): lambda: ssm.put_parameter(
                Name=outputs["stack_parameter"], Value="{}", Type="String", Overwrite=True
            ),
            ("encryption key", "use directly"): lambda: kms.generate_data_key(KeyId=key_id, KeySpec="AES_256"),
            ("alarm topic", "publish"): lambda: self.client("sns").publish(
                TopicArn=outputs["alarm_topic_arn"], Message="fire"
            ),
            ("function's log group", "write"): lambda: logs.put_log_events(
                logGroupName=group, logStreamName="none", logEvents=[{"timestamp": 0, "message": "mine"}]
            ),
            ("function", "invoke"): lambda: self.client("lambda").invoke(FunctionName=function),
            ("worker role", "assume"): lambda: self.client("sts").assume_role(
                RoleArn=outputs["worker_role_arn"], RoleSessionName="mine"
            ),
        }[resource, action]


def allowed(call: Callable[[], Any]) -> bool:
    """Also what is refused for another reason: no such key, a made-up receipt handle, something in its place."""
    try:
        call()
    except ClientError as error:
        if status_of(error) == 403 or error.response["Error"]["Code"].startswith("AccessDenied"):
            return False
        if status_of(error) not in (400, 404, 412):
            raise
    return True


def named(deployed: Deployed) -> tuple[str, str]:
    """The function's log group and the stack's key, which are no outputs."""
    configuration = deployed.emulator.client("lambda").get_function_configuration(
        FunctionName=deployed.outputs["message_processor_name"]
    )
    attributes = deployed.stack.sqs.get_queue_attributes(
        QueueUrl=deployed.stack.message_queue_url, AttributeNames=["KmsMasterKeyId"]
    )["Attributes"]
    return configuration["LoggingConfig"]["LogGroup"], attributes["KmsMasterKeyId"]


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


def processor_policy(deployed: Deployed) -> statements.Document:
    """The function's own rights, which are part of its role."""
    iam = deployed.emulator.client("iam")
    name = (
        deployed.emulator.client("lambda")
        .get_function_configuration(FunctionName=deployed.outputs["message_processor_name"])["Role"]
        .rsplit("/", 1)[-1]
    )
    (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return parsed(iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"])


def worker_policy(deployed: Deployed) -> statements.Document:
    return customer_policy(deployed, "worker")


def customer_policy(deployed: Deployed, who: str) -> statements.Document:
    arn = deployed.outputs[f"{who}_policy_arn"]
    answer = deployed.emulator.client("iam").get_policy_version(PolicyArn=arn, VersionId="v1")
    return parsed(answer["PolicyVersion"]["Document"])


def parsed(document: Any) -> statements.Document:
    return document if isinstance(document, dict) else json.loads(document)


def role_with(deployed: Deployed, name: str, document: statements.Document) -> dict[str, str]:
    """Credentials of a new role with just these rights."""
    made = deployed.emulator.client("iam").create_policy(PolicyName=name, PolicyDocument=json.dumps(document))
    return deployed.emulator.role_credentials(name, made["Policy"]["Arn"])


def wrong(cells: Iterable[Cell], principals: dict[str, Tried]) -> list[str]:
    """Where the system does not do what the table says."""
    return [
        f"{cell.who} may {'' if tried else 'not '}{cell.action} ({cell.resource}), and the table says otherwise"
        for cell in cells
        if (tried := principals[cell.who].allows(cell.resource, cell.action)) != cell.allowed
    ]


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
        assert any(re.fullmatch(pattern.replace(".", r"\.").replace("*", ".*"), key) for key in keys), pattern


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
        "message_queue_url": "submitter",
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
