"""Sends raw requests to the emulator: of this run, of strangers and of web pages."""

import base64
import http.client
import io
import json
import multiprocessing
import os
import ssl
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.emulator import REGION, Emulator
from local.program import ACCOUNT
from policies import resources

NOBODY = 65534
TEST = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
FUNCTIONS = "/2015-03-31/functions"
INTRUDER = "intruder"
WHO_AM_I = "import boto3\n\ndef handler(event, context):\n    return boto3.client('sts').get_caller_identity()['Arn']\n"


@dataclass(frozen=True)
class Asked:
    """A raw request."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def signed(self, key: dict[str, str], service: str = "lambda", in_query: bool = False) -> "Asked":
        """Return the request, signed with this key. Strangers can do that, too, with a guessed key."""
        url = f"https://{self.headers['Host']}{self.path}"
        request = AWSRequest(self.method, url, headers=self.headers, data=self.body)
        signer = SigV4QueryAuth if in_query else SigV4Auth
        signer(Credentials(*key.values()), service, REGION).add_auth(request)
        parts = urlsplit(str(request.url))
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return Asked(self.method, path, dict(request.headers.items()), self.body)

    def with_headers(self, **more: str) -> "Asked":
        return Asked(self.method, self.path, self.headers | more, self.body)


def sent(endpoint: str, asked: Asked) -> tuple[int, dict[str, str], str]:
    """Send a request without verifying the certificate: strangers cannot read its authority."""
    url = urlsplit(endpoint)
    assert url.hostname
    connection = (
        http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=ssl._create_unverified_context())
        if url.scheme == "https"
        else http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    )
    try:
        connection.request(asked.method, asked.path, asked.body, asked.headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def as_nobody(do: Callable[..., Any], *arguments: Any) -> Any:
    """Call `do` in a process of another user without rights here, and return its result."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    receiving, sending = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        sending.send(do(*arguments))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    try:
        assert receiving.poll(60), "the other user's process has said nothing"
        return receiving.recv()
    finally:
        process.join(10)


def host(emulator: Emulator) -> dict[str, str]:
    return {"Host": emulator.endpoint.removeprefix("https://")}


def archive(source: str = WHO_AM_I) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("index.py", source)
    return file.getvalue()


def creation(emulator: Emulator, content_type: str = "application/json") -> Asked:
    """Return a request that creates a function, which would run as the user of the emulator."""
    body = {
        "FunctionName": INTRUDER,
        "Runtime": "python3.13",
        "Role": f"arn:aws:iam::{ACCOUNT}:role/{INTRUDER}",
        "Handler": "index.handler",
        "Code": {"ZipFile": base64.b64encode(archive()).decode()},
    }
    headers = host(emulator) | {"Content-Type": content_type}
    return Asked("POST", FUNCTIONS, headers, json.dumps(body).encode())


def queue_creation(emulator: Emulator, content_type: str = "application/x-amz-json-1.0") -> Asked:
    headers = host(emulator) | {"Content-Type": content_type, "X-Amz-Target": "AmazonSQS.CreateQueue"}
    return Asked("POST", "/", headers, json.dumps({"QueueName": INTRUDER}).encode())


def reordered(asked: Asked) -> Asked:
    """Return the request with another key before its signature, which is the one that MiniStack would take."""
    first = f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/lambda/aws4_request, "
    return asked.with_headers(Authorization=asked.headers["Authorization"].replace("AWS4-HMAC-SHA256 ", first))


def made_up(emulator: Emulator) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "ASIA0123456789ABCDEF",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
    }


STRANGERS: dict[str, Callable[[Emulator], Asked]] = {
    "key test": lambda emulator: creation(emulator).signed(TEST),
    "twelve digits": lambda emulator: creation(emulator).signed(TEST | {"AWS_ACCESS_KEY_ID": ACCOUNT}),
    "other twelve digits": lambda emulator: creation(emulator).signed(TEST | {"AWS_ACCESS_KEY_ID": "123456789012"}),
    "no Authorization": creation,
    "no Authorization, as text": lambda emulator: creation(emulator, "text/plain"),
    "a target, as text": lambda emulator: queue_creation(emulator, "text/plain"),
    "a target, key test": lambda emulator: queue_creation(emulator).signed(TEST, "sqs"),
    "an empty key": lambda emulator: creation(emulator).signed(TEST | {"AWS_ACCESS_KEY_ID": ""}),
    "this run's key, another secret": lambda emulator: creation(emulator).signed(
        emulator.root_key | {"AWS_SECRET_ACCESS_KEY": "test"}
    ),
    "this run's signature, another body": lambda emulator: Asked(
        "POST", FUNCTIONS, Asked("POST", FUNCTIONS, host(emulator)).signed(emulator.root_key).headers,
        creation(emulator).body,
    ),
    "a made-up role": lambda emulator: creation(emulator).signed(made_up(emulator)),
    "presigned by key test": lambda emulator: creation(emulator).signed(TEST, in_query=True),
    "an older signature": lambda emulator: creation(emulator).with_headers(Authorization="AWS test:c2lnbmF0dXJl"),
    "two credentials": lambda emulator: reordered(creation(emulator).signed(emulator.root_key)),
}  # fmt: skip


def role_for(emulator: Emulator, name: str) -> str:
    """Return the ARN of a new role that functions and the account may assume."""
    trust = resources.trust([f"arn:aws:iam::{ACCOUNT}:root", "lambda.amazonaws.com"], ACCOUNT)
    role = emulator.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    return role["Role"]["Arn"]
