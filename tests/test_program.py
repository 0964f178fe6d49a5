"""The program under recording mocks: what it would create, down to what the emulator cannot prove."""

import json
from collections import Counter
from typing import Any

import pytest

from policies import resources, roles, statements
from tests.conftest import Recording, record
from trainq.stack import NEEDED

QUEUES = ("message", "model-training")


def policy_of(inputs: dict[str, Any]) -> list[dict[str, Any]]:
    return json.loads(inputs["policy"])["Statement"]


def test_the_inventory_of_resources_is_exactly_this(dev: Recording) -> None:
    """A resource more or less is a decision, not an accident."""
    found = Counter(each["type"].split(":")[-1] for each in dev.resources)
    assert found == {
        "DurableQueue": 2,
        "Queue": 4,
        "QueuePolicy": 4,
        "RedrivePolicy": 2,
        "RedriveAllowPolicy": 2,
        "TrainingDataBucket": 1,
        "Bucket": 1,
        "BucketServerSideEncryptionConfiguration": 1,
        "BucketVersioning": 1,
        "BucketOwnershipControls": 1,
        "BucketPublicAccessBlock": 1,
        "BucketLifecycleConfiguration": 1,
        "BucketPolicy": 1,
        "MessageProcessor": 1,
        "LogGroup": 1,
        "Role": 2,
        "RolePolicy": 1,
        "Function": 1,
        "EventSourceMapping": 1,
        "Access": 1,
        "Policy": 3,
        "RolePolicyAttachment": 1,
        "InstanceProfile": 1,
        "Monitoring": 1,
        "Parameter": 1,
        "Topic": 1,
        "TopicPolicy": 1,
        "EncryptionKey": 1,
        "Key": 1,
        "Alias": 1,
        "MetricAlarm": 8,
        "Dashboard": 1,
    }


def test_every_resource_belongs_to_a_component(dev: Recording) -> None:
    """`pulumi preview` shows a tree by components, and components are moved whole."""
    loose = [each["name"] for each in dev.resources if each["custom"] and "model-training-queue:" not in each["parent"]]
    assert not loose


def test_no_resource_has_a_fixed_physical_name(dev: Recording) -> None:
    """Pulumi's own names let two stacks live in one account, and let a resource be replaced before it is deleted."""
    named = [each["name"] for each in dev.resources if each["custom"] and {"name", "bucket"} & each["inputs"].keys()]
    belonging = [name for name in named if name.startswith(("training-data-", "worker-instance-profile"))]
    assert set(named) - set(belonging) == {"stack-parameter"}, (
        "only what belongs to the bucket or to the worker role has its name, and what a launch template must know"
    )
    assert dev.inputs(":InstanceProfile")["name"] == dev.outputs["worker_role_arn"].rsplit(":", 1)[-1]


@pytest.mark.parametrize("name", QUEUES)
def test_a_message_moves_to_the_dead_letter_queue_after_five_receives(dev: Recording, name: str) -> None:
    """The redrive policy is what keeps a bad message from being tried for ever."""
    inputs = dev.inputs(":RedrivePolicy", f"{name}-redrive")
    assert inputs["queueUrl"].endswith(f"/{name}-queue")
    policy = json.loads(inputs["redrivePolicy"])
    assert policy["deadLetterTargetArn"].endswith(f":{name}-dlq")
    assert policy["maxReceiveCount"] == 5
    assert type(policy["maxReceiveCount"]) is int, "a string makes a diff at every preview"


@pytest.mark.parametrize("name", QUEUES)
def test_a_dead_letter_queue_takes_messages_from_its_own_queue_only(dev: Recording, name: str) -> None:
    """The emulator does not enforce the redrive-allow policy; AWS does."""
    inputs = dev.inputs(":RedriveAllowPolicy", f"{name}-redrive-allow")
    assert inputs["queueUrl"].endswith(f"/{name}-dlq")
    policy = json.loads(inputs["redriveAllowPolicy"])
    assert policy["redrivePermission"] == "byQueue"
    assert [arn.rsplit(":", 1)[-1] for arn in policy["sourceQueueArns"]] == [f"{name}-queue"]


@pytest.mark.parametrize("name", [f"{name}-{end}" for name in QUEUES for end in ("queue", "dlq")])
def test_a_queue_is_encrypted_polled_long_and_takes_the_largest_messages(dev: Recording, name: str) -> None:
    inputs = dev.inputs("queue:Queue", name)
    assert inputs["sqsManagedSseEnabled"] is True
    assert inputs["receiveWaitTimeSeconds"] == 20
    assert inputs["maxMessageSize"] == 1024 * 1024, "the provider's default is a quarter of what SQS takes"
    assert 0 < inputs["visibilityTimeoutSeconds"] <= 43_200, "SQS's limit is 12 h"


def test_messages_are_kept_for_fourteen_days(dev: Recording) -> None:
    """A dead letter queue must not delete what its queue still kept: the age counts from the first send."""
    kept = {name: each["inputs"]["messageRetentionSeconds"] for name, each in dev.all("queue:Queue").items()}
    assert set(kept.values()) == {1_209_600}, kept


@pytest.mark.parametrize("options", [(), ("--set", "function_timeout=900", "--set", "batching_window=300")])
def test_the_message_queue_hides_a_batch_for_longer_than_the_function_may_try(options: tuple[str, ...]) -> None:
    """AWS refuses a trigger where visibility < timeout, and advises six times it; the emulator enforces neither."""
    recording = record("dev", *options)
    function = recording.inputs(":Function")
    mapping = recording.inputs(":EventSourceMapping")
    visibility = recording.inputs("queue:Queue", "message-queue")["visibilityTimeoutSeconds"]
    assert visibility == 6 * function["timeout"] + mapping["maximumBatchingWindowInSeconds"]
    assert visibility <= 43_200


def test_a_dead_workers_task_is_back_after_three_minutes(dev: Recording) -> None:
    assert dev.inputs("queue:Queue", "model-training-queue")["visibilityTimeoutSeconds"] == 180


@pytest.mark.parametrize("name", [f"{name}-{end}" for name in QUEUES for end in ("queue", "dlq")])
def test_a_queue_refuses_what_is_not_tls(dev: Recording, name: str) -> None:
    inputs = dev.inputs(":QueuePolicy", f"{name}-tls-only")
    assert inputs["queueUrl"].endswith(f"/{name}"), "the policy must be on the queue that it names"
    assert policy_of(inputs) == [
        {
            "Sid": "DenyWhatIsNotTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": [f"arn:aws:sqs:us-east-1:000000000000:{name}"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]


def test_the_bucket_refuses_what_is_not_tls_and_overwriting_what_is_committed(dev: Recording) -> None:
    tls, markers = policy_of(dev.inputs(":BucketPolicy"))
    assert (tls["Effect"], tls["Action"], tls["Condition"]) == (
        "Deny",
        "s3:*",
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    assert tls["Resource"] == ["arn:aws:s3:::training-data", "arn:aws:s3:::training-data/*"]
    assert (markers["Effect"], markers["Action"], markers["Principal"]) == ("Deny", "s3:PutObject", "*")
    assert markers["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    free = ("datasets/*", "runs/*/attempts/*", "runs/*/plan/*", "runs/*/checkpoints/*", "runs/*/workers/*")
    assert markers["NotResource"] == [f"arn:aws:s3:::training-data/{prefix}" for prefix in free]


def test_the_bucket_is_private_encrypted_versioned_and_cleans_up(dev: Recording) -> None:
    rule = dev.inputs(":BucketServerSideEncryptionConfiguration")["rules"][0]
    assert rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "AES256"
    assert dev.inputs(":BucketVersioning")["versioningConfiguration"]["status"] == "Enabled"
    assert dev.inputs(":BucketOwnershipControls")["rule"]["objectOwnership"] == "BucketOwnerEnforced"
    block = dev.inputs(":BucketPublicAccessBlock")
    names = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    assert all(block[name] is True for name in names)
    rules = {rule["id"]: rule for rule in dev.inputs(":BucketLifecycleConfiguration")["rules"]}
    assert all(rule["status"] == "Enabled" and rule["filter"] == {"prefix": ""} for rule in rules.values())
    abort = rules["abort-unfinished-multipart-uploads"]["abortIncompleteMultipartUpload"]
    assert abort == {"daysAfterInitiation": 7}
    expire = rules["expire-noncurrent-versions"]["noncurrentVersionExpiration"]
    assert expire == {"noncurrentDays": 30}


def test_the_bucket_is_protected_unless_a_stack_says_otherwise(dev: Recording) -> None:
    """A month of GPU time is in there."""
    guarded = record("dev", "--set", "bucket_protect=true", "--set", "bucket_force_destroy=false")
    assert guarded.all("bucket:Bucket")["training-data"]["protect"] is True
    assert guarded.inputs("bucket:Bucket")["forceDestroy"] is False
    assert dev.all("bucket:Bucket")["training-data"]["protect"] is False
    assert dev.inputs("bucket:Bucket")["forceDestroy"] is True


def test_the_function_runs_on_a_supported_runtime_with_structured_logs_and_traces(dev: Recording) -> None:
    """Python 3.13 is supported until 2029; the emulator runs anything."""
    inputs = dev.inputs(":Function")
    assert inputs["runtime"] == "python3.13"
    assert inputs["architectures"] == ["arm64"]
    assert (inputs["timeout"], inputs["memorySize"]) == (300, 512)
    assert inputs["loggingConfig"] == {"logFormat": "JSON", "logGroup": "message-processor-logs"}
    assert inputs["tracingConfig"] == {"mode": "Active"}
    assert "reservedConcurrentExecutions" not in inputs, "throttling would send good messages to the DLQ"


def test_the_functions_log_group_is_there_before_it_and_ends(dev: Recording) -> None:
    """Otherwise Lambda makes a group of its own that nobody expires."""
    assert dev.inputs(":LogGroup")["retentionInDays"] == 30
    depends_on = dev.all(":Function")["message-processor"]["depends_on"]
    assert "aws:cloudwatch/logGroup:LogGroup::message-processor-logs" in depends_on
    assert "aws:iam/rolePolicy:RolePolicy::message-processor-rights" in depends_on


def test_the_trigger_reports_each_failed_message_and_is_limited(dev: Recording) -> None:
    inputs = dev.inputs(":EventSourceMapping")
    assert inputs["batchSize"] == 10
    assert inputs["maximumBatchingWindowInSeconds"] == 0
    assert inputs["functionResponseTypes"] == ["ReportBatchItemFailures"]
    assert inputs["scalingConfig"] == {"maximumConcurrency": 10}
    assert inputs["eventSourceArn"].endswith(":message-queue")


def test_the_function_may_do_what_lambda_needs_for_logs_and_for_the_queue(dev: Recording) -> None:
    """The emulator asks for none of these rights; AWS refuses the trigger, or logs nothing, without them."""
    allowed = {
        (action, resource)
        for statement in policy_of(dev.inputs(":RolePolicy"))
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    account = "us-east-1:000000000000"
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
        assert (f"sqs:{action}", f"arn:aws:sqs:{account}:message-queue") in allowed
    for action in ("CreateLogStream", "PutLogEvents"):
        assert (f"logs:{action}", f"arn:aws:logs:{account}:log-group:message-processor-logs:*") in allowed


def test_no_right_is_wider_than_it_has_to_be(dev: Recording) -> None:
    """Only X-Ray, which has no resources, gets '*'; nobody gets all actions of a service."""
    for each in [*dev.all("policy:Policy").values(), *dev.all(":RolePolicy").values()]:
        for statement in policy_of(each["inputs"]):
            if statement["Effect"] == "Deny":
                continue
            assert not any("*" in action for action in statement["Action"]), statement
            if "*" in statement["Resource"]:
                assert all(action.startswith("xray:") for action in statement["Action"]), statement


def test_policies_fit_into_what_aws_takes_also_with_the_longest_names() -> None:
    """Without white space: 6,144 characters for a managed policy, 10,240 for those within a role; 20 KB for a bucket's.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/example-bucket-policies.html
    """
    account = "us-gov-east-1:123456789012"
    queues = [f"arn:aws-us-gov:sqs:{account}:{str(number) * 80}" for number in range(4)]
    bucket, parameter = "arn:aws-us-gov:s3:::" + "b" * 63, f"arn:aws-us-gov:ssm:{account}:parameter/" + "p" * 200
    group = f"arn:aws-us-gov:logs:{account}:log-group:" + "l" * 512
    key = f"arn:aws-us-gov:kms:{account}:key/" + "k" * 40
    keys = statements.Keys(key, [key] * 5, "us-gov-east-1")
    managed = [
        roles.worker(*queues[:2], bucket, parameter, keys),
        roles.submitter(*queues[:2], bucket, parameter, keys),
        roles.operator(queues[:2], queues[2:], bucket, parameter, keys),
    ]
    assert max(map(size_of, managed)) <= 6_144
    assert size_of(roles.message_processor(*queues[:3], bucket, group, keys)) <= 10_240
    assert size_of(resources.bucket(bucket)) <= 20 * 1024


def size_of(document: statements.Document) -> int:
    return len(json.dumps(document, separators=(",", ":")))


def test_policies_sids_read_as_sentences_and_are_valid(dev: Recording) -> None:
    """IAM allows letters and digits only."""
    for each in dev.resources:
        text = each["inputs"].get("policy") or each["inputs"].get("assumeRolePolicy")
        for statement in json.loads(text)["Statement"] if text else ():
            assert statement["Sid"].isalnum(), statement["Sid"]


def test_a_key_is_carried_to_everything_that_stores() -> None:
    """And to the rights of everybody who reads or writes it, through SQS and S3 only."""
    prod = record("prod")
    key = "arn:aws:kms:us-east-1:000000000000:key/encryption-key"
    for each in prod.all("queue:Queue").values():
        assert each["inputs"]["kmsMasterKeyId"] == key
        assert each["inputs"]["kmsDataKeyReusePeriodSeconds"] == 300
        assert "sqsManagedSseEnabled" not in each["inputs"], "SQS takes the one or the other"
    rule = prod.inputs(":BucketServerSideEncryptionConfiguration")["rules"][0]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key}
    assert rule["bucketKeyEnabled"] is True, "or KMS is asked, and paid, for every object"
    assert prod.inputs(":LogGroup")["kmsKeyId"] == key
    assert prod.inputs(":Topic")["kmsMasterKeyId"] == key
    assert list(prod.all(":Key")) == ["encryption-key"], "and no second key"
    through = ["sqs.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com"]
    documents = [*prod.all("policy:Policy").values(), *prod.all(":RolePolicy").values()]
    assert len(documents) == 4
    for each in documents:
        (statement,) = [one for one in policy_of(each["inputs"]) if one["Resource"] == [key]]
        assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
        assert statement["Condition"] == {"StringEquals": {"kms:ViaService": through}}


def test_what_a_former_key_encrypted_can_be_read_and_nothing_more() -> None:
    """An object stays under the key that it was written with."""
    arn = "arn:aws:kms:us-east-1:123456789012:key/former"
    recording = record("prod", "--set", f'former_kms_keys=["{arn}"]')
    documents = [*recording.all("policy:Policy").values(), *recording.all(":RolePolicy").values()]
    for each in documents:
        (statement,) = [one for one in policy_of(each["inputs"]) if arn in one["Resource"]]
        assert (statement["Action"], statement["Resource"]) == (["kms:Decrypt"], [arn])
        assert "kms:ViaService" in statement["Condition"]["StringEquals"]


def test_a_key_that_exists_is_used_and_none_is_made_but_for_it() -> None:
    arn = "arn:aws:kms:us-east-1:123456789012:key/ours"
    recording = record("dev", "--set", f"kms_key={arn}")
    assert not recording.all(":Key")
    assert {each["inputs"]["kmsMasterKeyId"] for each in recording.all("queue:Queue").values()} == {arn}
    assert recording.inputs(":Topic")["kmsMasterKeyId"] == arn


def test_without_a_key_only_the_topic_has_one(dev: Recording) -> None:
    """Alarms may not publish to a topic under AWS's own key."""
    assert list(dev.all(":Key")) == ["alarms-key"]
    assert all("kmsMasterKeyId" not in each["inputs"] for each in dev.all("queue:Queue").values())
    for each in [*dev.all("policy:Policy").values(), *dev.all(":RolePolicy").values()]:
        assert not any("kms:" in action for one in policy_of(each["inputs"]) for action in one["Action"])


def test_keys_are_rotated_and_slow_to_delete(dev: Recording) -> None:
    prod = record("prod")
    for recording, name, protected in ((prod, "encryption-key", True), (dev, "alarms-key", False)):
        inputs = recording.inputs(":Key", name)
        assert inputs["enableKeyRotation"] is True
        assert inputs["deletionWindowInDays"] == 30
        assert recording.all(":Key")[name]["protect"] is protected, "without it all data is lost"


def test_a_key_is_used_for_this_accounts_alarms_and_logs_only(dev: Recording) -> None:
    account, alarms, logs = policy_of(dev.inputs(":Key"))
    assert (account["Principal"], account["Action"]) == ({"AWS": "000000000000"}, "kms:*")
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Condition"]["StringEquals"] == {"aws:SourceAccount": "000000000000"}
    assert logs["Principal"] == {"Service": "logs.us-east-1.amazonaws.com"}
    assert logs["Condition"] == {
        "ArnLike": {"kms:EncryptionContext:aws:logs:arn": "arn:*:logs:us-east-1:000000000000:log-group:*"}
    }


def test_access_logs_go_to_the_bucket_that_is_named(dev: Recording) -> None:
    assert not dev.all(":BucketLogging")
    inputs = record("dev", "--set", "access_log_bucket=our-logs").inputs(":BucketLogging")
    assert (inputs["targetBucket"], inputs["targetPrefix"]) == ("our-logs", "model-training-queue/dev/")
    assert inputs["bucket"] == "training-data"


def test_a_permissions_boundary_bounds_both_roles(dev: Recording) -> None:
    arn = "arn:aws:iam::123456789012:policy/boundary"
    bounded = record("dev", "--set", f"permissions_boundary={arn}").all(":Role")
    assert {name: each["inputs"]["permissionsBoundary"] for name, each in bounded.items()} == {
        "worker-role": arn,
        "message-processor-role": arn,
    }
    assert all("permissionsBoundary" not in each["inputs"] for each in dev.all(":Role").values())


def test_no_resource_policy_allows_anything_to_everybody(dev: Recording) -> None:
    for each in dev.resources:
        if each["type"].split(":")[-1] in ("QueuePolicy", "BucketPolicy", "TopicPolicy", "Key", "Role"):
            text = each["inputs"].get("policy") or each["inputs"]["assumeRolePolicy"]
            for statement in json.loads(text)["Statement"]:
                public = statement["Principal"] in ("*", {"AWS": "*"})
                assert not (public and statement["Effect"] == "Allow"), (each["name"], statement)


def test_every_policy_attached_is_the_programs_own(dev: Recording) -> None:
    """AWS's managed policies give more, and change."""
    attached = dev.all(":RolePolicyAttachment").values()
    own = {f"arn:aws:iam:us-east-1:000000000000:{name}" for name in dev.all("policy:Policy")}
    assert {each["inputs"]["policyArn"] for each in attached} <= own
    assert not any("managedPolicyArns" in each["inputs"] for each in dev.all(":Role").values())


def test_the_function_can_be_invoked_by_its_trigger_only(dev: Recording) -> None:
    """Lambda polls the queue itself: nobody needs a right to invoke."""
    kinds = {each["type"].split(":")[-1] for each in dev.resources}
    assert not kinds & {"Permission", "FunctionUrl", "FunctionEventInvokeConfig"}


def test_the_topic_is_encrypted_and_only_this_accounts_alarms_publish_over_tls(dev: Recording) -> None:
    assert dev.inputs(":Topic")["kmsMasterKeyId"].endswith(":key/alarms-key")
    publish, tls = policy_of(dev.inputs(":TopicPolicy"))
    assert (publish["Principal"], publish["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert publish["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "000000000000"},
        "ArnLike": {"aws:SourceArn": "arn:*:cloudwatch:us-east-1:000000000000:alarm:*"},
    }
    assert (tls["Effect"], tls["Principal"]) == ("Deny", "*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_production_stack_meets_what_is_off_by_default() -> None:
    prod = record("prod")
    assert prod.inputs(":LogGroup")["retentionInDays"] == 365
    assert prod.all("bucket:Bucket")["training-data"]["protect"] is True
    assert prod.inputs("bucket:Bucket")["forceDestroy"] is False
    assert prod.inputs(":TopicSubscription")["protocol"] == "email"


def test_the_stacks_parameter_says_what_trainq_needs(dev: Recording) -> None:
    inputs = dev.inputs(":Parameter")
    assert inputs["name"] == "/model-training-queue/dev" == dev.outputs["stack_parameter"]
    assert json.loads(inputs["insecureValue"]) == {name: dev.outputs[name] for name in NEEDED}
    assert len(inputs["insecureValue"]) < 4096, "SSM's limit for a standard parameter"


def test_only_configured_principals_may_assume_the_worker_role() -> None:
    arn = "arn:aws:iam::123456789012:role/trainers"
    principals = ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com", arn]
    recording = record("dev", "--set", f"worker_principals={json.dumps(principals)}")
    plain, saying, ours = json.loads(recording.inputs(":Role", "worker-role")["assumeRolePolicy"])["Statement"]
    assert (plain["Principal"], plain["Action"]) == ({"Service": ["ec2.amazonaws.com"]}, ["sts:AssumeRole"])
    assert saying["Principal"] == {"Service": ["ecs-tasks.amazonaws.com", "pods.eks.amazonaws.com"]}
    assert saying["Action"] == ["sts:AssumeRole", "sts:TagSession"], "EKS Pod Identity passes tags"
    assert saying["Condition"] == {"StringEquals": {"aws:SourceAccount": "000000000000"}}, "nobody else's deputy"
    assert "Condition" not in plain, "EC2 does not say for which account it acts: the condition would never hold"
    assert ours["Principal"] == {"AWS": [arn]}


def test_the_outputs_are_the_designs(dev: Recording) -> None:
    """Flat strings, which workers and `pulumi stack output --shell` rely on."""
    assert set(dev.outputs) == {
        "model_training_queue_url",
        "model_training_queue_arn",
        "dead_letter_queue_url",
        "dead_letter_queue_arn",
        "message_queue_url",
        "queue_arn",
        "message_dead_letter_queue_url",
        "bucket_name",
        "bucket_url",
        "message_processor_name",
        "worker_role_arn",
        "worker_policy_arn",
        "submitter_policy_arn",
        "operator_policy_arn",
        "alarm_topic_arn",
        "dashboard_name",
        "stack_parameter",
        "region",
    }
    assert all(isinstance(value, str) and value for value in dev.outputs.values())
    assert dev.outputs["bucket_url"] == "s3://training-data"
    assert dev.outputs["model_training_queue_url"].endswith("/model-training-queue")
    assert dev.outputs["dead_letter_queue_url"].endswith("/model-training-dlq")
    assert dev.outputs["queue_arn"].endswith(":message-queue")


def test_the_same_inputs_give_the_same_program() -> None:
    """A second `pulumi up` shows no change."""
    assert record("dev") == record("dev", "--set", "max_receive_count=5")


def test_a_first_preview_registers_everything_with_unknown_outputs(dev: Recording) -> None:
    """A resource made inside an apply, or an ARN put together with an f-string, shows only when outputs are unknown."""
    preview = record("dev", "--preview")
    names = [{(each["type"], each["name"]) for each in recording.resources} for recording in (dev, preview)]
    assert names[0] == names[1]
    assert "Calling __str__" not in json.dumps(preview.resources)
    assert set(preview.outputs) == set(dev.outputs)
    known = {name for name, value in preview.outputs.items() if value is not None}
    assert known == {"region", "dashboard_name", "stack_parameter"}, "the rest only AWS knows"
