"""Who may do what, as the program would grant it: no right is wider than it has to be."""

import json

import pytest

from policies import resources, roles, statements
from tests.helpers.recordings import Recording, policy_of, record

# They share evaluations of the program.
pytestmark = pytest.mark.xdist_group("program")


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
