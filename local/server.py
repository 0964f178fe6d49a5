"""Runs the emulator's process: MiniStack over https, behind a gate that accepts only requests of this run.

`local.emulator` starts it and passes a listening socket and a pipe. When the parent process ends, the pipe closes and
the server ends, too. The run's key is in its environment, which only its user can read; every user can read a command
line. A second socket, for plain http, is for tests of requests that must be refused there.
"""

import argparse
import asyncio
import json
import os
import signal
import threading

from local import authorization
from local.faults import Faults, faulty
from local.requestlog import logged


async def serve(https: int, http: int | None, certificate: str, faults: Faults | None, request_log: bool) -> None:
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config
    from ministack.app import app

    from local.gate import gated

    config = Config()
    config.bind = [f"fd://{https}"]
    config.insecure_bind = [] if http is None else [f"fd://{http}"]
    config.certfile = config.keyfile = certificate
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.graceful_timeout = 1
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    served = faulty(app, faults) if faults else app
    served = gated(logged(served) if request_log else served, os.environ["AWS_ACCESS_KEY_ID"])
    await hypercorn_serve(served, config, shutdown_trigger=ended.wait)


def end_with(pipe: int) -> None:
    """When the pipe closes, end the process with SIGTERM, and if it has not ended after 10 s, at once."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(10)
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, required in (("https", True), ("http", False), ("pipe", True)):
        parser.add_argument(f"--{name}", type=int, required=required)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--faults", type=lambda text: Faults(**json.loads(text)))
    parser.add_argument("--request-log", action="store_true")
    arguments = parser.parse_args()
    threading.Thread(target=end_with, args=(arguments.pipe,), daemon=True).start()
    authorization.patch()
    asyncio.run(serve(arguments.https, arguments.http, arguments.certificate, arguments.faults, arguments.request_log))


if __name__ == "__main__":
    main()
