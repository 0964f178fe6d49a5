"""Where trainq finds the deployed stack: its parameter, or the environment."""

import json
import shlex
import subprocess

from local.program import ACCOUNT
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from trainq.stack import NEEDED


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
