"""Runs functions in processes that are forked from one that has imported the SDK already.

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
    """Call `do` in a process of its own and return its result. Raises RuntimeError with the text of its exception."""
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
    # A session of its own: Ctrl-C goes to the parent process, which then ends this one.
    os.setsid()
    try:
        answer = do(*arguments), None
    except Exception as error:
        answer = None, str(error)
    sending.send(answer)
