"""The queues and the bucket, as the program would create them."""

import json

import pytest

from tests.helpers.recordings import Recording, policy_of, record

# They share evaluations of the program.
pytestmark = pytest.mark.xdist_group("program")

QUEUES = ("message", "model-training")


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


def test_access_logs_go_to_the_bucket_that_is_named(dev: Recording) -> None:
    assert not dev.all(":BucketLogging")
    inputs = record("dev", "--set", "access_log_bucket=our-logs").inputs(":BucketLogging")
    assert (inputs["targetBucket"], inputs["targetPrefix"]) == ("our-logs", "model-training-queue/dev/")
    assert inputs["bucket"] == "training-data"
