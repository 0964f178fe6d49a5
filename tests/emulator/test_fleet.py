"""Several workers on one machine, and the examples for service managers and schedulers."""

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.program import ROOT
from local.workers import running
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch
from trainq.cli import trainq
from trainq.protocol import layout

EXAMPLES = ROOT / "examples" / "fleet"


def test_each_worker_of_a_fleet_has_a_gpu_to_itself(deployed: Deployed, worker: Any) -> None:
    dispatch(deployed, shards=4)
    script = "echo $CUDA_VISIBLE_DEVICES > $TRAINQ_OUTPUT/gpu; while ! test -e go; do sleep 0.1; done"
    command = ("env", "-C", str(deployed.folder), "sh", "-c", script)
    process = worker("fleet", *command, options=("--gpus", "3,5,7", "--idle-exit", "2", "--log-format", "json"))
    # Not processes: a task has `sleep` beside its shell at times.
    eventually(lambda: len(list(deployed.folder.glob("trainq-*/*/output/gpu"))) == 3, "three tasks run at once")
    (deployed.folder / "go").touch()
    assert process.process.wait(30) == 0
    results = [deployed.read(key) for key in deployed.keys(layout.results("j"))]
    assert len(results) == 4
    assert {each["worker"] for each in results} == {"fleet-0", "fleet-1", "fleet-2"}
    deployed.trainq("fetch", "j", str(deployed.folder / "results"))
    gpu = {each["worker"]: (deployed.folder / "results" / str(each["task"]) / "gpu").read_text() for each in results}
    assert gpu == {"fleet-0": "3\n", "fleet-1": "5\n", "fleet-2": "7\n"}
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert {line["worker"] for line in lines} == set(gpu)
    assert all({"time", "level", "message"} <= line.keys() for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_however_a_fleet_ends_its_workers_and_commands_end_too(
    deployed: Deployed, worker: Any, number: signal.Signals
) -> None:
    """And every task is given back."""
    dispatch(deployed, shards=2)
    process = worker("fleet", "sleep", "600", options=("--concurrency", "2"))
    mark = f"TRAINQ_OUTPUT={deployed.folder}"
    eventually(lambda: len(running(mark)) == 2, "both tasks run")
    process.process.send_signal(number)
    process.process.wait(30)
    eventually(lambda: not running(mark), "the commands are ended")
    eventually(lambda: not running(str(deployed.stack_file)), "the workers have ended")
    eventually(lambda: deployed.waiting("model_training_queue_url") == 2, "the tasks are given back", seconds=3)
    eventually(lambda: not list(deployed.folder.glob("trainq-*")), "their folders are removed")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--gpus", "0,0"), "allowed are different numbers"),
        (("--gpus", "a"), "allowed are different numbers"),
        (("--gpus", "0", "--concurrency", "2"), "each worker needs one of its own"),
        (("--concurrency", "0"), "0 is not in the range"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(deployed: Deployed, options: tuple[str, ...], said: str) -> None:
    done = deployed.trainq("work", *options, "--", "true", status=2)
    assert said in done.stderr


def words(example: str) -> list[str]:
    """The words of the `trainq` command in an example, in its own format."""
    text = (EXAMPLES / example).read_text()
    if example.endswith(".service"):
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # ty: ignore[invalid-assignment]
        unit.read_string(text)
        assert int(unit["Service"]["TimeoutStopSec"]) > 90 + 30
        return shlex.split(unit["Service"]["ExecStart"])
    if example.endswith(".yaml"):
        job, _ = yaml.safe_load_all(text)
        assert job["kind"] == "Job"
        pod = job["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] > 90 + 30
        return pod["containers"][0]["command"]
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    settings = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert int(settings["signal"].removeprefix("TERM@")) > 90 + 30
    (line,) = (line for line in text.splitlines() if line.startswith("srun "))
    return shlex.split(line)[1:]


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir()))
def test_an_example_parses_and_names_only_what_exists(example: str) -> None:
    """Its options are the command line's, and it leaves more time than the worker's grace period."""
    found = words(example)
    assert Path(found[0]).name == "trainq"
    group = trainq.make_context("trainq", found[1:])
    name, *arguments = [*group._protected_args, *group.args]
    context = trainq.load(name).make_context(name, arguments, parent=group)
    assert context.params["command"][-1] == "train.py"
    assert context.params["grace"] == 90
    assert os.access(EXAMPLES / example, os.R_OK)
