"""Logs the requests to the emulator with their times. Counts at the server are exact.

`GET /_requests` answers the list, `DELETE /_requests` empties it; `Emulator.ask` signs both. The times are from the
machine's monotonic clock, which all its processes share.
"""

import json
import re
import time
from typing import Any

from local.faults import App, Receive, Scope, Send

PATH = "/_requests"
# Requests with this in their user agent are not counted.
ONLOOKER = b"onlooker"
SERVICE = re.compile(rb"Credential=[^/]+/\d+/[^/]+/([^/]+)/")
ACTION = re.compile(rb"(?:^|&)Action=(\w+)")


def logged(app: App) -> App:
    """Return the application with a log of its requests: [begun, ended or null, "service:what"]."""
    log: list[list[Any]] = []

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http" or ONLOOKER in headers.get(b"user-agent", b""):
            await app(scope, receive, send)
            return
        if scope["path"] == PATH:
            await _answer(log if scope["method"] == "GET" else [], send)
            if scope["method"] == "DELETE":
                log.clear()
            return
        entry: list[Any] = [time.monotonic(), None, _what(scope, headers, b"")]
        log.append(entry)

        async def reading() -> Any:
            message = await receive()
            # SQS's older protocol names the action in the body.
            if entry[2].endswith(":POST"):
                entry[2] = _what(scope, headers, message.get("body", b""))
            return message

        try:
            await app(scope, reading, send)
        finally:
            entry[1] = time.monotonic()

    return wrapped


def _what(scope: Scope, headers: dict[bytes, bytes], body: bytes) -> str:
    found = SERVICE.search(headers.get(b"authorization", b""))
    service = found[1].decode() if found else "unsigned"
    if target := headers.get(b"x-amz-target"):
        return f"{service}:{target.decode().rsplit('.', 1)[-1]}"
    if action := ACTION.search(scope["query_string"]) or ACTION.search(body):
        return f"{service}:{action[1].decode()}"
    if b"list-type=" in scope["query_string"]:
        return f"{service}:LIST"
    return f"{service}:{scope['method']}"


async def _answer(log: list[list[Any]], send: Send) -> None:
    body = json.dumps(log).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
