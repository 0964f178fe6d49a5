"""Building blocks of AWS policy documents, as plain dicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Statement = dict[str, Any]
Document = dict[str, Any]


def document(*statements: Statement) -> Document:
    """Return a policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(sid: str, actions: list[str], resources: list[str]) -> Statement:
    """Allow the actions on the resources."""
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def deny_everyone(sid: str, action: str, resources: list[str], condition: dict[str, Any]) -> Statement:
    """Deny the action to every principal under the condition."""
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resources,
        "Condition": condition,
    }


def tls_only(service: str, resources: list[str]) -> Statement:
    """Deny every request to these resources that does not come over TLS."""
    return deny_everyone("DenyWhatIsNotTls", f"{service}:*", resources, {"Bool": {"aws:SecureTransport": "false"}})


def deny_deeper(actions: list[str], bucket_arn: str, names: Sequence[str]) -> Statement:
    """Deny `runs/JOB/.../NAME`: since "*" matches "/", a right to `runs/*/NAME` would be one to such keys, too.

    `runs/*/*/NAME` needs a segment more than `runs/JOB/NAME` has, so that it never matches that key itself.
    """
    return {
        "Sid": "LeaveDeeperKeysOfTheseNamesAlone",
        "Effect": "Deny",
        "Action": actions,
        "Resource": [f"{bucket_arn}/runs/*/*/{name}" for name in names],
    }


def list_bucket(bucket_arn: str) -> Statement:
    """Allow listing the bucket: without it S3 answers 403, not 404, for a key that does not exist yet.

    No `s3:prefix` condition: a GetObject carries no prefix, so the condition would bring the 403 back.
    """
    return allow("ListTheBucketSoThatAMissingKeyIs404", ["s3:ListBucket"], [bucket_arn])


def find_stack(parameter_arn: str) -> Statement:
    """Allow reading the stack's parameter."""
    return allow("FindTheStack", ["ssm:GetParameter"], [parameter_arn])


@dataclass(frozen=True)
class Keys:
    """The customer-managed key in use (None: AWS's own keys), the keys used before it, and the stack's region."""

    key_arn: str | None
    former_arns: Sequence[str]
    region: str

    def rights(self) -> list[Statement]:
        """Return statements that allow the keys through SQS and S3 only."""
        through = [f"{service}.{self.region}.amazonaws.com" for service in ("sqs", "s3")]
        condition = {"Condition": {"StringEquals": {"kms:ViaService": through}}}
        found = []
        if self.key_arn:
            actions = ["kms:Decrypt", "kms:GenerateDataKey"]
            found.append(allow("UseTheKeyThroughSqsAndS3", actions, [self.key_arn]) | condition)
        if self.former_arns:
            found.append(allow("ReadWhatFormerKeysEncrypted", ["kms:Decrypt"], list(self.former_arns)) | condition)
        return found
