"""Where trainq finds the stack: a file, the environment, a parameter that the stack wrote."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.program import ACCOUNT
from tests.conftest import Deployed, eventually
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


def test_a_worker_needs_nothing_but_the_parameters_name(deployed: Deployed) -> None:
    """As in a launch template: the worker role's credentials, and the name."""
    parameter = deployed.outputs["stack_parameter"]
    ssm = deployed.emulator.client("ssm")
    assert set(json.loads(ssm.get_parameter(Name=parameter)["Parameter"]["Value"])) == set(NEEDED)
    # Stacks of one name share the parameter, which is this test's stack's again from here on.
    mine = json.dumps({name: deployed.outputs[name] for name in NEEDED})
    ssm.put_parameter(Name=parameter, Value=mine, Type="String", Overwrite=True)
    deployed.put_dataset("d", {"a": b"1"})
    deployed.submit(job_id="j", dataset="datasets/d/")
    for source in (f"ssm:{parameter}", f"ssm:arn:aws:ssm:us-east-1:{ACCOUNT}:parameter{parameter}"):
        command = ("work", "--poll", "1", "--idle-exit", "2", "--", "true")
        done = deployed.trainq(*command, source=source, credentials=deployed.worker_credentials)
        assert "waiting for tasks" in done.stderr
    eventually(lambda: deployed.keys("runs/j/dispatched.json"), "the job is dispatched")
    deployed.trainq(*command, source=source, credentials=deployed.worker_credentials)
    assert deployed.read("runs/j/results/0.json")["job_id"] == "j"


def test_a_shell_with_the_outputs_exported_needs_no_file(deployed: Deployed) -> None:
    """What `set -a; eval "$(pulumi stack output --shell)"; set +a` leaves in the environment."""
    printed = "\n".join(f"{name}={shlex.quote(value)}" for name, value in deployed.outputs.items())
    script = f"set -a; eval {shlex.quote(printed)}; set +a; env"
    shell = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    variables = dict(line.split("=", 1) for line in shell.stdout.splitlines() if "=" in line)
    assert "no job has been planned" in deployed.trainq("jobs", source="env", variables=variables).stderr


def test_a_parameter_that_is_not_there_is_an_error_of_one_line(deployed: Deployed) -> None:
    done = deployed.trainq("jobs", source="ssm:/model-training-queue/other", status=1)
    # The submitter may read one parameter: of another one AWS does not say whether it is there.
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
