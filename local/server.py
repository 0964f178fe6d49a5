"""The emulator's process: MiniStack behind https, and plain http to try what must be refused.

Run by `local.emulator`, which hands over two listening sockets and a pipe: when the pipe closes, whoever started the
emulator is gone and the server ends too.
"""

import argparse
import asyncio
import json
import os
import signal
import threading
from typing import Any

from local.faults import Faults, faulty
from local.requestlog import logged

BATCH_ACTIONS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
MOVING = ("StartMessageMoveTask", "ListMessageMoveTasks", "CancelMessageMoveTask")


def patch() -> None:
    """Where MiniStack's authorization differs from AWS's in what this project rests on, make it the same."""
    from ministack.core import iam_actions

    extract, object_context = iam_actions.extract_iam_action, iam_actions._s3_object_context
    resource_arn = iam_actions.extract_resource_arn

    def extract_iam_action(*args: Any, **kwargs: Any) -> str | None:
        """IAM has no batch actions: AWS checks the right to the single one."""
        action = extract(*args, **kwargs)
        return BATCH_ACTIONS.get(action, action) if action else None

    def _s3_object_context(iam_action: str, query_params: dict, path: str, headers: dict) -> dict:
        """AWS tells policies about conditional writes: s3:if-none-match."""
        context = object_context(iam_action, query_params, path, headers)
        if value := headers.get("if-none-match"):
            context["s3:if-none-match"] = value
        return context

    def extract_resource_arn(
        service: str, method: str, path: str, headers: dict, body: bytes, *rest: Any, **more: Any
    ) -> str:
        """Moving messages names its queue by ARN, where other calls have its URL."""
        if service == "sqs" and headers.get("x-amz-target", "").endswith(MOVING):
            return json.loads(body or b"{}").get("SourceArn", "*")
        return resource_arn(service, method, path, headers, body, *rest, **more)

    vars(iam_actions).update(
        extract_iam_action=extract_iam_action,
        extract_resource_arn=extract_resource_arn,
        _s3_object_context=_s3_object_context,
    )


async def serve(https: int, http: int, certificate: str, faults: Faults | None, request_log: bool) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{https}"]
    config.insecure_bind = [f"fd://{http}"]
    config.certfile = config.keyfile = certificate
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.graceful_timeout = 1
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    served = faulty(app, faults) if faults else app
    await hypercorn_serve(logged(served) if request_log else served, config, shutdown_trigger=ended.wait)


def end_with(pipe: int) -> None:
    """Ask for a clean end when the pipe closes, and see to it that the end comes."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(10)
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("https", "http", "pipe"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--faults", type=lambda text: Faults(**json.loads(text)))
    parser.add_argument("--request-log", action="store_true")
    arguments = parser.parse_args()
    threading.Thread(target=end_with, args=(arguments.pipe,), daemon=True).start()
    patch()
    asyncio.run(serve(arguments.https, arguments.http, arguments.certificate, arguments.faults, arguments.request_log))


if __name__ == "__main__":
    main()
