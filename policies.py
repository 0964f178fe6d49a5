"""AWS policy documents as plain dicts: who may do what. Pure functions of ARNs; no resource is created here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Statement = dict[str, Any]
Document = dict[str, Any]

# What may be written freely: datasets, and what counts only if a marker names it. Everything else in the bucket can be
# created but not replaced. Said this way round since "*" matches "/": a pattern for the markers, "runs/*/results/*",
# would match an attempt's output that is called "results/..." too, while no marker's key has one of these in it.
REPLACEABLE = ("datasets/*", "runs/*/attempts/*", "runs/*/plan/*", "runs/*/checkpoints/*", "runs/*/workers/*")

# Below `runs/JOB/`.
WRITTEN_BY_THE_FUNCTION = ("plan.json", "plan/*", "dispatched.json")
# With as many segments as each key has, at least. Keys with more cannot be denied, since an attempt's files are called
# as its command likes ("results/x/y.json"): who reads these prefixes leaves out what does not fit.
WRITTEN_BY_WORKERS = (
    "attempts/*/*/*",
    "results/*.json",
    "failures/*/*.json",
    "interruptions/*/*.json",
    "checkpoints/*/*",
    "workers/*.json",
)


def document(*statements: Statement) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(sid: str, actions: list[str], resources: list[str]) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def deny_everyone(sid: str, action: str, resources: list[str], condition: dict[str, Any]) -> Statement:
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resources,
        "Condition": condition,
    }


def tls_only(service: str, resources: list[str]) -> Statement:
    """Refuse every request to these resources that does not come over TLS."""
    return deny_everyone("DenyWhatIsNotTls", f"{service}:*", resources, {"Bool": {"aws:SecureTransport": "false"}})


def queue(queue_arn: str) -> Document:
    return document(tls_only("sqs", [queue_arn]))


def bucket(bucket_arn: str) -> Document:
    """TLS only, and what is committed is never overwritten.

    `s3:if-none-match` is present only on conditional writes:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
    """
    return document(
        tls_only("s3", [bucket_arn, f"{bucket_arn}/*"]),
        {
            "Sid": "DenyOverwritingWhatIsCommitted",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "NotResource": [f"{bucket_arn}/{prefix}" for prefix in REPLACEABLE],
            "Condition": {"Null": {"s3:if-none-match": "true"}},
        },
    )


def topic(topic_arn: str, account_id: str, region: str) -> Document:
    """Alarms of this account and region publish, over TLS. Owners subscribe by the rights that they have anyway."""
    return document(
        {
            "Sid": "LetAlarmsOfThisAccountPublish",
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": topic_arn,
            "Condition": of_alarms(account_id, region),
        },
        deny_everyone("DenyWhatIsNotTls", "sns:Publish", [topic_arn], {"Bool": {"aws:SecureTransport": "false"}}),
    )


def of_alarms(account_id: str, region: str) -> dict[str, Any]:
    """The condition that CloudWatch acts for an alarm of this account, and is nobody else's deputy."""
    return {
        "StringEquals": {"aws:SourceAccount": account_id},
        # Any partition, such as aws-us-gov: the account says it all.
        "ArnLike": {"aws:SourceArn": f"arn:*:cloudwatch:{region}:{account_id}:alarm:*"},
    }


def encryption_key(account_id: str, region: str) -> Document:
    """The account's administrators say who may use the key; alarms and logs, which have no role to say it with, here.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    """
    return document(
        {
            "Sid": "LetThisAccountGrantRightsToTheKey",
            "Effect": "Allow",
            "Principal": {"AWS": account_id},
            "Action": "kms:*",
            # In a key's own policy "*" is that key.
            "Resource": "*",
        },
        {
            "Sid": "LetAlarmsOfThisAccountUseTheKey",
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
            "Condition": of_alarms(account_id, region),
        },
        {
            "Sid": "LetLogGroupsOfThisAccountUseTheKey",
            "Effect": "Allow",
            "Principal": {"Service": f"logs.{region}.amazonaws.com"},
            "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
            "Resource": "*",
            "Condition": {
                "ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:*:logs:{region}:{account_id}:log-group:*"}
            },
        },
    )


# The services that say for whom they act when they assume a role; EC2 and Lambda do not.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
# https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
SAY_FOR_WHOM = ("ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com")


def trust(principals: list[str], account_id: str) -> Document:
    """Who may assume a role: names of AWS services, and ARNs."""
    arns = [name for name in principals if name.startswith("arn:")]
    services = [name for name in principals if name not in arns]
    plain = [name for name in services if name not in SAY_FOR_WHOM]
    saying = [name for name in services if name in SAY_FOR_WHOM]
    # EKS Pod Identity passes session tags along.
    tagging = ["sts:TagSession"] if "pods.eks.amazonaws.com" in saying else []
    ours = {"StringEquals": {"aws:SourceAccount": account_id}}
    return document(
        *_trusted("LetTheseServicesAssumeTheRole", {"Service": plain}),
        *_trusted("LetTheseServicesAssumeTheRoleForThisAccount", {"Service": saying}, tagging, {"Condition": ours}),
        *_trusted("LetThesePrincipalsAssumeTheRole", {"AWS": arns}),
    )


def _trusted(sid: str, who: dict[str, list[str]], more: Sequence[str] = (), condition: Statement | None = None) -> list:
    if not any(who.values()):
        return []
    allowed = {"Sid": sid, "Effect": "Allow", "Principal": who, "Action": ["sts:AssumeRole", *more]}
    return [allowed | (condition or {})]


@dataclass(frozen=True)
class Keys:
    """What encrypts, if not AWS's own keys, and what encrypted before; `region` is where the stack is."""

    key_arn: str | None
    former_arns: Sequence[str]
    region: str

    def rights(self) -> list[Statement]:
        """For whom reads or writes what a key encrypts: only through the two services that hold it."""
        through = [f"{service}.{self.region}.amazonaws.com" for service in ("sqs", "s3")]
        condition = {"Condition": {"StringEquals": {"kms:ViaService": through}}}
        found = []
        if self.key_arn:
            actions = ["kms:Decrypt", "kms:GenerateDataKey"]
            found.append(allow("UseTheKeyThroughSqsAndS3", actions, [self.key_arn]) | condition)
        if self.former_arns:
            found.append(allow("ReadWhatFormerKeysEncrypted", ["kms:Decrypt"], list(self.former_arns)) | condition)
        return found


def find_stack(parameter_arn: str) -> Statement:
    return allow("FindTheStack", ["ssm:GetParameter"], [parameter_arn])


def deny_deeper(actions: list[str], bucket_arn: str, names: Sequence[str]) -> Statement:
    """Refuse `runs/JOB/.../NAME`: since "*" matches "/", a right to `runs/*/NAME` would be one to such keys, too.

    `runs/*/*/NAME` needs a segment more than `runs/JOB/NAME` has, so that it never matches that key itself.
    """
    return {
        "Sid": "LeaveDeeperKeysOfTheseNamesAlone",
        "Effect": "Deny",
        "Action": actions,
        "Resource": [f"{bucket_arn}/runs/*/*/{name}" for name in names],
    }


def list_bucket(bucket_arn: str) -> Statement:
    """Without it S3 answers 403, not 404, for a key that does not exist yet.

    No `s3:prefix` condition: a GetObject carries no prefix, so the condition would bring the 403 back.
    """
    return allow("ListTheBucketSoThatAMissingKeyIs404", ["s3:ListBucket"], [bucket_arn])


def message_processor(
    message_queue_arn: str,
    message_dlq_arn: str,
    training_queue_arn: str,
    bucket_arn: str,
    log_group_arn: str,
    keys: Keys,
) -> Document:
    """The function: takes training messages, sends their tasks, hands on what is left when its time is up, puts
    aside what can never succeed.
    """
    return document(
        allow(
            "TakeTrainingMessages",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            [message_queue_arn],
        ),
        allow(
            "SendTasksHandMessagesOnAndPutThemAside",
            ["sqs:SendMessage"],
            [training_queue_arn, message_queue_arn, message_dlq_arn],
        ),
        list_bucket(bucket_arn),
        allow(
            "ReadPlans",
            ["s3:GetObject"],
            [f"{bucket_arn}/runs/*/{name}" for name in (*WRITTEN_BY_THE_FUNCTION, "cancelled.json")],
        ),
        allow(
            "WritePlans",
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            [f"{bucket_arn}/runs/*/{name}" for name in WRITTEN_BY_THE_FUNCTION],
        ),
        deny_deeper(
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
            bucket_arn,
            (*WRITTEN_BY_THE_FUNCTION, "cancelled.json"),
        ),
        allow("WriteItsLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn}:*"]),
        # X-Ray has no resources to name: these two actions accept only "*".
        allow("SendTraces", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]),
        *keys.rights(),
    )


def worker(
    training_queue_arn: str,
    training_dlq_arn: str,
    bucket_arn: str,
    parameter_arn: str,
    keys: Keys,
) -> Document:
    """A worker machine: takes tasks, reads shards, writes what its attempts bring. It deletes no object."""
    return document(
        allow(
            "TakeTasks",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
            [training_queue_arn],
        ),
        allow("HandTasksOverAndPutThemAside", ["sqs:SendMessage"], [training_queue_arn, training_dlq_arn]),
        list_bucket(bucket_arn),
        allow("ReadDatasetsAndRuns", ["s3:GetObject"], [f"{bucket_arn}/datasets/*", f"{bucket_arn}/runs/*"]),
        allow(
            "WriteWhatAttemptsBring",
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            [f"{bucket_arn}/runs/*/{name}" for name in WRITTEN_BY_WORKERS],
        ),
        find_stack(parameter_arn),
        *keys.rights(),
    )


def submitter(
    message_queue_arn: str,
    training_queue_arn: str,
    bucket_arn: str,
    parameter_arn: str,
    keys: Keys,
) -> Document:
    """A person or a pipeline: uploads datasets, submits jobs, follows them, fetches results."""
    return document(
        allow("SubmitJobs", ["sqs:SendMessage"], [message_queue_arn]),
        allow("SeeBacklogs", ["sqs:GetQueueAttributes"], [message_queue_arn, training_queue_arn]),
        list_bucket(bucket_arn),
        allow("ReadDatasetsAndRuns", ["s3:GetObject"], [f"{bucket_arn}/datasets/*", f"{bucket_arn}/runs/*"]),
        allow("UploadDatasets", ["s3:PutObject", "s3:AbortMultipartUpload"], [f"{bucket_arn}/datasets/*"]),
        allow("CancelJobs", ["s3:PutObject"], [f"{bucket_arn}/runs/*/cancelled.json"]),
        deny_deeper(["s3:PutObject"], bucket_arn, ["cancelled.json"]),
        find_stack(parameter_arn),
        *keys.rights(),
    )


def operator(
    queue_arns: list[str],
    dlq_arns: list[str],
    bucket_arn: str,
    parameter_arn: str,
    keys: Keys,
) -> Document:
    """Whoever is on call: reads runs, looks into the dead letter queues and moves messages back."""
    return document(
        allow("SeeBacklogs", ["sqs:GetQueueAttributes"], queue_arns + dlq_arns),
        allow(
            "HandleDeadLetters",
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:StartMessageMoveTask",
                "sqs:CancelMessageMoveTask",
                "sqs:ListMessageMoveTasks",
            ],
            dlq_arns,
        ),
        allow("SendThemBack", ["sqs:SendMessage"], queue_arns),
        list_bucket(bucket_arn),
        allow("ReadRuns", ["s3:GetObject"], [f"{bucket_arn}/runs/*"]),
        allow("CancelJobs", ["s3:PutObject"], [f"{bucket_arn}/runs/*/cancelled.json"]),
        deny_deeper(["s3:PutObject"], bucket_arn, ["cancelled.json"]),
        find_stack(parameter_arn),
        *keys.rights(),
    )
