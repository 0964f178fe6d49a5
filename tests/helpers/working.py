"""Dispatches jobs and runs workers, in this process or in processes of their own."""

import json
import signal
import time
from typing import Any

from local.workers import WorkerProcess
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually
from trainq.protocol import layout
from trainq.worker.signals import PAUSE_SECONDS
from trainq.worker.training import Train, TrainingTask
from trainq.worker.worker import Options, Worker


def dispatch(deployed: Deployed, shards: int = 1, **job: Any) -> None:
    """Send the tasks of a job 'j' to the model training queue. It has `shards` shards and by default as many tasks."""
    deployed.put_dataset("d", {f"{number:03}": b"x" for number in range(shards)})
    deployed.submit(job_id="j", dataset="datasets/d/", **job)
    eventually(lambda: deployed.keys(layout.dispatched("j")), "the tasks are sent")


def started(worker: WorkerProcess) -> bool:
    worker.follow()
    return worker.current is not None


def insist(worker: WorkerProcess) -> None:
    """Send SIGINT, and again after the pause that makes it a second request. Fails unless the exit status is 0."""
    worker.process.send_signal(signal.SIGINT)
    time.sleep(1.5 * PAUSE_SECONDS)
    worker.process.send_signal(signal.SIGINT)
    assert worker.process.wait(15) == 0, worker.log.read_text()


def run_here(deployed: Deployed, train: Train, **options: Any) -> None:
    """Run a worker in this process, by default for one delivery."""
    chosen: dict[str, Any] = {"name": "w1", "folder": deployed.folder, "max_tasks": 1, "idle_exit": 60} | options
    Worker(deployed.stack, train, Options(**chosen)).run()


def send_again(deployed: Deployed) -> None:
    """Send the only task of 'j' a second time, as after a lost answer to the first send."""
    body = {"job_id": "j", "task": 0, "tasks": 1, "shards": ["datasets/d/000"], "parameters": {}}
    deployed.stack.sqs.send_message(QueueUrl=deployed.stack.model_training_queue_url, MessageBody=json.dumps(body))


def write(text: str):
    def train(task: TrainingTask) -> None:
        (task.output / "model").write_text(text)

    return train
