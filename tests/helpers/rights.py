"""Reads the table of docs/security.md and tries the rights of each principal in the emulator."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from local.program import ACCOUNT, ROOT
from policies import statements
from tests.helpers.deployed import Deployed
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
    """Return the cells of the first table of docs/security.md."""
    found = []
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        cells = [each.strip(" `") for each in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 + len(WHO) and cells[2] in (YES, NO):
            found += [Cell(cells[0], cells[1], who, mark == YES) for who, mark in zip(WHO, cells[2:], strict=True)]
    return found


@dataclass(frozen=True)
class Tried:
    """The stack with the credentials of one principal."""

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
    """Return whether the call is allowed. It may still fail for another reason, such as an invalid receipt handle."""
    try:
        call()
    except ClientError as error:
        if status_of(error) == 403 or error.response["Error"]["Code"].startswith("AccessDenied"):
            return False
        if status_of(error) not in (400, 404, 412):
            raise
    return True


def named(deployed: Deployed) -> tuple[str, str]:
    """Return the function's log group and the stack's key, which are not among the outputs."""
    configuration = deployed.emulator.client("lambda").get_function_configuration(
        FunctionName=deployed.outputs["message_processor_name"]
    )
    attributes = deployed.stack.sqs.get_queue_attributes(
        QueueUrl=deployed.stack.message_queue_url, AttributeNames=["KmsMasterKeyId"]
    )["Attributes"]
    return configuration["LoggingConfig"]["LogGroup"], attributes["KmsMasterKeyId"]


def processor_policy(deployed: Deployed) -> statements.Document:
    """Return the policy inside the function's role."""
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
    """Return credentials of a new role with only these rights."""
    made = deployed.emulator.client("iam").create_policy(PolicyName=name, PolicyDocument=json.dumps(document))
    return deployed.emulator.role_credentials(name, made["Policy"]["Arn"])


def wrong(cells: Iterable[Cell], principals: dict[str, Tried]) -> list[str]:
    """Return the cells that differ from the rights in the emulator."""
    return [
        f"{cell.who} may {'' if tried else 'not '}{cell.action} ({cell.resource}), and the table says otherwise"
        for cell in cells
        if (tried := principals[cell.who].allows(cell.resource, cell.action)) != cell.allowed
    ]
