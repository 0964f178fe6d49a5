"""Where trainq finds the stack: a file, the environment, a parameter."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from local.standins import fake_stack
from trainq.stack import NEEDED, QueueSettings, Stack, StackError

OUTPUTS: dict[str, Any] = {name: f"the-{name}" for name in NEEDED}


def test_a_file_is_what_pulumi_prints_as_json(tmp_path: Path) -> None:
    file = tmp_path / "stack.json"
    file.write_text(json.dumps(OUTPUTS | {"more": "is ignored"}))
    assert Stack.load(file).model_training_queue_url == "the-model_training_queue_url"


def test_the_environment_is_what_pulumi_prints_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OUTPUTS.items():
        monkeypatch.setenv(name, value)
    assert Stack.load("env") == Stack(**OUTPUTS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "is not a JSON object of outputs"),
        (json.dumps(OUTPUTS | {"region": ""}), "has no region"),
        (json.dumps({name: OUTPUTS[name] for name in NEEDED[2:]}), "has no bucket_name, message_queue_url"),
    ],
)
def test_a_file_that_will_not_do_is_refused_with_what_would(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "stack.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StackError, match=said) as raised:
        Stack.load(file)
    for way in ("pulumi stack output --json > stack.json", "pulumi stack output --shell", "ssm:"):
        assert way in str(raised.value)


def test_an_environment_without_the_outputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """eval without set -a sets the shell's variables only, not the environment."""
    for name in NEEDED:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StackError, match=r"the environment has no bucket_name.*set -a"):
        Stack.load("env")


def test_a_parameter_without_a_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(StackError, match="names no region: set AWS_REGION, or give the parameter's ARN"):
        Stack.load("ssm:/model-training-queue/dev")


def test_a_parameters_region_is_that_of_either_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 reads AWS_DEFAULT_REGION only; Lambda, the other SDKs and our examples set AWS_REGION."""
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    asked = []

    def new_client(service: str, region: str, config: object) -> object:
        asked.append(region)
        value = {"Parameter": {"Value": json.dumps(OUTPUTS)}}
        return SimpleNamespace(get_parameter=lambda Name: value, exceptions=boto3.client("ssm", "us-east-1").exceptions)

    monkeypatch.setattr("trainq.stack.new_client", new_client)
    for name, other in (("AWS_REGION", "AWS_DEFAULT_REGION"), ("AWS_DEFAULT_REGION", "AWS_REGION")):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.setenv(name, "eu-west-1")
        assert Stack.load("ssm:/model-training-queue/dev") == Stack(**OUTPUTS)
    assert asked == ["eu-west-1"] * 2


def answering(attributes: dict[str, str]) -> Stack:
    """Return the stack whose queue has these attributes."""
    stack = fake_stack(None, SimpleNamespace(get_queue_attributes=lambda **asked: {"Attributes": attributes}))
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/"
    return replace(stack, model_training_queue_url=f"{url}training-1", dead_letter_queue_url=f"{url}training-dlq-1")


def redrive(name: str) -> dict[str, str]:
    policy = {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:123456789012:{name}", "maxReceiveCount": "5"}
    return {"VisibilityTimeout": "180", "RedrivePolicy": json.dumps(policy)}


def test_a_queues_settings_are_its_own() -> None:
    assert answering(redrive("training-dlq-1")).training_queue_settings() == QueueSettings(180, 5)


@pytest.mark.parametrize(
    ("attributes", "has"),
    [({"VisibilityTimeout": "180"}, "None"), (redrive("message-dlq-1"), "'message-dlq-1'")],
    ids=["no redrive policy, as a dead letter queue", "another one's"],
)
def test_outputs_with_queues_that_are_swapped_are_refused(attributes: dict[str, str], has: str) -> None:
    """A worker would take training messages for tasks and dead-letter them."""
    with pytest.raises(StackError, match=rf"training-1' has the dead letter queue {has}, not .*training-dlq-1'"):
        answering(attributes).training_queue_settings()


@pytest.mark.parametrize(
    ("settings", "process"),
    [
        ({"AWS_ENDPOINT_URL": "localhost:4566"}, """echo '{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b"}'"""),
        ({}, "echo no credentials today"),
        ({}, "echo []"),
        ({}, """echo '{"Version":1,"AccessKeyId":"a","SecretAccessKey":"b","Expiration":5}'"""),
        ({}, "printf '\\377'"),
        ({}, "echo 'unclosed"),
    ],
)
def test_malformed_aws_settings_are_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, str], process: str
) -> None:
    """botocore raises ValueError, TypeError and AttributeError for them."""
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {process}\n")
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"AWS_CONFIG_FILE": str(tmp_path / "config")} | settings).items():
        monkeypatch.setenv(name, value)
    # Another test may have found its credentials already: each client of boto3's default session has them.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(StackError, match=r"AWS_ENDPOINT_URL .*credential_process") as raised:
        _ = replace(Stack(**OUTPUTS), region="us-east-1").s3
    assert "\n" not in str(raised.value)
