"""Injects faults, as AWS has them, into the emulator's requests. They are seeded and logged."""

import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
# An ASGI application. Its types differ between servers.
App = Any

# The faults. Without effect: refused with 500 ("error") or 503 ("throttled"), or cut off ("reset"). After the request
# has taken effect: cut off ("answer lost"), or answered with 500 ("error after success"). Answered late ("slow").
KINDS = ("error", "throttled", "reset", "answer lost", "error after success", "slow")


@dataclass(frozen=True)
class Faults:
    """Settings of the faults. `rate`: share of the requests of roles that have a fault; requests of the account's root
    have none. `log`: path of a file that gets one line of JSON for each fault."""

    rate: float
    seed: int
    log: str
    slow_seconds: float = 1.5
    kinds: Sequence[str] = KINDS

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def faulty(app: App, faults: Faults) -> App:
    """Return the application with faults in its requests."""
    import asyncio

    chance = random.Random(faults.seed)
    log = Path(faults.log)

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        if scope["type"] != "http" or b"Credential=ASIA" not in headers.get(b"authorization", b""):
            await app(scope, receive, send)
            return
        if chance.random() >= faults.rate:
            await app(scope, receive, send)
            return
        kind = chance.choice(faults.kinds)
        what = headers.get(b"x-amz-target", b"").decode() or f"{scope['method']} {scope['path']}"
        with log.open("a") as file:
            file.write(json.dumps({"time": time.time(), "kind": kind, "what": what}) + "\n")
        if kind == "slow":
            await asyncio.sleep(faults.slow_seconds)
            await app(scope, receive, send)
            return
        if kind in ("answer lost", "error after success"):
            await app(scope, receive, _nowhere)
        else:
            await _read(receive)
        if kind in ("reset", "answer lost"):
            await _cut_off(send)
        else:
            await _refuse(send, 503 if kind == "throttled" else 500)

    return wrapped


async def _nowhere(message: dict[str, Any]) -> None:
    """Discard a message of the answer."""


async def _read(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


async def _refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _cut_off(send: Send) -> None:
    """Announce more bytes than are sent, then raise: the server closes the connection amid the answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
    raise ConnectionAbortedError("cut off on purpose")
