"""Reads the stack's settings once and checks them before any resource exists."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import pulumi
from pulumi.runtime import config as runtime_config

from settings_region import region_problems, stack_region
from settings_types import choice, listing, number, optional, shown, switch, text

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
                      3288, 3653)  # fmt: skip
# SQS: 14 days.
MAX_RETENTION = 1_209_600
PRINCIPAL = r"[a-z0-9.-]+\.amazonaws\.com|arn:aws[a-z-]*:iam::\d{12}:(root|(role|user)/[\w+=,.@/-]+)"
KEY = r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+"


def service_name() -> str:
    """Return the stack's name in logs, metrics, alarms and the key's alias."""
    return f"{pulumi.get_project()}-{pulumi.get_stack()}"


class SettingsError(pulumi.RunError):
    """Raised if settings are wrong. The text has a line for each and its fix; Pulumi prints it without a traceback."""


def _retention() -> Any:
    return number(MAX_RETENTION, 60, MAX_RETENTION, "seconds", "SQS keeps messages 1 min to 14 days")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings: a field for each key of the stack's configuration, with default, range and the range's reason."""

    model_training_visibility_timeout: int = number(
        180,
        5,
        43_200,
        "seconds",
        "SQS allows at most 12 h; a heartbeat is a third of it, which under 5 s may come late",
    )
    model_training_retention: int = _retention()
    message_retention: int = _retention()
    dead_letter_retention: int = _retention()
    max_receive_count: int = number(
        5, 5, 1_000, "receives", "AWS advises at least 5 where a function reads, so that throttling kills no message"
    )
    batch_size: int = number(10, 1, 10_000, "messages", "Lambda's range for a standard queue")
    batching_window: int = number(0, 0, 300, "seconds", "Lambda's range")
    function_timeout: int = number(
        300, 5, 900, "seconds", "Lambda ends an invocation after 15 min; the last 2 s are kept to answer"
    )
    function_memory: int = number(512, 128, 10_240, "MB", "Lambda's range")
    maximum_concurrency: int = number(10, 2, 1_000, "invocations", "Lambda's range for an SQS trigger")
    max_tasks: int = number(
        1_000_000,
        1,
        1_000_000,
        "tasks",
        "limits what one message may cost; jobs of more than a million tasks were never measured",
    )
    log_retention_days: int = choice(30, LOG_RETENTION_DAYS, "days", "CloudWatch Logs accepts only these")
    noncurrent_version_days: int = number(30, 1, 3_650, "days", "S3 counts whole days, from 1; 10 years is our limit")
    bucket_protect: bool = switch(True, "whether Pulumi refuses to delete the bucket, and the key that it creates")
    bucket_force_destroy: bool = switch(False, "whether destroying the stack deletes what is in the bucket")
    access_log_bucket: str | None = optional(
        r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "the name of a bucket that S3 may write access logs to",
        "who read and wrote the training data; the bucket is yours, so that logs outlive the stack",
    )
    kms_key: str | None = optional(
        rf"create|{KEY}",
        "create, or the ARN of a symmetric key in the stack's region",
        "a key of your own for queues, bucket, logs and topic; AWS's own keys otherwise",
    )
    former_kms_keys: tuple[str, ...] = listing(
        (),
        KEY,
        "ARNs of keys",
        "keys that encrypted what is still in the bucket: without the right to them it could not be read any more",
    )
    permissions_boundary: str | None = optional(
        r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+",
        "the ARN of a policy",
        "the most that the roles of this stack may ever do, where an organisation asks for one",
    )
    worker_principals: tuple[str, ...] = listing(
        ("ec2.amazonaws.com",),
        PRINCIPAL,
        "names such as ec2.amazonaws.com or arn:aws:iam::123456789012:root",
        "an AWS service, or an account, role or user, may assume the worker role",
    )
    alarm_email: str | None = optional(
        r"[^@\s]+@[^@\s]+\.[^@\s]+", "an email address", "who gets alarms by mail; AWS asks for a confirmation first"
    )
    message_age_alarm: int = number(
        3_600, 1, MAX_RETENTION, "seconds", "a job is planned within minutes: one that waits longer is stuck"
    )
    task_age_alarm: int = number(
        86_400,
        1,
        1_209_600,
        "seconds",
        "how long a task may wait before somebody should look at it; it also counts while it runs, up to 11.5 h",
    )
    runbook_url: str = text(
        "docs/operations.md",
        r"docs/operations\.md|https://[^\s#]+",
        "docs/operations.md, or an https:// address without a '#'",
        "alarms end with a link to the section on them",
    )

    @property
    def message_visibility_timeout(self) -> int:
        """Return the message queue's visibility timeout in seconds. Lambda advises 6 function timeouts plus the window:
        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
        return 6 * self.function_timeout + self.batching_window

    @classmethod
    def load(cls) -> "Settings":
        """Return the settings of the stack that Pulumi is running. Raises SettingsError."""
        present = {**runtime_config.get_config_env(), **runtime_config.CONFIG.get()}
        project = pulumi.get_project()
        mine = [key.removeprefix(f"{project}:") for key in present if key.startswith(f"{project}:")]
        config = pulumi.Config()
        return cls.parse({key: config.get(key) or "" for key in mine}, stack_region())

    @classmethod
    def parse(cls, raw: Mapping[str, str], region: str | None = None) -> "Settings":
        """Return the settings from the texts that Pulumi stores. Raises SettingsError, which names every wrong setting.

        `raw`: texts by key. `region`: the stack's region, or None if it is not known.
        """
        known = {f.name: f for f in fields(cls)}
        problems = region_problems(region) + [_unknown(key, raw[key], list(known)) for key in raw if key not in known]
        values: dict[str, Any] = {}
        for key, value in raw.items():
            if key not in known:
                continue
            try:
                values[key] = known[key].metadata["read"](value)
            except ValueError:
                problems.append(_wrong(key, value, known[key].metadata, known[key].default))
        settings = cls(**values)
        unread = {key for key in raw if key in known and key not in values}
        # Skip contradictions with a setting that could not be read: it has its default here.
        problems += [said for keys, said in settings._contradictions(region) if not unread & keys]
        if problems:
            count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
            raise SettingsError("\n".join([f"{count} wrong; nothing was created or changed.", *problems]))
        return settings

    def _contradictions(self, region: str | None) -> Iterator[tuple[set[str], str]]:
        """Yield contradictions between settings: the keys, and the lines of the error."""
        if self.batch_size > 10 and self.batching_window < 1:
            yield self._contradiction(
                "batching_window",
                1,
                f"with batch_size = {self.batch_size} it must be at least 1 (Lambda's rule for batches above 10)",
                "batch_size",
            )
        for queue, visibility, by in (
            ("message", self.message_visibility_timeout, ("function_timeout", "batching_window")),
            ("model_training", self.model_training_visibility_timeout, ("model_training_visibility_timeout",)),
        ):
            key = f"{queue}_retention"
            needed = self.max_receive_count * visibility
            if needed > MAX_RETENTION:
                yield self._contradiction(
                    "max_receive_count",
                    MAX_RETENTION // visibility,
                    f"times the {queue} queue's visibility timeout ({visibility} s) it is {needed} s, longer than SQS"
                    f" keeps a message ({MAX_RETENTION} s), which would be deleted before it has been tried",
                    *by,
                )
            elif getattr(self, key) < needed:
                yield self._contradiction(
                    key,
                    MAX_RETENTION,
                    f"must be at least {needed}, which is max_receive_count ({self.max_receive_count}) times the"
                    f" queue's visibility timeout ({visibility} s), or SQS deletes a message before it has been tried",
                    "max_receive_count",
                    *by,
                )
        longest = max(self.message_retention, self.model_training_retention)
        if self.dead_letter_retention < longest:
            yield self._contradiction(
                "dead_letter_retention",
                longest,
                f"must be at least {longest}, the longer retention of the two queues: a message keeps the time of its"
                " first send when it moves, and SQS would delete it on arrival",
                "message_retention",
                "model_training_retention",
            )
        for key, of in (("message_age_alarm", "message_retention"), ("task_age_alarm", "model_training_retention")):
            if getattr(self, key) >= getattr(self, of):
                yield self._contradiction(
                    key,
                    getattr(self, of) // 2,
                    f"must be below {of} ({getattr(self, of)}), or SQS deletes messages before anybody is told",
                    of,
                )
        for key, arns in (("kms_key", [self.kms_key]), ("former_kms_keys", self.former_kms_keys)):
            regions = {arn.split(":")[3] for arn in arns if arn and arn.startswith("arn:")}
            if region and regions - {region}:
                yield self._contradiction(
                    key,
                    "create" if key == "kms_key" else None,
                    f"must be in the stack's region, {region}: queues and buckets can use no other key",
                )
        if self.bucket_force_destroy and self.bucket_protect:
            yield self._contradiction(
                "bucket_force_destroy",
                "false",
                "has no effect while bucket_protect is true, since Pulumi then refuses to delete the bucket at all",
                "bucket_protect",
            )

    def _contradiction(self, key: str, mend: object, why: str, *others: str) -> tuple[set[str], str]:
        """Return the keys and the lines of the error. `mend`: an allowed value for `key`, or None to remove it."""
        value = getattr(self, key)
        shown_value = ", ".join(value) if isinstance(value, tuple) else str(value).lower()
        fix = f"rm {key}" if mend is None else f"set {key} {mend}"
        return {key, *others}, f"  {key} = {shown_value}: {why}\n    fix: pulumi config {fix}"


def _wrong(key: str, value: str, about: Mapping[str, Any], default: Any) -> str:
    """Return the error's lines for a value that is not allowed. The fix sets the default."""
    if default == ():
        mend = f"rm {key}"
    elif isinstance(default, tuple):
        mend = f"set --path '{key}[0]' {default[0]}"
    else:
        mend = f"set {key} {str(shown(default)).lower()}"
    return f"  {key} = {value!r}: allowed is {about['allowed']} ({about['why']})\n    fix: pulumi config {mend}"


def _unknown(key: str, text: str, known: list[str]) -> str:
    return (
        f"  {key} = {text!r}: there is no such setting; the settings are {', '.join(known)}"
        f"\n    fix: pulumi config rm {key}"
    )
