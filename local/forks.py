"""Runs functions in processes that are forked from one in which the SDK is imported already.

An evaluation of the program needs a process of its own, since the SDK keeps its state in globals; importing the SDK is
three quarters of its time.
"""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["local.preloaded"])


def forked(do: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
    """Return what this returns in a process of its own. Raises RuntimeError with what it raised there."""
    receiving, sending = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_answer, args=(sending, do, arguments), daemon=True)
    process.start()
    sending.close()
    try:
        if not receiving.poll(seconds):
            raise RuntimeError(f"no answer in {seconds} s")
        found, wrong = receiving.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"its process ended with status {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        receiving.close()
    if wrong:
        raise RuntimeError(wrong)
    return found


def _answer(sending: Connection, do: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # Ctrl-C goes to whoever asked, who then ends this process.
    os.setsid()
    try:
        answer = do(*arguments), None
    except Exception as error:
        answer = None, str(error)
    sending.send(answer)
