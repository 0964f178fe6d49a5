"""Counts the requests of a job's tasks to AWS, by runs in the emulator, at its server.

`docs/request-counts.json` keeps what was counted, so that `local.costs` needs no run.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config

from local.deploy import deploy
from local.emulator import Emulator
from local.program import ROOT
from local.requestlog import ONLOOKER, PATH
from local.workers import WorkerProcess
from trainq.protocol import layout

FILE = ROOT / "docs" / "request-counts.json"
DEADLINE_SECONDS = 300
WORKERS = 4
TASKS = 100
# Long enough for a worker's report, at most one a second: shorter tasks cost less.
TASK_SECONDS = 1.2
VISIBILITY = 180
# Ten heartbeats: as a task of ten minutes has with the visibility timeout of 180 s, but 36 times as fast.
LONG_VISIBILITY, LONG_TASK_SECONDS = 5, 17.0


def measure() -> dict[str, Any]:
    """Return for each run the numbers of tasks and workers, and of requests by kind."""
    with Emulator(request_log=True) as emulator:
        short = _Run(emulator, "short", visibility=VISIBILITY)
        runs = {
            # Requests of a worker's start and end. The other runs contain them, too.
            "start": short.work(0),
            "job": short.submit("one", TASKS),
            "one at a time": short.work(TASKS, TASK_SECONDS),
        }
        short.submit("ten", TASKS)
        runs["prefetch"] = short.work(TASKS, TASK_SECONDS, "--prefetch", "10")
        long = _Run(emulator, "long", visibility=LONG_VISIBILITY)
        long.submit("long", WORKERS)
        runs["long"] = long.work(WORKERS, LONG_TASK_SECONDS)
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "runs": runs}


def request_log(emulator: Emulator, method: str = "GET") -> Sequence[Any]:
    """Return the emulator's requests since the log was last emptied. DELETE empties it."""
    return json.loads(emulator.ask(PATH, method))


def onlooker(emulator: Emulator) -> Any:
    """Return an S3 client whose requests are not counted."""
    config = Config(user_agent_extra=ONLOOKER.decode())
    return emulator.session().client("s3", endpoint_url=emulator.endpoint, verify=str(emulator.ca), config=config)


class _Run:
    """A deployed stack on which jobs are run and counted."""

    def __init__(self, emulator: Emulator, name: str, *, visibility: int) -> None:
        self.emulator, self.folder = emulator, emulator.folder / name
        self.folder.mkdir()
        self.stack_file = self.folder / "stack.json"
        self.outputs = deploy(emulator, self.stack_file, model_training_visibility_timeout=visibility)
        self.s3 = onlooker(emulator)

    def submit(self, job: str, tasks: int) -> dict[str, Any]:
        """Submit a job with one shard per task, and count the requests until its last task is sent."""
        for number in range(tasks):
            self.s3.put_object(Bucket=self.outputs["bucket_name"], Key=f"datasets/{job}/{number:05}", Body=b"shard")
        request_log(self.emulator, "DELETE")
        body = json.dumps({"job_id": job, "dataset": f"datasets/{job}/"})
        self.emulator.client("sqs").send_message(QueueUrl=self.outputs["message_queue_url"], MessageBody=body)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._is_there(layout.dispatched(job)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"job {job} is not dispatched:\n{self.emulator.log.read_text()[-2000:]}")
            time.sleep(0.2)
        return self._counted(tasks)

    def work(self, tasks: int, seconds: float = 0, *options: str) -> dict[str, Any]:
        """Run workers until the tasks are done, and count their requests. A task copies its shard to its output."""
        command = ["sh", "-c", f'sleep {seconds}; cp -r "$TRAINQ_SHARDS"/. "$TRAINQ_OUTPUT"']
        environment = self.emulator.environment(self.emulator.assume(self.outputs["worker_role_arn"], "counts"))
        request_log(self.emulator, "DELETE")
        options = ("--concurrency", str(WORKERS), "--idle-exit", "1", *options)
        workers = WorkerProcess.start("w", self.stack_file, command, environment, self.folder, *options)
        try:
            status = workers.process.wait(DEADLINE_SECONDS)
        finally:
            workers.process.terminate()
        if status or (done := sum(each.what == "done" for each in workers.follow())) != tasks:
            raise RuntimeError(f"status {status}, {done} of {tasks} tasks done:\n{workers.log.read_text()[-2000:]}")
        return self._counted(tasks)

    def _is_there(self, key: str) -> bool:
        return bool(self.s3.list_objects_v2(Bucket=self.outputs["bucket_name"], Prefix=key)["KeyCount"])

    def _counted(self, tasks: int) -> dict[str, Any]:
        requests = Counter(what for _, _, what in request_log(self.emulator))
        return {"tasks": tasks, "workers": WORKERS, "requests": dict(sorted(requests.items()))}
