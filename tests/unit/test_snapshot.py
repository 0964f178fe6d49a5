"""What a change of a setting does, as a reviewer reads it: the committed snapshots, and the inputs that change."""

import difflib
import json
from typing import Any

import pytest

from local.program import ROOT
from local.snapshot import STACKS, path, text
from settings import Settings
from tests.helpers.recordings import Recording, record

# They share evaluations of the program.
pytestmark = pytest.mark.xdist_group("program")


def snapshot(recording: Recording) -> str:
    return text({"resources": recording.resources, "outputs": recording.outputs})


@pytest.mark.parametrize("stack", STACKS)
def test_the_committed_snapshot_is_what_the_program_would_create(stack: str) -> None:
    assert snapshot(record(stack)) == path(stack).read_text(), "run `make snapshot`, and read what it changed"


def test_another_visibility_timeout_changes_one_line(dev: Recording) -> None:
    changed = snapshot(record("dev", "--set", "model_training_visibility_timeout=200")).splitlines()
    before = snapshot(dev).splitlines()
    lines = [line for line in difflib.ndiff(before, changed) if line[0] in "+-"]
    assert lines == ["-     visibilityTimeoutSeconds: 180", "+     visibilityTimeoutSeconds: 200"]
    above = [
        line for line in changed[: changed.index("    visibilityTimeoutSeconds: 200")] if not line.startswith("   ")
    ]
    assert above[-1] == "  aws:sqs/queue:Queue model-training-queue:"


BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"
ALARMS = ("jobs-to-retry", "function-errors", "function-slow", "function-throttles")
DEAD_LETTERS = ("message-dlq-not-empty", "model-training-dlq-not-empty")
OLD = ("message-queue-old", "model-training-queue-old")
WEEK = "604800"


def all_of(*names: str) -> set[str]:
    """Every input of a resource that is there or not."""
    return {f"{name}.*" for name in names}


# For each setting: another value, what else must be set with it, and every input that changes with it.
EFFECTS: dict[str, tuple[str, dict[str, str], set[str]]] = {
    "model_training_visibility_timeout": ("200", {}, {"model-training-queue.visibilityTimeoutSeconds"}),
    "model_training_retention": (WEEK, {}, {"model-training-queue.messageRetentionSeconds"}),
    "message_retention": (WEEK, {}, {"message-queue.messageRetentionSeconds"}),
    "dead_letter_retention": (
        WEEK,
        {"message_retention": WEEK, "model_training_retention": WEEK},
        {"message-dlq.messageRetentionSeconds", "model-training-dlq.messageRetentionSeconds"},
    ),
    "max_receive_count": (
        "7",
        {},
        {"message-redrive.redrivePolicy", "model-training-redrive.redrivePolicy"}
        | {f"{alarm}.alarmDescription" for alarm in DEAD_LETTERS},
    ),
    "batch_size": ("5", {}, {"message-processor-trigger.batchSize"}),
    "batching_window": (
        "30",
        {},
        {
            "message-processor-trigger.maximumBatchingWindowInSeconds",
            "message-processor.environment",
            "message-queue.visibilityTimeoutSeconds",
        },
    ),
    "function_timeout": (
        "600",
        {},
        {
            "message-processor.timeout",
            "message-processor.environment",
            "message-queue.visibilityTimeoutSeconds",
            "function-slow.threshold",
            "dashboard.dashboardBody",
        },
    ),
    "function_memory": ("1024", {}, {"message-processor.memorySize"}),
    "maximum_concurrency": ("20", {}, {"message-processor-trigger.scalingConfig"}),
    "max_tasks": ("10000", {}, {"message-processor.environment"}),
    "log_retention_days": ("90", {}, {"message-processor-logs.retentionInDays"}),
    "noncurrent_version_days": ("60", {}, {"training-data-lifecycle.rules"}),
    "bucket_protect": ("true", {"bucket_force_destroy": "false"}, {"training-data.(protected)"}),
    "bucket_force_destroy": ("false", {}, {"training-data.forceDestroy"}),
    "access_log_bucket": ("our-logs", {}, all_of("training-data-access-logs")),
    "kms_key": (
        "create",
        {},
        all_of("encryption-key", "encryption-key-alias", "alarms-key", "alarms-key-alias")
        | {
            f"{queue}.{name}"
            for queue in ("message-queue", "message-dlq", "model-training-queue", "model-training-dlq")
            for name in ("kmsMasterKeyId", "kmsDataKeyReusePeriodSeconds", "sqsManagedSseEnabled")
        }
        | {f"{who}-policy.policy" for who in ("worker", "submitter", "operator")}
        | {"message-processor-rights.policy", "message-processor-logs.kmsKeyId", "training-data-encryption.rules"}
        | {"alarms.kmsMasterKeyId"},
    ),
    "former_kms_keys": (
        '["arn:aws:kms:us-east-1:123456789012:key/former"]',
        {},
        {f"{who}-policy.policy" for who in ("worker", "submitter", "operator")} | {"message-processor-rights.policy"},
    ),
    "permissions_boundary": (
        BOUNDARY,
        {},
        {"message-processor-role.permissionsBoundary", "worker-role.permissionsBoundary"},
    ),
    "worker_principals": ('["ecs-tasks.amazonaws.com"]', {}, {"worker-role.assumeRolePolicy"}),
    "alarm_email": ("oncall@example.com", {}, all_of("alarms-email")),
    "message_age_alarm": ("1800", {}, {"message-queue-old.threshold", "message-queue-old.alarmDescription"}),
    "task_age_alarm": (
        "3600",
        {},
        {"model-training-queue-old.threshold", "model-training-queue-old.alarmDescription"},
    ),
    "runbook_url": (
        "https://wiki.example.com/queue",
        {},
        {f"{alarm}.alarmDescription" for alarm in (*ALARMS, *DEAD_LETTERS, *OLD)} | {"dashboard.dashboardBody"},
    ),
}
# Changing one of these makes AWS's provider delete the resource and make another one.
REPLACING = {
    "aws:sqs/queue:Queue": {"name", "namePrefix", "fifoQueue", "region"},
    "aws:s3/bucket:Bucket": {"bucket", "bucketPrefix", "objectLockEnabled", "bucketNamespace", "region"},
}


def recorded(settings: dict[str, str]) -> Recording:
    return record("dev", *[word for key, value in settings.items() for word in ("--set", f"{key}={value}")])


def inputs(recording: Recording) -> dict[str, dict[str, Any]]:
    return {
        each["name"]: each["inputs"] | {"(protected)": each["protect"]}
        for each in recording.resources
        if each["custom"]
    }


def changed(before: Recording, after: Recording) -> set[str]:
    old, new = inputs(before), inputs(after)
    found = {f"{name}.*" for name in old.keys() ^ new.keys()}
    for name in old.keys() & new.keys():
        keys = old[name].keys() | new[name].keys()
        found |= {f"{name}.{key}" for key in keys if old[name].get(key) != new[name].get(key)}
    return found


def test_every_settings_effect_is_named_here() -> None:
    assert list(EFFECTS) == list(Settings.__dataclass_fields__)


@pytest.mark.parametrize("setting", EFFECTS)
def test_a_setting_changes_these_inputs_and_no_others_and_replaces_no_queue_and_no_bucket(setting: str) -> None:
    value, with_it, effects = EFFECTS[setting]
    recordings = (recorded(with_it), recorded(with_it | {setting: value}))
    assert changed(*recordings) == effects
    assert_nothing_is_replaced(*recordings)


def assert_nothing_is_replaced(*recordings: Recording) -> None:
    """What is in a queue or in the bucket would be lost. Pulumi knows a resource by its type, name and parents."""
    for kind, replacing in REPLACING.items():
        known = [
            {
                (each["name"], each["parent"], json.dumps({key: each["inputs"].get(key) for key in sorted(replacing)}))
                for each in recording.resources
                if each["type"] == kind
            }
            for recording in recordings
        ]
        assert known[0] == known[1]
        assert not any(replacing & each["inputs"].keys() for each in recordings[1].resources if each["type"] == kind)


def test_queues_and_bucket_are_known_to_deployed_stacks_by_these_names(dev: Recording) -> None:
    """A resource under another name or parent is another resource: renaming needs an alias, or loses the data."""
    kept = {
        f"{each['parent']}/{each['name']}"
        for kind in ("queue:Queue", "bucket:Bucket", "kms/key:Key")
        for each in dev.all(kind).values()
    }
    component = "model-training-queue:{}::{}"
    assert kept == {
        component.format("queues:DurableQueue", "message") + "/message-queue",
        component.format("queues:DurableQueue", "message") + "/message-dlq",
        component.format("queues:DurableQueue", "model-training") + "/model-training-queue",
        component.format("queues:DurableQueue", "model-training") + "/model-training-dlq",
        component.format("training_data:TrainingDataBucket", "training-data") + "/training-data",
        component.format("encryption:EncryptionKey", "alarms-key") + "/alarms-key",
    }


# Written once, from the program as it was deployed first; a line is added for each new resource, and none is changed:
# Pulumi would delete what it knows under the old URN, and make another one.
URNS = frozenset((ROOT / "tests" / "urns.txt").read_text().splitlines())


def urns(recording: Recording) -> set[str]:
    return {each["urn"] for each in recording.resources}


@pytest.mark.parametrize("setting", EFFECTS)
def test_whatever_is_set_every_resource_has_a_recorded_urn(setting: str) -> None:
    value, with_it, _ = EFFECTS[setting]
    assert urns(recorded(with_it | {setting: value})) - URNS == set()


def test_every_recorded_urn_is_one_of_the_programs() -> None:
    """With all stacks and settings together: the record has no line that nothing can fail."""
    found = [recorded(with_it | {setting: value}) for setting, (value, with_it, _) in EFFECTS.items()]
    assert set().union(*map(urns, [*map(record, STACKS), *found])) == URNS
