"""Patches MiniStack's authorization, in its process, where this project depends on AWS's and the two differ."""

import json
import secrets
from typing import Any

BATCH_ACTIONS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
# The KMS actions that AWS calls on behalf of the caller if a queue or a bucket has a key.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
KMS_ACTIONS = {
    "sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"),
    "sqs:ReceiveMessage": ("kms:Decrypt",),
    "s3:GetObject": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey",),
}
MOVING = ("StartMessageMoveTask", "ListMessageMoveTasks", "CancelMessageMoveTask")


def patch() -> None:
    """Patch batch actions, conditional writes, moving messages, writing logs, keys, and credentials of functions."""
    from ministack.core import iam_actions, iam_evaluator, lambda_runtime

    enforce = iam_evaluator.enforce
    extract, object_context = iam_actions.extract_iam_action, iam_actions._s3_object_context
    resource_arn = iam_actions.extract_resource_arn

    def extract_iam_action(*args: Any, **kwargs: Any) -> str | None:
        """Return the action that AWS checks. IAM has no batch actions: the right to the single one counts."""
        action = extract(*args, **kwargs)
        return BATCH_ACTIONS.get(action, action) if action else None

    def _s3_object_context(iam_action: str, query_params: dict, path: str, headers: dict) -> dict:
        """Add the condition key s3:if-none-match, which AWS sets for conditional writes."""
        context = object_context(iam_action, query_params, path, headers)
        if value := headers.get("if-none-match"):
            context["s3:if-none-match"] = value
        return context

    def extract_resource_arn(
        service: str, method: str, path: str, headers: dict, body: bytes, *rest: Any, **more: Any
    ) -> str:
        """Return the resource. Calls that move messages name the queue by ARN, and PutLogEvents names a stream."""
        action = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        if service == "sqs" and action in MOVING:
            return json.loads(body or b"{}").get("SourceArn", "*")
        found = resource_arn(service, method, path, headers, body, *rest, **more)
        if service == "logs" and action == "PutLogEvents":
            return f"{found}:log-stream:{json.loads(body)['logStreamName']}"
        return found

    vars(iam_actions).update(
        extract_iam_action=extract_iam_action,
        extract_resource_arn=extract_resource_arn,
        _s3_object_context=_s3_object_context,
    )

    def enforce_with_key(
        access_key_id: str, iam_action: str, service: str, region: str, resource_arn: str = "*", **more: Any
    ) -> Any:
        """Deny the action also if the caller may not use the key that encrypts the resource."""
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, **more)
        key_arn = _key_of(service, resource_arn) if not denied and iam_action in KMS_ACTIONS else None
        if key_arn:
            through = {"kms:ViaService": f"{service}.{region}.amazonaws.com"}
            for action in KMS_ACTIONS[iam_action]:
                denied = denied or enforce(access_key_id, action, "kms", region, key_arn, through)
        return denied

    vars(iam_evaluator).update(enforce=enforce_with_key)
    execution_credentials, salt = lambda_runtime.execution_credentials, secrets.token_hex(16)

    def secret_credentials(config: dict[str, Any]) -> dict[str, str]:
        """Return credentials of a function that cannot be guessed. MiniStack computes them from the ARNs of function
        and role, which are not secret; a salt before the role's ARN is. Only the end of the ARN is used otherwise."""
        return execution_credentials({**config, "Role": f"{salt}:{config['Role']}"})

    vars(lambda_runtime).update(execution_credentials=secret_credentials)


def _key_of(service: str, resource_arn: str) -> str | None:
    """Return the customer-managed key of a queue or of an object's bucket; None if there is none."""
    from ministack.services import s3, sqs

    if service == "sqs":
        return ((sqs._queue_by_arn(resource_arn) or {}).get("attributes") or {}).get("KmsMasterKeyId")
    name = resource_arn.removeprefix("arn:aws:s3:::").split("/")[0]
    return s3._bucket_default_sse_headers(name).get("x-amz-server-side-encryption-aws-kms-key-id")
