"""The program under recording mocks: what it would create, down to what the emulator cannot prove."""

import json
from collections import Counter

import pytest

from tests.helpers.recordings import Recording, record
from trainq.stack import NEEDED

# They share evaluations of the program.
pytestmark = pytest.mark.xdist_group("program")


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
