"""Starts and stops an AWS emulator: its own process, folder, ports and certificate authority."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import botocore.session
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.faults import Faults
from local.program import ACCOUNT, ROOT
from policies import resources
from trainq.stack import NEEDED, Stack

REGION = "us-east-1"
START_SECONDS = 60
# The server would wait longer for connections that clients keep open.
STOP_SECONDS = 1
# botocore's loader of service descriptions. All sessions share it, so that each file is read once.
DESCRIPTIONS: Any = botocore.session.get_session().get_component("data_loader")

ROOT_ARN = f"arn:aws:iam::{ACCOUNT}:root"


class Emulator:
    """MiniStack with IAM and TLS enforced, on a free port of 127.0.0.1; a context manager.

    It accepts only requests that are signed by this run's key, which is the account's root, or by a key from its STS.

    `folder`: for its certificate, log and temporary files; only this user may read it. Without one, a temporary folder
    is made and removed at the end. `faults`: faults of requests. `plain`: listen on http, too. For benchmarks: `iam`
    False checks no rights, which take longer than the work itself (functions then have no key), and `request_log` keeps
    a log of requests.
    """

    def __init__(
        self,
        folder: Path | None = None,
        faults: Faults | None = None,
        *,
        iam: bool = True,
        request_log: bool = False,
        plain: bool = False,
    ) -> None:
        self.faults, self.iam, self.request_log, self.plain = faults, iam, request_log, plain
        # An access key of AWS's length. Keys of roles begin with ASIA.
        self.root_key = {
            "AWS_ACCESS_KEY_ID": f"AKIA{secrets.token_hex(8).upper()}",
            "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        }
        self._sessions: dict[str, boto3.Session] = {}
        self.temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="model-training-queue-"))
        self.log = self.folder / "emulator.log"
        self.ca = self.folder / "ca.pem"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        # For this user only: it holds the log, the functions' code and the certificate's key.
        self.folder.chmod(0o700)
        (self.folder / "tmp").mkdir(exist_ok=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        certificate = self.folder / "server.pem"
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        with contextlib.ExitStack() as ours:
            log = ours.enter_context(self.log.open("wb"))
            https = ours.enter_context(_listening())
            self.endpoint = f"https://127.0.0.1:{https.getsockname()[1]}"
            read_end, self.pipe = os.pipe()
            handed = {"--https": https.fileno(), "--pipe": read_end}
            if self.plain:
                http = ours.enter_context(_listening())
                self.plain_endpoint = f"http://127.0.0.1:{http.getsockname()[1]}"
                handed["--http"] = http.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local.server", "--certificate", str(certificate)]
                + [word for option, number in handed.items() for word in (option, str(number))]
                + (["--faults", self.faults.to_json()] if self.faults else [])
                + (["--request-log"] if self.request_log else []),
                cwd=ROOT,
                env=self._server_environment(https.getsockname()[1]),
                pass_fds=tuple(handed.values()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C goes to the parent process, which then stops the emulator.
                start_new_session=True,
            )
            os.close(read_end)
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and the processes of its functions. Its state is lost."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.pipe)
        if self.temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self, credentials: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment variables with which a process uses this emulator as AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": str(self.ca),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            **(credentials or self.root_key),
        }

    def session(self, credentials: dict[str, str] | None = None) -> boto3.Session:
        """Return a boto3 session with these credentials, by default the account's root. Sessions are kept by key: the
        first client of a service reads its description, which takes 0.1 s."""
        known = credentials or self.root_key
        key = known["AWS_ACCESS_KEY_ID"]
        if key not in self._sessions:
            core = botocore.session.get_session()
            core.register_component("data_loader", DESCRIPTIONS)
            self._sessions[key] = boto3.Session(
                aws_access_key_id=key,
                aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
                aws_session_token=known.get("AWS_SESSION_TOKEN"),
                region_name=REGION,
                botocore_session=core,
            )
        return self._sessions[key]

    def client(self, service: Any, credentials: dict[str, str] | None = None, *, plain: bool = False) -> Any:
        """Return a client of the emulator. `plain`: over http, which the stack's policies refuse."""
        endpoint = self.plain_endpoint if plain else self.endpoint
        return self.session(credentials).client(service, endpoint_url=endpoint, verify=str(self.ca))

    def stack(self, outputs: dict[str, str]) -> Stack:
        """Return the stack with these outputs, with clients of the account's root."""
        return Stack(**{name: outputs[name] for name in NEEDED}, new_client=lambda service, *_: self.client(service))

    def assume(self, role_arn: str, session_name: str) -> dict[str, str]:
        """Return credentials of a role, as environment variables."""
        answer = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName=session_name)["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": answer["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"],
            "AWS_SESSION_TOKEN": answer["SessionToken"],
        }

    def role_credentials(self, name: str, policy_arn: str) -> dict[str, str]:
        """Return credentials of a new role that has only this policy."""
        iam = self.client("iam")
        role = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(resources.trust([ROOT_ARN], ACCOUNT))
        )["Role"]
        iam.attach_role_policy(RoleName=name, PolicyArn=policy_arn)
        return self.assume(role["Arn"], name)

    def ask(self, path: str, method: str = "GET") -> bytes:
        """Send a signed request for a path that is not one of AWS's. Return the answer."""
        url = self.endpoint + path
        signed = AWSRequest(method, url)
        SigV4Auth(Credentials(*self.root_key.values()), "emulator", REGION).add_auth(signed)
        request = urllib.request.Request(url, method=method, headers=dict(signed.headers))
        with urllib.request.urlopen(request, context=self._trust()) as answer:
            return answer.read()

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def _server_environment(self, port: int) -> dict[str, str]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {
            **foreign,
            # Functions inherit this environment, but get their role's credentials instead of this key.
            **self.environment(),
            "AUTH": str(self.iam).lower(),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "GATEWAY_PORT": str(port),
            "USE_SSL": "1",
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "INFO",
            "PERSIST_STATE": "0",
            "STATE_DIR": str(self.folder / "state"),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _wait_until_healthy(self) -> None:
        trust = self._trust()
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5, context=trust):
                    return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"the emulator did not start ({error}):\n{self.log.read_text()[-2000:]}"
                    ) from None
            time.sleep(0.05)


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=512)
