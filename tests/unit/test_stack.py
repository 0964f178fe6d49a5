"""Where trainq finds the stack: a file, the environment, a parameter."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainq.stack import NEEDED, Stack, StackError

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
