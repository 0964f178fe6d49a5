"""4. Latency on the local stack, with IAM and TLS: from `trainq submit` to the first task's command, and from the
SIGKILL of a worker until its task runs elsewhere."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import summary
from local.deploy import deploy
from local.emulator import Emulator
from local.workers import TRAINQ, WorkerProcess
from trainq.stack import Stack

ROUNDS = 5
FULL_ROUNDS = 15
WAIT_SECONDS = 60


def run(*, full: bool) -> dict[str, Any]:
    rounds = FULL_ROUNDS if full else ROUNDS
    with Emulator() as emulator:
        outputs = deploy(emulator, emulator.folder / "stack.json")
        stack = emulator.stack(outputs)
        stack.s3.put_object(Bucket=stack.bucket_name, Key="datasets/d/shard", Body=b"x")
        worker = emulator.environment(emulator.assume(outputs["worker_role_arn"], "bench"))
        user = emulator.environment(emulator.role_credentials("submitter", outputs["submitter_policy_arn"]))
        queue = stack.sqs.get_queue_attributes(
            QueueUrl=stack.model_training_queue_url, AttributeNames=["VisibilityTimeout"]
        )
        timeout = int(queue["Attributes"]["VisibilityTimeout"])
        starts, commands = [], []
        for number in range(rounds):
            whole, command = submitted(emulator.folder, f"start-{number}", worker, user)
            starts.append(whole)
            commands.append(command)
            print(f"  round {number + 1}: submitted to running: {whole:.2f} s, of which submit took {command:.2f} s")
        kills = []
        for number in range(rounds):
            # Spread over the time between two heartbeats.
            kills.append(killed(emulator.folder, stack, f"kill-{number}", worker, 0.1 + timeout / 3 * number / rounds))
            print(f"  round {number + 1}: killed to running elsewhere: {kills[-1] / timeout:.2f} visibility timeouts")
    return {
        "visibility_timeout": timeout,
        "submit_to_running": summary(starts),
        "submit_command": summary(commands),
        "kill_to_running": summary(kills),
        "kill_in_timeouts": summary([each / timeout for each in kills]),
    }


def submitted(folder: Path, job: str, worker: dict[str, str], user: dict[str, str]) -> tuple[float, float]:
    """Return the seconds from the start of `trainq submit` to the command's first line, and those of the submit."""
    with tempfile.TemporaryDirectory() as name:
        seen = Path(name) / "seen"
        waiting = _waiting_worker(f"w-{job}", folder, worker, f"date +%s.%N >> {seen}", "--poll", "20")
        begun = time.time()
        command = [*TRAINQ, "--stack", str(folder / "stack.json"), "submit", "--dataset", "d", "--job-id", job]
        subprocess.run(command, env=os.environ | user, check=True, capture_output=True)
        ended = time.time()
        try:
            started = float(_lines(seen, 1)[0])
            _until_done(waiting)
        finally:
            waiting.kill()
        return started - begun, ended - begun


def killed(folder: Path, stack: Stack, job: str, worker: dict[str, str], after: float) -> float:
    """Return the seconds from a worker's SIGKILL, `after` seconds into its task, until the command runs again."""
    with tempfile.TemporaryDirectory() as name:
        seen = Path(name) / "seen"
        # The first attempt never ends by itself, the second one ends at once.
        command = f"date +%s.%N >> {seen}; [ $(wc -l < {seen}) -gt 1 ] || sleep 600"
        first = _waiting_worker(f"a-{job}", folder, worker, command)
        message = {"job_id": job, "dataset": "datasets/d/"}
        stack.sqs.send_message(QueueUrl=stack.message_queue_url, MessageBody=json.dumps(message))
        _lines(seen, 1)
        second = _waiting_worker(f"b-{job}", folder, worker, command)
        try:
            time.sleep(after)
            begun = time.time()
            first.kill()
            again = float(_lines(seen, 2)[1])
            _until_done(second)
            return again - begun
        finally:
            second.kill()


def _waiting_worker(name: str, folder: Path, worker: dict[str, str], command: str, *options: str) -> WorkerProcess:
    """Start a worker and wait until it waits for a task."""
    running = WorkerProcess.start(name, folder / "stack.json", ["sh", "-c", command], worker, folder, *options)
    _until(lambda: "waiting for tasks" in running.log.read_text(), f"{name} waits for tasks")
    return running


def _until_done(worker: WorkerProcess) -> None:
    """Wait until the task is done, then stop the worker: otherwise the next worker would receive the task."""
    _until(lambda: any(event.what == "done" for event in worker.follow() or worker.events), f"{worker.name} is done")
    worker.end()


def _lines(path: Path, number: int) -> list[str]:
    return _until(lambda: (found := _read(path))[number - 1 :] and found, f"{path.name} has {number} lines")


def _read(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


def _until(holds: Any, what: str) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {WAIT_SECONDS} s still not: {what}")
        time.sleep(0.01)
    return found
