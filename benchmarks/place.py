"""Starts the emulator of a benchmark: over http, without IAM, with a log of its requests.

It uses http since Celery has no setting for a certificate authority. Requests are signed as elsewhere.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.config import Config

from benchmarks.requests import Trace
from local.emulator import Emulator
from local.program import ROOT
from local.requestlog import ONLOOKER, PATH

# An environment for Celery, Dramatiq and the AWS CLI, which need versions of boto3 that MiniStack does not support.
PEERS = ROOT / "benchmarks/venv/bin"
RUN_SECONDS = 180
BUCKET = "bench"
RUNS = "runs/"


@dataclass(frozen=True)
class Place:
    """An emulator with clients whose requests are not counted, and processes that are measured."""

    emulator: Emulator
    folder: Path
    s3: Any
    sqs: Any

    def queue(self, name: str, visibility: int = 180) -> str:
        """Create a queue with a dead letter queue, as the program does. Return its URL."""
        dead = self.sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
        attributes = {"VisibilityTimeout": str(visibility), "RedrivePolicy": redrive}
        return self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def drop(self, queue_url: str) -> None:
        for url in (queue_url, f"{queue_url}-dlq"):
            self.sqs.delete_queue(QueueUrl=url)

    def put(self, objects: dict[str, bytes]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: self.s3.put_object(Bucket=BUCKET, Key=item[0], Body=item[1]), objects.items()))

    def clear(self) -> None:
        """Delete the objects of contestants: the more objects a bucket has, the longer MiniStack takes to find that a
        key is missing."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=RUNS):
            keys = [{"Key": each["Key"]} for each in page.get("Contents", ())]
            if keys:
                self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys, "Quiet": True})

    def send(self, queue_url: str, bodies: Sequence[str], group: str) -> None:
        """Send messages as the function does: in full batches, with the job's group."""
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(number), "MessageBody": body, "MessageGroupId": group}
                for number, body in enumerate(bodies[start : start + 10])
            ]
            self.sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)

    def left(self, queue_url: str) -> int:
        """Return the number of messages on the queue, those in flight included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
        return sum(int(answer[name]) for name in names)

    def environment(self, **settings: Any) -> dict[str, str]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        endpoint = self.emulator.plain_endpoint
        aws = self.emulator.environment() | {"AWS_ENDPOINT_URL": endpoint}
        return foreign | aws | {"BENCH": json.dumps(settings | {"endpoint": endpoint, "bucket": BUCKET})}

    def run(self, argv: Sequence[str], **settings: Any) -> str:
        """Run a contestant to its end. Return its output."""
        with self.started(argv, **settings) as process:
            try:
                status = process.wait(RUN_SECONDS)
            except subprocess.TimeoutExpired:
                status = None
            text = self._log.read_text()
            if status != 0:
                raise RuntimeError(f"{argv} ended with status {status}:\n{text[-3000:]}")
            return text

    def run_until_empty(self, queue_url: str, argv: Sequence[str], **settings: Any) -> None:
        """Run a contestant until it has emptied the queue."""
        with self.started(argv, queue_url=queue_url, **settings) as process:
            deadline = time.monotonic() + RUN_SECONDS
            while self.left(queue_url):
                if time.monotonic() > deadline or process.poll() not in (None, 0):
                    raise RuntimeError(f"{argv} did not empty its queue:\n{self._log.read_text()[-3000:]}")
                time.sleep(0.1)

    @contextlib.contextmanager
    def started(self, argv: Sequence[str], **settings: Any) -> Generator[subprocess.Popen[bytes]]:
        """Start a contestant in a process of its own. At the end of the block it is killed with all its processes."""
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=self.environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def _log(self) -> Path:
        return self.folder / "contestant.log"

    def forget(self) -> None:
        """Empty the emulator's log."""
        self.emulator.ask(PATH, "DELETE")

    def trace(self) -> Trace:
        """Return the requests since the log was emptied, without those of this object's clients."""
        return Trace.of(json.loads(self.emulator.ask(PATH)))


@contextlib.contextmanager
def place() -> Generator[Place]:
    with Emulator(iam=False, request_log=True, plain=True) as emulator, tempfile.TemporaryDirectory() as folder:
        config = Config(user_agent_extra=ONLOOKER.decode(), max_pool_connections=16)
        clients: Any = emulator.session()
        s3, sqs = (
            clients.client(service, endpoint_url=emulator.plain_endpoint, config=config) for service in ("s3", "sqs")
        )
        s3.create_bucket(Bucket=BUCKET)
        yield Place(emulator, Path(folder), s3, sqs)


def ours(module: str, *arguments: str) -> list[str]:
    """Return the command of a contestant that runs in this environment."""
    return [sys.executable, "-m", f"benchmarks.contestants.{module}", *arguments]
