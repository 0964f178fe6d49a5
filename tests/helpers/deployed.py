"""A stack in the emulator, with the calls that tests make."""

import functools
import json
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.emulator import Emulator
from local.workers import WorkerProcess
from tests.helpers.commands import run_forked, trainq
from tests.helpers.waiting import DEADLINE_SECONDS
from trainq.stack import Stack
from trainq.transfers import listed


@dataclass(frozen=True)
class Deployed:
    """A stack of a test's own in the emulator, and a folder for its files."""

    emulator: Emulator
    outputs: dict[str, str]
    folder: Path
    # For how many seconds a receive of each worker may go on in the emulator when the worker is killed.
    polls: list[float] = field(default_factory=list)

    @functools.cached_property
    def stack(self) -> Stack:
        """Return the stack with clients of the account's root, for checks, not for what the test is about."""
        return self.emulator.stack(self.outputs)

    @property
    def stack_file(self) -> Path:
        return self.folder / "stack.json"

    @functools.cached_property
    def worker_credentials(self) -> dict[str, str]:
        return self.emulator.assume(self.outputs["worker_role_arn"], "test")

    @functools.cached_property
    def submitter_credentials(self) -> dict[str, str]:
        return self._credentials("submitter")

    @functools.cached_property
    def operator_credentials(self) -> dict[str, str]:
        return self._credentials("operator")

    def _credentials(self, who: str) -> dict[str, str]:
        policy = self.outputs[f"{who}_policy_arn"]
        return self.emulator.role_credentials(f"{who}-{uuid.uuid4().hex[:8]}", policy)

    def trainq(
        self,
        *arguments: str,
        status: int = 0,
        stdin: str = "",
        credentials: dict[str, str] | None = None,
        source: str | None = None,
        variables: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `trainq`, by default as a submitter. Fails if its exit status is not the expected one."""
        done = trainq(
            "--stack",
            source or str(self.stack_file),
            *arguments,
            environment=self.environment(credentials or self.submitter_credentials) | (variables or {}),
            stdin=stdin,
            seconds=DEADLINE_SECONDS,
        )
        assert done.returncode == status, f"trainq {arguments}: status {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def environment(self, credentials: dict[str, str]) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", **self.emulator.environment(credentials)}

    def put_dataset(self, name: str, shards: dict[str, bytes]) -> None:
        for key, body in shards.items():
            self.stack.s3.put_object(Bucket=self.stack.bucket_name, Key=f"datasets/{name}/{key}", Body=body)

    def submit(self, **job: Any) -> None:
        """Send a job to the message queue without checks."""
        self.send(json.dumps(job))

    def send(self, body: str) -> None:
        self.stack.sqs.send_message(QueueUrl=self.stack.message_queue_url, MessageBody=body)

    def worker(self, name: str, *command: str, options: tuple[str, ...] = ()) -> WorkerProcess:
        self.polls.append(float(options[options.index("--poll") + 1]) if "--poll" in options else 1.0)
        environment = self.emulator.environment(self.worker_credentials)
        return WorkerProcess.start(name, self.stack_file, command, environment, self.folder, *options, run=run_forked)

    def run_worker(self, name: str, *command: str, options: tuple[str, ...] = ("--idle-exit", "2")) -> WorkerProcess:
        """Run a worker until the queue is empty. Fails if its exit status is not 0."""
        worker = self.worker(name, *command, options=options)
        status = worker.process.wait(DEADLINE_SECONDS)
        worker.follow()
        assert status == 0, worker.log.read_text()
        return worker

    def waiting(self, output: str) -> int:
        """Return the number of messages that can be received from the queue of this output."""
        return self._count(output, "ApproximateNumberOfMessages")

    def in_flight(self, output: str) -> int:
        return self._count(output, "ApproximateNumberOfMessagesNotVisible")

    def _count(self, output: str, attribute: str) -> int:
        answer = self.stack.sqs.get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=[attribute])
        return int(answer["Attributes"][attribute])

    def receive_all(self, output: str) -> list[dict[str, Any]]:
        """Receive all messages that can be received now. They stay in flight."""
        found: list[dict[str, Any]] = []
        while some := self.stack.sqs.receive_message(
            QueueUrl=self.outputs[output],
            MaxNumberOfMessages=10,
            WaitTimeSeconds=0,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages"):
            found += some
        return found

    def emptied(self) -> bool:
        """Empty queues and bucket. Return False if the function may be running, so that more messages may come."""
        if self.waiting("message_queue_url") or self.in_flight("message_queue_url"):
            return False
        for name in (each for each in self.outputs if each.endswith("queue_url")):
            self.stack.sqs.purge_queue(QueueUrl=self.outputs[name])
        keys = [each["Key"] for each in listed(self.stack.s3, self.stack.bucket_name, "")]
        for key in keys:
            self.stack.s3.delete_object(Bucket=self.stack.bucket_name, Key=key)
        return True

    def keys(self, prefix: str) -> list[str]:
        found = self.stack.s3.list_objects_v2(Bucket=self.stack.bucket_name, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", ())]

    def read(self, key: str) -> Any:
        return json.loads(self.stack.s3.get_object(Bucket=self.stack.bucket_name, Key=key)["Body"].read())
