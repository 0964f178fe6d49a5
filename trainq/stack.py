"""Reads the outputs of a deployed stack: the whole configuration of a submitter or a worker."""

import functools
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

NEEDED = (
    "bucket_name",
    "message_queue_url",
    "message_dead_letter_queue_url",
    "model_training_queue_url",
    "dead_letter_queue_url",
    "region",
)
HOW = (
    'allowed are a file (pulumi stack output --json > stack.json), env (set -a; eval "$(pulumi stack output --shell)"; '
    "set +a), or ssm: and the stack's parameter (ssm:/model-training-queue/dev)"
)

CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 6},
    connect_timeout=10,
    # Longer than the longest long poll of SQS, 20 s.
    read_timeout=40,
    max_pool_connections=32,
    tcp_keepalive=True,
)


class StackError(Exception):
    """Raised if the stack's outputs cannot be read or used. The text gives the reason and what is allowed."""


@dataclass(frozen=True)
class QueueSettings:
    """Settings of the model training queue. `timeout`: its visibility timeout in seconds; `max_failures`: how often a
    task may fail, which is the queue's maxReceiveCount."""

    timeout: int
    max_failures: int


def new_client(service: str, region: str, config: Config) -> Any:
    """Return a boto3 client with the credentials that boto3 finds. Raises StackError if what it finds is malformed."""
    client: Any = boto3.client
    try:
        return client(service, region_name=region, config=config)
    except BotoCoreError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        # botocore parses the settings and credentials here, and not every fault of theirs is a BotoCoreError: an
        # endpoint without a scheme, a credential_process that prints something else than a JSON object.
        raise StackError(
            f"no {service} client can be made of the AWS settings ({' '.join(str(error).split())}): look at "
            "AWS_ENDPOINT_URL (http://... or https://...) and at credential_process in ~/.aws/config, which must print "
            "the credentials as JSON"
        ) from error


@dataclass(frozen=True)
class Stack:
    """The stack's outputs that submitters and workers need, and AWS clients.

    `message_dead_letter_queue_url` belongs to the message queue, `dead_letter_queue_url` to the model training queue.
    """

    bucket_name: str
    message_queue_url: str
    message_dead_letter_queue_url: str
    model_training_queue_url: str
    dead_letter_queue_url: str
    region: str
    new_client: Callable[[str, str, Config], Any] = field(default=new_client, compare=False)

    @classmethod
    def load(cls, source: str | Path) -> "Stack":
        """Read the outputs from a source. Raises StackError if they cannot be read, ClientError if AWS refuses.

        `source`: a file that `pulumi stack output --json` has written; `env`, for environment variables named like the
        outputs, as `pulumi stack output --shell` prints them; `ssm:NAME`, for the stack's parameter, by name or ARN.
        """
        text = str(source)
        if text == "env":
            return cls._checked("the environment", dict(os.environ))
        if text.startswith("ssm:"):
            return cls._checked(text, _read_parameter(text.removeprefix("ssm:")))
        return cls._checked(repr(text), _read_file(Path(source)))

    @classmethod
    def _checked(cls, source: str, outputs: Any) -> "Stack":
        """Return the stack with these outputs. Raises StackError, which names the source, if one is missing."""
        if not isinstance(outputs, dict):
            raise StackError(f"{source} is not a JSON object of outputs: {HOW}")
        missing = [name for name in NEEDED if not isinstance(outputs.get(name), str) or not outputs[name]]
        if missing:
            raise StackError(f"{source} has no {', '.join(missing)}: {HOW}")
        return cls(**{name: outputs[name] for name in NEEDED})

    @functools.cached_property
    def s3(self) -> Any:
        """The S3 client. Threads may share it."""
        return self.new_client("s3", self.region, CONFIG)

    @functools.cached_property
    def sqs(self) -> Any:
        """The SQS client. Threads may share it."""
        return self.new_client("sqs", self.region, CONFIG)

    def training_queue_settings(self) -> QueueSettings:
        """Ask SQS for the settings of the model training queue. Raises StackError if its dead letter queue is not
        `dead_letter_queue_url`: then the outputs are of other queues."""
        names: Any = ["VisibilityTimeout", "RedrivePolicy"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.model_training_queue_url, AttributeNames=names)
        found = answer["Attributes"]
        redrive = json.loads(found.get("RedrivePolicy", "{}"))
        dead_letters = redrive.get("deadLetterTargetArn", "").rpartition(":")[2]
        if dead_letters != self.dead_letter_queue_url.rpartition("/")[2]:
            raise StackError(
                f"model_training_queue_url {self.model_training_queue_url!r} has the dead letter queue "
                f"{dead_letters or None!r}, not dead_letter_queue_url {self.dead_letter_queue_url!r}: allowed are the "
                "outputs of one stack, as 'pulumi stack output' prints them"
            )
        return QueueSettings(int(found["VisibilityTimeout"]), int(redrive["maxReceiveCount"]))

    def heartbeat_client(self, service: str, timeout: int) -> Any:
        """Return a client without retries whose connect and read each time out after 1/8 of `timeout` (seconds)."""
        patience = max(1, timeout / 8)
        quick = Config(
            retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=patience, read_timeout=patience
        )
        return self.new_client(service, self.region, CONFIG.merge(quick))


def _read_file(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise StackError(f"there is no file {str(path)!r}: {HOW}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise StackError(f"{str(path)!r} cannot be read as JSON ({error}): {HOW}") from None


def _read_parameter(name: str) -> Any:
    """Read the stack's parameter: by ARN from the ARN's region, by name from AWS_REGION, which boto3 does not read, or
    the region that boto3 finds."""
    region = os.environ.get("AWS_REGION") or boto3.Session().region_name
    if arn := re.fullmatch(r"arn:[\w-]+:ssm:([\w-]+):\d+:parameter(/.+)", name):
        region, name = arn.groups()
    if not region:
        raise StackError(
            f"ssm:{name} names no region: set AWS_REGION, or give the parameter's ARN "
            "(ssm:arn:aws:ssm:REGION:ACCOUNT:parameter/...)"
        )
    ssm = new_client("ssm", region, CONFIG)
    try:
        return json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        raise StackError(
            f"there is no parameter {name!r} in {region}: allowed is what 'pulumi stack output stack_parameter' prints"
        ) from None
    except (ValueError, RecursionError) as error:
        raise StackError(f"ssm:{name} cannot be read as JSON ({error}): {HOW}") from None
