"""Whom the emulator lets in: this run's key, and what STS handed out. Tried as another user, and as web pages ask."""

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.emulator import Emulator
from local.program import ACCOUNT
from local.requestlog import PATH as REQUEST_LOG
from tests.helpers.strangers import (
    FUNCTIONS,
    INTRUDER,
    STRANGERS,
    TEST,
    Asked,
    archive,
    as_nobody,
    creation,
    host,
    role_for,
    sent,
)
from tests.helpers.waiting import eventually

# They share an emulator.
pytestmark = pytest.mark.xdist_group("gate")

HEALTH = "/_ministack/health"


@pytest.fixture(scope="module")
def emulator() -> Generator[Emulator]:
    """With all that it can listen on, and a log of requests; in a folder that others can get to."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        with Emulator(Path(parent) / "emulator", plain=True, request_log=True) as running:
            # Of all that there is in an account, what a function takes.
            role_for(running, INTRUDER)
            yield running


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers_create_nothing(emulator: Emulator, stranger: str) -> None:
    """Another user of this machine, who can reach the port and knows nothing."""
    status, _, said = as_nobody(sent, emulator.endpoint, STRANGERS[stranger](emulator))
    assert status == 403, said
    assert "Message" in said or "message" in said, "a sentence says why"
    assert not created(emulator)


def test_plain_http_lets_nobody_else_in_either(emulator: Emulator) -> None:
    asked = creation(emulator).with_headers(Host=emulator.plain_endpoint.removeprefix("http://"))
    for each in (asked, asked.signed(TEST)):
        assert as_nobody(sent, emulator.plain_endpoint, each)[0] == 403
    assert not created(emulator)
    assert sent(emulator.plain_endpoint, asked.signed(emulator.root_key))[0] == 201, "it is the key that decides"
    emulator.client("lambda").delete_function(FunctionName=INTRUDER)


def created(emulator: Emulator) -> list[str]:
    functions = emulator.client("lambda").list_functions()["Functions"]
    queues = emulator.client("sqs").list_queues().get("QueueUrls", [])
    names = [each["FunctionName"] for each in functions] + [url.rsplit("/", 1)[-1] for url in queues]
    return [name for name in names if name == INTRUDER]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Dest": "image"},
        {"Host": "example.com"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.example.com:443"},
    ],
    ids=str,
)
def test_web_pages_create_nothing(emulator: Emulator, headers: dict[str, str]) -> None:
    """Not even what the run's own key has signed: a header that says it is from a page decides."""
    asked = creation(emulator)
    named = Asked(asked.method, asked.path, asked.headers | headers, asked.body).signed(emulator.root_key)
    assert sent(emulator.endpoint, named)[0] == 403
    # As a page can, without a preflight.
    text = creation(emulator, "text/plain").with_headers(**headers)
    assert sent(emulator.endpoint, text)[0] == 403
    assert not created(emulator)


def test_web_pages_are_not_told_that_they_may_ask_or_read(emulator: Emulator) -> None:
    """CORS: browsers send what a page may not send only after such a preflight, and keep answers from it otherwise."""
    wish = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    preflight = Asked("OPTIONS", FUNCTIONS, host(emulator) | wish)
    listing = Asked("GET", FUNCTIONS, host(emulator)).signed(emulator.root_key)
    buckets = Asked("GET", "/", host(emulator) | {"x-amz-content-sha256": hashlib.sha256().hexdigest()})
    health = Asked("GET", HEALTH, host(emulator))
    for asked, expected in (
        (preflight, 403),
        (Asked("OPTIONS", "/", host(emulator)).signed(emulator.root_key), 403),
        (listing, 200),
        (buckets.signed(emulator.root_key, "s3"), 200),
        (health, 200),
        (creation(emulator), 403),
    ):
        status, headers, said = sent(emulator.endpoint, asked)
        assert status == expected, said
        assert not [name for name in headers if name.startswith("access-control-")], asked


@pytest.mark.parametrize("key", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/_ministack/reset"),
        ("POST", "/%5Fministack/reset"),
        ("POST", "/_ministack/config"),
        ("GET", "/_ministack/sqs/messages"),
        ("GET", "/_ministack/ready"),
        ("POST", HEALTH),
    ],
)
def test_ministacks_own_interface_is_closed(emulator: Emulator, method: str, path: str, key: bool) -> None:
    sqs = emulator.client("sqs")
    sqs.create_queue(QueueName="kept")
    asked = Asked(method, path, host(emulator))
    assert sent(emulator.endpoint, asked.signed(emulator.root_key) if key else asked)[0] == 403
    assert sqs.get_queue_url(QueueName="kept")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_log_of_requests_is_for_this_run(emulator: Emulator, method: str) -> None:
    for asked in (Asked(method, REQUEST_LOG, host(emulator)), Asked(method, REQUEST_LOG, host(emulator)).signed(TEST)):
        assert sent(emulator.endpoint, asked)[0] == 403
    assert json.loads(emulator.ask(REQUEST_LOG))


def test_a_stranger_can_see_that_the_emulator_runs_and_no_more(emulator: Emulator) -> None:
    assert sent(emulator.endpoint, Asked("GET", HEALTH, host(emulator)))[0] == 200
    for path in ("/", "/health", "/_localstack/health", "/bucket/key", "/_aws/lambda-url/x/"):
        assert sent(emulator.endpoint, Asked("GET", path, host(emulator)))[0] == 403, path


def test_no_websocket_is_opened(emulator: Emulator) -> None:
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }  # fmt: skip
    assert sent(emulator.endpoint, Asked("GET", "/_aws/execute-api/a/s", host(emulator) | upgrade))[0] == 403


def test_a_large_body_of_a_stranger_is_refused_before_it_is_sent(emulator: Emulator) -> None:
    """It would be kept in memory. A client that waits for the server's consent is told no instead."""
    asked = Asked("PUT", "/bucket/key", host(emulator) | {"Expect": "100-continue", "Content-Length": "999999999"})
    assert sent(emulator.endpoint, asked)[0] == 403


def test_the_keys_of_this_run_of_roles_and_of_functions_are_taken(emulator: Emulator) -> None:
    """A function has its role's credentials, not the account's root's."""
    lambdas, name = emulator.client("lambda"), "who-am-i"
    role = role_for(emulator, name)
    made = lambdas.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role,
        Handler="index.handler",
        Code={"ZipFile": archive()},
        Timeout=30,
    )
    eventually(lambda: lambdas.get_function(FunctionName=name)["Configuration"]["State"] == "Active", "it is active")
    answer = lambdas.invoke(FunctionName=name)
    said = answer["Payload"].read().decode()
    assert json.loads(said) == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{name}", said
    assumed = emulator.assume(role_for(emulator, "person"), "me")
    assert emulator.client("sts", assumed).get_caller_identity()["Arn"].endswith("assumed-role/person/me")
    # How MiniStack makes a function's credentials. Names are no secrets: a stranger could do so, too.
    digest = hashlib.sha256(f"{made['FunctionArn']}:{role}".encode()).hexdigest()
    guessed = {
        "AWS_ACCESS_KEY_ID": f"ASIA{digest[:16].upper()}",
        "AWS_SECRET_ACCESS_KEY": hashlib.sha256(f"secret:{digest}".encode()).hexdigest(),
        "AWS_SESSION_TOKEN": hashlib.sha256(f"token:{digest}".encode()).hexdigest(),
    }
    with pytest.raises(ClientError, match="is no access key of this run"):
        emulator.client("sts", guessed).get_caller_identity()


def test_a_refusal_is_a_clients_error_in_every_protocol(emulator: Emulator) -> None:
    """boto3 raises what callers catch, with a code and the sentence."""
    calls = {"s3": "list_buckets", "sqs": "list_queues", "sts": "get_caller_identity", "lambda": "list_functions"}
    for service, call in calls.items():
        with pytest.raises(ClientError, match="test is no access key of this run") as raised:
            getattr(emulator.client(service, TEST), call)()
        assert raised.value.response["Error"]["Code"] == "InvalidClientTokenId", service


def test_another_user_can_read_neither_the_key_nor_what_the_emulator_holds(emulator: Emulator) -> None:
    """Its folder has the log, the functions' code and the certificate's key; its environment the key."""
    emulator.client("sqs").list_queues()
    files = [path for path in emulator.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"emulator.log", "server.pem", "ca.pem"}
    environment = Path(f"/proc/{emulator.process.pid}/environ")
    assert emulator.root_key["AWS_SECRET_ACCESS_KEY"].encode() in environment.read_bytes()
    assert as_nobody(readable, [emulator.folder, *files, environment]) == []


def test_the_key_is_on_no_command_line(emulator: Emulator) -> None:
    """Which every user can read."""
    found = as_nobody(command_lines)
    assert any(b"local.server" in line for line in found)
    secrets = [value.encode() for value in emulator.root_key.values()]
    assert not [line for line in found if any(secret in line for secret in secrets)]


def readable(paths: list[Path]) -> list[str]:
    return [str(path) for path in paths if can_read(path)]


def can_read(path: Path) -> bool:
    try:
        path.read_bytes()
    except IsADirectoryError:
        return os.access(path, os.R_OK | os.X_OK)
    except PermissionError:
        return False
    return True


def command_lines() -> list[bytes]:
    return [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]


def test_each_run_has_a_key_of_its_own() -> None:
    keys = [Emulator(Path("unused")).root_key for _ in range(2)]
    assert keys[0] != keys[1]
