"""Policies of resources: of a queue, the bucket, the topic, the key, and the trust policy of a role."""

from collections.abc import Sequence
from typing import Any

from policies.statements import Document, Statement, deny_everyone, document, tls_only

# Objects that may be replaced: datasets, and objects that count only if a marker names them. All others can be created
# but not replaced. The list names these and not the markers since "*" matches "/": "runs/*/results/*" would also match
# an attempt's output that is called "results/...". No marker's key matches one of these patterns.
REPLACEABLE = ("datasets/*", "runs/*/attempts/*", "runs/*/plan/*", "runs/*/checkpoints/*", "runs/*/workers/*")


def queue(queue_arn: str) -> Document:
    """Deny requests without TLS."""
    return document(tls_only("sqs", [queue_arn]))


def bucket(bucket_arn: str) -> Document:
    """Deny requests without TLS, and unconditional writes of objects that are not REPLACEABLE.

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
    """Let alarms of this account and region publish, over TLS. The account's own principals need no statement here."""
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
    """Return the condition that CloudWatch acts for an alarm of this account (no confused deputy)."""
    return {
        "StringEquals": {"aws:SourceAccount": account_id},
        # Any partition, such as aws-us-gov: the account id is enough.
        "ArnLike": {"aws:SourceArn": f"arn:*:cloudwatch:{region}:{account_id}:alarm:*"},
    }


def encryption_key(account_id: str, region: str) -> Document:
    """Let the account grant rights to the key, and let alarms and log groups use it, which have no role of their own.

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


# Services that pass aws:SourceAccount when they assume a role. EC2 and Lambda do not.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
# https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
PASSING_SOURCE_ACCOUNT = ("ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com")


def trust(principals: list[str], account_id: str) -> Document:
    """Let principals assume a role: names of AWS services, and ARNs."""
    arns = [name for name in principals if name.startswith("arn:")]
    services = [name for name in principals if name not in arns]
    plain = [name for name in services if name not in PASSING_SOURCE_ACCOUNT]
    passing = [name for name in services if name in PASSING_SOURCE_ACCOUNT]
    # EKS Pod Identity also passes session tags.
    tagging = ["sts:TagSession"] if "pods.eks.amazonaws.com" in passing else []
    ours = {"StringEquals": {"aws:SourceAccount": account_id}}
    return document(
        *_trusted("LetTheseServicesAssumeTheRole", {"Service": plain}),
        *_trusted("LetTheseServicesAssumeTheRoleForThisAccount", {"Service": passing}, tagging, {"Condition": ours}),
        *_trusted("LetThesePrincipalsAssumeTheRole", {"AWS": arns}),
    )


def _trusted(sid: str, who: dict[str, list[str]], more: Sequence[str] = (), condition: Statement | None = None) -> list:
    if not any(who.values()):
        return []
    allowed = {"Sid": sid, "Effect": "Allow", "Principal": who, "Action": ["sts:AssumeRole", *more]}
    return [allowed | (condition or {})]
