"""The stack's settings: read once, and checked before any resource exists."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pulumi
from pulumi.runtime import config as runtime_config

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
                      3288, 3653)  # fmt: skip
PRINCIPAL = re.compile(r"[a-z0-9.-]+\.amazonaws\.com|arn:aws[a-z-]*:iam::\d{12}:(root|(role|user)/[\w+=,.@/-]+)")


class SettingsError(pulumi.RunError):
    """Says what is wrong with every wrong setting; Pulumi prints it without a traceback."""


def _number(default: int, low: int, high: int, unit: str, why: str) -> Any:
    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return _setting(default, read, f"a whole number of {unit} from {low} to {high}", why)


def _choice(default: int, allowed: tuple[int, ...], unit: str, why: str) -> Any:
    by_text = {str(value): value for value in allowed}
    return _setting(default, lambda text: _pick(by_text, text), f"a number of {unit}, one of {_listed(allowed)}", why)


def _switch(default: bool, why: str) -> Any:
    by_text = {"true": True, "false": False}
    return _setting(default, lambda text: _pick(by_text, text), "true or false", why)


def _principals(default: tuple[str, ...], why: str) -> Any:
    def read(text: str) -> tuple[str, ...]:
        names = json.loads(text)
        if (
            not isinstance(names, list)
            or not names
            or not all(isinstance(n, str) and PRINCIPAL.fullmatch(n) for n in names)
        ):
            raise ValueError
        return tuple(names)

    return _setting(default, read, "a list of names such as ec2.amazonaws.com or arn:aws:iam::123456789012:root", why)


def _setting(default: Any, read: Callable[[str], Any], allowed: str, why: str) -> Any:
    return field(default=default, metadata={"read": read, "allowed": allowed, "why": why})


def _pick(by_text: dict[str, Any], text: str) -> Any:
    if text not in by_text:
        raise ValueError
    return by_text[text]


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field for each key of the stack's configuration, with its default, its range and the range's reason."""

    model_training_visibility_timeout: int = _number(
        180, 5, 43_200, "seconds", "SQS allows at most 12 h; under 5 s a heartbeat could come too late"
    )
    model_training_retention: int = _number(1_209_600, 60, 1_209_600, "seconds", "SQS keeps messages 1 min to 14 days")
    message_retention: int = _number(1_209_600, 60, 1_209_600, "seconds", "SQS keeps messages 1 min to 14 days")
    max_receive_count: int = _number(
        5, 5, 1_000, "receives", "AWS advises at least 5 where a function reads, so that throttling kills no message"
    )
    batch_size: int = _number(10, 1, 10_000, "messages", "Lambda's range for a standard queue")
    batching_window: int = _number(0, 0, 300, "seconds", "Lambda's range")
    function_timeout: int = _number(
        300, 5, 900, "seconds", "Lambda ends an invocation after 15 min; the last 2 s are kept to answer"
    )
    function_memory: int = _number(512, 128, 10_240, "MB", "Lambda's range")
    maximum_concurrency: int = _number(10, 2, 1_000, "invocations", "Lambda's range for an SQS trigger")
    log_retention_days: int = _choice(30, LOG_RETENTION_DAYS, "days", "CloudWatch Logs accepts only these")
    noncurrent_version_days: int = _number(30, 1, 3_650, "days", "S3 counts whole days, from 1; 10 years is our limit")
    bucket_protect: bool = _switch(True, "whether Pulumi refuses to delete the bucket")
    bucket_force_destroy: bool = _switch(False, "whether destroying the stack deletes what is in the bucket")
    worker_principals: tuple[str, ...] = _principals(
        ("ec2.amazonaws.com",), "an AWS service, or an account, role or user, may assume the worker role"
    )

    @property
    def message_visibility_timeout(self) -> int:
        """Seconds. Lambda wants six times the function's timeout, plus the window:
        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
        return 6 * self.function_timeout + self.batching_window

    @classmethod
    def load(cls) -> "Settings":
        """The settings of the stack that Pulumi is running. Raises SettingsError."""
        present = {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}
        project = pulumi.get_project()
        mine = [key.removeprefix(f"{project}:") for key in present if key.startswith(f"{project}:")]
        config = pulumi.Config()
        return cls.parse({key: config.get(key) or "" for key in mine})

    @classmethod
    def parse(cls, raw: Mapping[str, str]) -> "Settings":
        """Settings from the texts that Pulumi keeps, by key; raises SettingsError that names every wrong one."""
        known = {f.name: f for f in fields(cls)}
        problems = [_unknown(key, raw[key], list(known)) for key in raw if key not in known]
        values: dict[str, Any] = {}
        for key, text in raw.items():
            if key not in known:
                continue
            try:
                values[key] = known[key].metadata["read"](text)
            except ValueError:
                problems.append(_wrong(key, text, known[key].metadata, known[key].default))
        settings = cls(**values)
        problems += settings._contradictions()
        if problems:
            count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
            raise SettingsError("\n".join([f"{count} wrong; nothing was created or changed.", *problems]))
        return settings

    def _contradictions(self) -> list[str]:
        found = []
        if self.batch_size > 10 and self.batching_window < 1:
            found.append(
                f"  batching_window = {self.batching_window}: with batch_size = {self.batch_size} it must be at least 1"
                " second (Lambda's rule for batches above 10)\n    fix: pulumi config set batching_window 1"
            )
        for retention, visibility in (
            ("message_retention", self.message_visibility_timeout),
            ("model_training_retention", self.model_training_visibility_timeout),
        ):
            needed = self.max_receive_count * visibility
            if getattr(self, retention) < needed:
                found.append(
                    f"  {retention} = {getattr(self, retention)}: must be at least {needed}, which is max_receive_count"
                    f" ({self.max_receive_count}) times the queue's visibility timeout ({visibility} s), or SQS deletes"
                    f" a message before it has been tried\n    fix: pulumi config set {retention} 1209600"
                )
        if self.bucket_force_destroy and self.bucket_protect:
            found.append(
                "  bucket_force_destroy = true: has no effect while bucket_protect is true, since Pulumi then"
                " refuses to delete the bucket at all\n    fix: pulumi config set bucket_force_destroy false"
            )
        return found


def _wrong(key: str, text: str, about: Mapping[str, Any], default: Any) -> str:
    example = f"--path '{key}[0]' {default[0]}" if isinstance(default, tuple) else f"{key} {str(default).lower()}"
    return f"  {key} = {text!r}: allowed is {about['allowed']} ({about['why']})\n    fix: pulumi config set {example}"


def _unknown(key: str, text: str, known: list[str]) -> str:
    return (
        f"  {key} = {text!r}: there is no such setting; the settings are {', '.join(known)}"
        f"\n    fix: pulumi config rm {key}"
    )
