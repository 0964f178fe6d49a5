"""Stands in for the AWS provider: creates each registered resource in the emulator.

Each resource type of the program has a function that takes its inputs and returns its id and the properties that AWS
adds. Inputs have Pulumi's names (camelCase): AWS's own with a lower-case first letter.
"""

import io
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from local.program import plain
from local.provider_bucket import (
    Inputs,
    Made,
    bucket,
    bucket_encryption,
    bucket_lifecycle,
    bucket_logging,
    bucket_ownership,
    bucket_policy,
    bucket_public_access_block,
    bucket_versioning,
    capitalized,
)

SERVICES = ("sqs", "s3", "iam", "lambda", "logs", "sns", "cloudwatch", "kms", "ssm")


class Provider:
    """Creates resources in the AWS of the environment variables (see `Emulator.environment`)."""

    def __init__(self) -> None:
        client: Any = boto3.client
        self.aws = {name: client(name) for name in SERVICES}

    def create(self, kind: str, name: str, inputs: Inputs) -> Made:
        if kind not in MAKERS:
            raise NotImplementedError(f"{kind} ({name}): say in local/provider.py how to make one in the emulator")
        # As Pulumi names resources without a physical name: the logical name and a random suffix.
        return MAKERS[kind](self.aws, f"{name}-{uuid.uuid4().hex[:7]}", plain(inputs))


def queue(aws: Inputs, name: str, inputs: Inputs) -> Made:
    attributes = {
        "VisibilityTimeout": inputs["visibilityTimeoutSeconds"],
        "MessageRetentionPeriod": inputs["messageRetentionSeconds"],
        "ReceiveMessageWaitTimeSeconds": inputs["receiveWaitTimeSeconds"],
        "MaximumMessageSize": inputs["maxMessageSize"],
        "SqsManagedSseEnabled": str(inputs.get("sqsManagedSseEnabled", False)).lower(),
        "KmsMasterKeyId": inputs.get("kmsMasterKeyId"),
        "KmsDataKeyReusePeriodSeconds": inputs.get("kmsDataKeyReusePeriodSeconds"),
    }
    given = {key: str(value) for key, value in attributes.items() if value is not None}
    url = aws["sqs"].create_queue(QueueName=name, Attributes=given)["QueueUrl"]
    arn = aws["sqs"].get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return url, {"url": url, "arn": arn, "name": name}


def queue_attribute(attribute: str, key: str) -> Callable[[Inputs, str, Inputs], Made]:
    def make(aws: Inputs, name: str, inputs: Inputs) -> Made:
        aws["sqs"].set_queue_attributes(QueueUrl=inputs["queueUrl"], Attributes={attribute: inputs[key]})
        return inputs["queueUrl"], {}

    return make


def role(aws: Inputs, name: str, inputs: Inputs) -> Made:
    boundary = {"PermissionsBoundary": inputs["permissionsBoundary"]} if "permissionsBoundary" in inputs else {}
    made = aws["iam"].create_role(
        RoleName=name,
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Description=inputs["description"],
        **boundary,
    )["Role"]
    return name, {"name": name, "arn": made["Arn"]}


def role_policy(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["iam"].put_role_policy(RoleName=inputs["role"], PolicyName=name, PolicyDocument=inputs["policy"])
    return f"{inputs['role']}:{name}", {"name": name}


def policy(aws: Inputs, name: str, inputs: Inputs) -> Made:
    made = aws["iam"].create_policy(
        PolicyName=name, PolicyDocument=inputs["policy"], Description=inputs["description"]
    )["Policy"]
    return made["Arn"], {"name": name, "arn": made["Arn"]}


def role_policy_attachment(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["iam"].attach_role_policy(RoleName=inputs["role"], PolicyArn=inputs["policyArn"])
    return f"{inputs['role']}-{name}", {}


def instance_profile(aws: Inputs, name: str, inputs: Inputs) -> Made:
    name = inputs["name"]
    made = aws["iam"].create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    aws["iam"].add_role_to_instance_profile(InstanceProfileName=name, RoleName=inputs["role"])
    return name, {"name": name, "arn": made["Arn"]}


def log_group(aws: Inputs, name: str, inputs: Inputs) -> Made:
    key = {"kmsKeyId": inputs["kmsKeyId"]} if "kmsKeyId" in inputs else {}
    aws["logs"].create_log_group(logGroupName=name, **key)
    aws["logs"].put_retention_policy(logGroupName=name, retentionInDays=inputs["retentionInDays"])
    made = aws["logs"].describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
    return name, {"name": name, "arn": made["arn"].removesuffix(":*")}


def function(aws: Inputs, name: str, inputs: Inputs) -> Made:
    made = aws["lambda"].create_function(
        FunctionName=name,
        Description=inputs["description"],
        Runtime=inputs["runtime"],
        Architectures=inputs["architectures"],
        Handler=inputs["handler"],
        Code={"ZipFile": zipped(inputs["code"]["archive"])},
        Role=inputs["role"],
        Timeout=inputs["timeout"],
        MemorySize=inputs["memorySize"],
        Environment=capitalized(inputs["environment"]),
        LoggingConfig=capitalized(inputs["loggingConfig"]),
        TracingConfig=capitalized(inputs["tracingConfig"]),
        EphemeralStorage=capitalized(inputs["ephemeralStorage"]),
    )
    return name, {"name": name, "arn": made["FunctionArn"]}


def event_source_mapping(aws: Inputs, name: str, inputs: Inputs) -> Made:
    made = aws["lambda"].create_event_source_mapping(
        EventSourceArn=inputs["eventSourceArn"],
        FunctionName=inputs["functionName"],
        BatchSize=inputs["batchSize"],
        MaximumBatchingWindowInSeconds=inputs["maximumBatchingWindowInSeconds"],
        FunctionResponseTypes=inputs["functionResponseTypes"],
        ScalingConfig=capitalized(inputs["scalingConfig"]),
    )
    return made["UUID"], {"uuid": made["UUID"]}


def topic(aws: Inputs, name: str, inputs: Inputs) -> Made:
    arn = aws["sns"].create_topic(Name=name, Attributes={"KmsMasterKeyId": inputs["kmsMasterKeyId"]})["TopicArn"]
    return arn, {"arn": arn, "name": name}


def topic_policy(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["sns"].set_topic_attributes(TopicArn=inputs["arn"], AttributeName="Policy", AttributeValue=inputs["policy"])
    return inputs["arn"], {}


def topic_subscription(aws: Inputs, name: str, inputs: Inputs) -> Made:
    made = aws["sns"].subscribe(TopicArn=inputs["topic"], Protocol=inputs["protocol"], Endpoint=inputs["endpoint"])
    return made["SubscriptionArn"], {"arn": made["SubscriptionArn"]}


def key(aws: Inputs, name: str, inputs: Inputs) -> Made:
    made = aws["kms"].create_key(Description=inputs["description"], Policy=inputs["policy"])["KeyMetadata"]
    if inputs["enableKeyRotation"]:
        aws["kms"].enable_key_rotation(KeyId=made["KeyId"])
    return made["KeyId"], {"keyId": made["KeyId"], "arn": made["Arn"]}


def key_alias(aws: Inputs, name: str, inputs: Inputs) -> Made:
    name = f"{inputs['namePrefix']}{name}"
    aws["kms"].create_alias(AliasName=name, TargetKeyId=inputs["targetKeyId"])
    return name, {"name": name}


def parameter(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["ssm"].put_parameter(
        Name=inputs["name"],
        Description=inputs["description"],
        Type=inputs["type"],
        Value=inputs["insecureValue"],
        # Tests deploy many stacks of the same name into one emulator.
        Overwrite=True,
    )
    return inputs["name"], {"arn": aws["ssm"].get_parameter(Name=inputs["name"])["Parameter"]["ARN"]}


def metric_alarm(aws: Inputs, name: str, inputs: Inputs) -> Made:
    dimensions = [{"Name": key, "Value": value} for key, value in inputs["dimensions"].items()]
    values = {key: value for key, value in inputs.items() if key not in ("dimensions", "okActions")}
    aws["cloudwatch"].put_metric_alarm(
        AlarmName=name, Dimensions=dimensions, OKActions=inputs["okActions"], **capitalized(values, nested=False)
    )
    made = aws["cloudwatch"].describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
    return name, {"name": name, "arn": made["AlarmArn"]}


def dashboard(aws: Inputs, name: str, inputs: Inputs) -> Made:
    aws["cloudwatch"].put_dashboard(DashboardName=inputs["dashboardName"], DashboardBody=inputs["dashboardBody"])
    return inputs["dashboardName"], {}


MAKERS: dict[str, Callable[[Inputs, str, Inputs], Made]] = {
    "aws:sqs/queue:Queue": queue,
    "aws:sqs/queuePolicy:QueuePolicy": queue_attribute("Policy", "policy"),
    "aws:sqs/redrivePolicy:RedrivePolicy": queue_attribute("RedrivePolicy", "redrivePolicy"),
    "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy": queue_attribute("RedriveAllowPolicy", "redriveAllowPolicy"),
    "aws:s3/bucket:Bucket": bucket,
    "aws:s3/bucketVersioning:BucketVersioning": bucket_versioning,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": bucket_encryption,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": bucket_ownership,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": bucket_public_access_block,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": bucket_lifecycle,
    "aws:s3/bucketLogging:BucketLogging": bucket_logging,
    "aws:s3/bucketPolicy:BucketPolicy": bucket_policy,
    "aws:iam/role:Role": role,
    "aws:iam/rolePolicy:RolePolicy": role_policy,
    "aws:iam/policy:Policy": policy,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": role_policy_attachment,
    "aws:iam/instanceProfile:InstanceProfile": instance_profile,
    "aws:cloudwatch/logGroup:LogGroup": log_group,
    "aws:lambda/function:Function": function,
    "aws:lambda/eventSourceMapping:EventSourceMapping": event_source_mapping,
    "aws:sns/topic:Topic": topic,
    "aws:sns/topicPolicy:TopicPolicy": topic_policy,
    "aws:sns/topicSubscription:TopicSubscription": topic_subscription,
    "aws:kms/key:Key": key,
    "aws:kms/alias:Alias": key_alias,
    "aws:ssm/parameter:Parameter": parameter,
    "aws:cloudwatch/metricAlarm:MetricAlarm": metric_alarm,
    "aws:cloudwatch/dashboard:Dashboard": dashboard,
}


def zipped(files: dict[str, str]) -> bytes:
    """Return the zip file of the archive as Pulumi uploads it: sorted names, no times."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), Path(path).read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()
