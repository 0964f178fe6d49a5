"""Encryption keys, as the program would create or use them."""

import pytest

from tests.helpers.recordings import Recording, policy_of, record

# They share evaluations of the program.
pytestmark = pytest.mark.xdist_group("program")


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
