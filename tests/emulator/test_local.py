"""The stack on this machine: `python -m local`."""

import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.deploy import deploy
from local.emulator import Emulator
from local.program import ROOT
from local.provider import Provider
from local.workers import running
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually

LOCAL = [sys.executable, "-m", "local"]


def test_the_demo_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """What `make demo` runs, with fewer tasks. Its own checks decide its exit status; here that it makes them."""
    began = time.time()
    done = subprocess.run(
        [*LOCAL, "demo", "--shards", "55"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        r"✓ 55 of 56 tasks are done, in \d+ attempts",
        r"✓ worker-\d was killed in the middle of task (\d+), which worker-\d finished \(attempt \d\)",
        r"✓ it is task 0, with the broken shard, tried 5 times",
        r"✓ its reason: exit status 1, error: stdlib/00000-broken.txt: not UTF-8 text",
        r"✓ the merged counts equal those of a single process over the same shards, exactly",
        r"✓ perplexity on 20 held-out modules",
    ):
        assert re.search(said, done.stdout), f"{said} is not in\n{done.stdout}"
    for name in ("demo-timeline.svg", "demo-timeline.png"):
        assert (ROOT / "build" / name).stat().st_mtime > began
    assert "killed" in (ROOT / "build" / "demo-timeline.svg").read_text()
    assert not running(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*LOCAL, "demo"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    eventually(lambda: list(tmp_path.glob("*/worker-3.log")), "the emulator and three workers run")
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert "Traceback" not in said
    eventually(lambda: not running(str(tmp_path)), "nothing of it runs any more")
    eventually(lambda: not list(tmp_path.iterdir()), "its folders are removed")


@pytest.fixture
def up(tmp_path: Path):
    """`python -m local up` in a folder of its own, and what it printed to export."""
    process = subprocess.Popen(
        [*LOCAL, "up"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert process.stdout
    exported = {}
    for line in process.stdout:
        if line.startswith("export "):
            name, _, value = shlex.split(line)[1].partition("=")
            exported[name] = value
        if "Ctrl-C ends it" in line:
            break
    yield process, exported
    process.kill()
    process.communicate()


def test_up_prints_all_that_clients_need_and_listens_on_this_machine_only(up, tmp_path: Path) -> None:
    """The command line runs in a shell that has exported it, and nothing else of AWS."""
    _, exported = up
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRAINQ_"))}
    done = subprocess.run(
        [sys.executable, "-m", "trainq", "upload", str(ROOT / "examples"), "--dataset", "examples"],
        env=foreign | exported,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "shards uploaded" in done.stdout
    listens_on_this_machine_only(int(exported["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]), tmp_path)


def listens_on_this_machine_only(port: int, folder: Path) -> None:
    """Fail unless the emulator listens on this port, over https, and on no other address or port."""
    (server,) = (pid for pid in running(str(folder)) if b"local.server" in Path(f"/proc/{pid}/cmdline").read_bytes())
    sockets = {str(path.readlink()) for path in Path(f"/proc/{server}/fd").iterdir()}
    lines = [
        line.split()
        for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    # The state of a socket that listens; an address is four bytes in hex, the last first.
    addresses = {line[1] for line in lines if line[3] in ("0A", "07") and f"socket:[{line[9]}]" in sockets}
    assert addresses == {f"0100007F:{port:04X}"}
    plain = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    plain.request("GET", "/_ministack/health")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.getresponse()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_up_ends_its_emulator_ends_too(up, tmp_path: Path, number: signal.Signals) -> None:
    """SIGKILL included: the server sees that the pipe to its starter is closed."""
    process, _ = up
    assert running(str(tmp_path))
    process.send_signal(number)
    process.wait(30)
    eventually(lambda: not running(str(tmp_path)), "the emulator has ended", seconds=30)


def test_an_unknown_resource_type_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a resource to the program learns where to say how the emulator makes it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(NotImplementedError, match=r"aws:ec2/vpc:Vpc \(net\): say in local/provider.py how"):
        Provider().create("aws:ec2/vpc:Vpc", "net", {})


@pytest.mark.parametrize(("stack", "encrypted"), [("dev", "sqs"), ("prod", "kms")])
def test_the_stacks_for_aws_deploy_and_take_a_job_to_its_result(
    emulator: Emulator, tmp_path: Path, stack: str, encrypted: str
) -> None:
    """Their own settings, timeouts and keys; the rights of a worker and of a submitter."""
    mine = Deployed(emulator, deploy(emulator, tmp_path / "stack.json", stack=stack), tmp_path)
    url = mine.stack.model_training_queue_url
    attributes = mine.stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert ("KmsMasterKeyId" in attributes) == (encrypted == "kms")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a").write_text("abc")
    mine.trainq("upload", str(tmp_path / "corpus"), "--dataset", "d")
    mine.trainq("submit", "--dataset", "d", "--job-id", "j")
    worker = emulator.role_credentials(f"worker-{stack}", mine.outputs["worker_policy_arn"])
    done = mine.trainq("work", "--poll", "5", "--max-tasks", "1", "--", "true", credentials=worker)
    assert "task 0 of job j, attempt 1: done" in done.stderr
    assert mine.read("runs/j/results/0.json")["attempt_number"] == 1
