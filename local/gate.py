"""Refuses every request that is not signed by this run's key, or by a key that STS handed out in this run.

MiniStack takes the key `test`, any twelve digits, and often a request without a key for the account's root, whose
signature it does not check. It answers to any Host, with CORS `*`, and requires no key for paths below `/_ministack`.
So any user of this machine, and any web page open on it, could create functions that run as the user of the emulator.
"""

import json
import re
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from ministack.core import iam_evaluator, sigv4
from ministack.services import sts

from local.faults import App, Receive, Scope, Send

INTERNAL = "/_ministack"
# Answered without a signature, for the check that the emulator has started. It lists only names of services.
HEALTH = f"{INTERNAL}/health"
# The Authorization header of all SDKs. The first group is the access key. A header with a second Credential, which
# MiniStack would read, does not match.
SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/[^,\s]+, *SignedHeaders=[^,\s]+, *Signature=[0-9a-f]{64}", re.ASCII
)
# Headers that browsers send and AWS clients do not.
ORIGIN, FETCH = "origin", "sec-fetch-"
CORS = b"access-control-"
# Clients of S3 send this header: the body's hash, or that the body is not signed. Others sign the hash and send none.
BODY_HASH = "x-amz-content-sha256"


class Refused(Exception):
    """Raised if a request is refused, with an error code of AWS and a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


def gated(app: App, key_id: str) -> App:
    """Return the application for requests of this run only. `key_id`: access key of the account's root."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        headers = _joined(scope["headers"])
        try:
            refuse_foreign(scope, headers)
            if scope["path"] != HEALTH:
                receive = await _verified(scope, headers, receive, key_id)
        except Refused as refused:
            await _answer(refused, "x-amz-target" in headers, send)
            return
        await app(scope, receive, _without_cors(send))

    return wrapped


def refuse_foreign(scope: Scope, headers: dict[str, str]) -> None:
    """Raise Refused for requests that a web page makes, and for paths that are not AWS's."""
    # DNS rebinding: if an attacker's host name resolves to 127.0.0.1, browsers take his page for the emulator's own.
    port = scope["server"][1]
    ours = (f"127.0.0.1:{port}", f"localhost:{port}")
    if headers.get("host") not in ours:
        raise Refused("AccessDenied", f"the Host is {headers.get('host')}, and must be {' or '.join(ours)}")
    if scope["method"] == "OPTIONS" or any(name == ORIGIN or name.startswith(FETCH) for name in headers):
        raise Refused("AccessDenied", "a web page may not ask the emulator: use a client that sends no Origin")
    path = scope["path"]
    if path.startswith(INTERNAL) and (scope["method"], path) != ("GET", HEALTH):
        raise Refused("AccessDenied", f"of what is below {INTERNAL} only GET {HEALTH} is answered")


async def _verified(scope: Scope, headers: dict[str, str], receive: Receive, key_id: str) -> Receive:
    """Verify the request's signature and return a `receive` that still has the body. Raises Refused."""
    found = SIGNED.fullmatch(headers.get("authorization", ""))
    if not found:
        raise Refused("MissingAuthenticationToken", "the request must be signed: AWS4-HMAC-SHA256, in Authorization")
    # Check the key before the body is read: a stranger can send a body of any size.
    if found[1] != key_id and found[1] not in sts._sessions:
        raise Refused("InvalidClientTokenId", f"{found[1]} is no access key of this run: export what `local up` prints")
    signature = _or_refuse(sigv4.parse_header_signature(headers))
    _or_refuse(sigv4.request_time_failure(signature))
    token = headers.get("x-amz-security-token")
    credential = iam_evaluator.resolve_credential(found[1], session_token=token)
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        raise Refused(credential.code, credential.message)
    body = b"" if BODY_HASH in headers else await _read(receive)
    query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
    path = scope["raw_path"].decode("ascii")
    secret = credential.secret_access_key
    _or_refuse(sigv4.header_signature_failure(signature, secret, scope["method"], path, query, headers, body))
    return receive if BODY_HASH in headers else _again(body, receive)


def _or_refuse(found: Any) -> Any:
    """Return MiniStack's result. Raises Refused if it is a failure, which is a pair of code and sentence."""
    if isinstance(found, tuple):
        raise Refused(*found)
    return found


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by lower-case name. Repeated headers are joined by commas, as in the signature."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), sigv4.decode_header_value(value)
        joined[key] = f"{joined[key]},{text}" if key in joined else text
    return joined


async def _read(receive: Receive) -> bytes:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns the body, which has been read already."""
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Any:
        return unread.pop() if unread else await receive()

    return received


def _without_cors(send: Send) -> Send:
    """Return the same `send` without the headers that let web pages read an answer."""

    async def sent(message: dict[str, Any]) -> None:
        if "headers" in message:
            kept = [(name, value) for name, value in message["headers"] if not name.lower().startswith(CORS)]
            message = {**message, "headers": kept}
        await send(message)

    return sent


async def _answer(refused: Refused, as_json: bool, send: Send) -> None:
    """Send an error as boto3 expects it. Lambda's client takes the code from a header, and any body for the message."""
    text = json.dumps({"__type": refused.code, "message": refused.sentence})
    if not as_json:
        code, sentence = escape(refused.code), escape(refused.sentence)
        text = f"<ErrorResponse><Error><Code>{code}</Code><Message>{sentence}</Message></Error></ErrorResponse>"
    headers = [
        (b"content-type", b"application/x-amz-json-1.0" if as_json else b"text/xml"),
        (b"content-length", str(len(text.encode())).encode()),
        (b"x-amzn-errortype", refused.code.encode()),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
