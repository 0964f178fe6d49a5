"""A deployed stack, as its outputs describe it: the whole configuration of a submitter or a worker."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

NEEDED = (
    "bucket_name",
    "message_queue_url",
    "message_dead_letter_queue_url",
    "model_training_queue_url",
    "dead_letter_queue_url",
    "region",
)
HOW = "make it with: pulumi stack output --json > stack.json"

CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 6},
    connect_timeout=10,
    # Longer than SQS's longest poll, 20 s.
    read_timeout=40,
    max_pool_connections=32,
    tcp_keepalive=True,
)


class StackError(Exception):
    """The stack's file cannot be used; says why and how to make one."""


def new_client(service: str, region: str, config: Config) -> Any:
    """Credentials: as boto3 finds them."""
    client: Any = boto3.client
    return client(service, region_name=region, config=config)


@dataclass(frozen=True)
class Stack:
    """The outputs that clients need, and clients for them."""

    bucket_name: str
    message_queue_url: str
    message_dead_letter_queue_url: str
    model_training_queue_url: str
    dead_letter_queue_url: str
    region: str
    new_client: Callable[[str, str, Config], Any] = field(default=new_client, compare=False)

    @classmethod
    def load(cls, path: str | Path) -> "Stack":
        """Read what `pulumi stack output --json` printed. Raises StackError."""
        try:
            outputs = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise StackError(f"there is no file {str(path)!r}: {HOW}") from None
        except (OSError, ValueError) as error:
            raise StackError(f"{str(path)!r} cannot be read as JSON ({error}): {HOW}") from None
        if not isinstance(outputs, dict):
            raise StackError(f"{str(path)!r} is not a JSON object of outputs: {HOW}")
        missing = [name for name in NEEDED if not isinstance(outputs.get(name), str) or not outputs[name]]
        if missing:
            raise StackError(f"{str(path)!r} has no {', '.join(missing)}: {HOW}")
        return cls(**{name: outputs[name] for name in NEEDED})

    @functools.cached_property
    def s3(self) -> Any:
        return self.new_client("s3", self.region, CONFIG)

    @functools.cached_property
    def sqs(self) -> Any:
        return self.new_client("sqs", self.region, CONFIG)

    def impatient(self, service: str, timeout: int) -> Any:
        """A client for heartbeats: a call ends, in one way or the other, well before the next; `timeout` in seconds."""
        patience = max(1, timeout / 8)
        quick = Config(
            retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=patience, read_timeout=patience
        )
        return self.new_client(service, self.region, CONFIG.merge(quick))
