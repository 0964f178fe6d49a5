"""The settings: default, override and rejection for each."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import botocore
import pytest
import yaml

from local.program import ROOT
from settings import Settings, SettingsError
from settings_types import shown
from tests.helpers.recordings import record

PARTITIONS = json.loads((Path(botocore.__file__).parent / "data" / "partitions.json").read_text())["partitions"]
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"

# For each setting: texts that are accepted with what they become, and texts that are refused.
CASES: dict[str, tuple[dict[str, object], list[str]]] = {
    "model_training_visibility_timeout": ({"5": 5, "43200": 43_200}, ["4", "43201", "fast", "", "180.5", "true"]),
    "model_training_retention": ({"86401": 86_401, "1209600": 1_209_600}, ["59", "1209601", "14d"]),
    "message_retention": ({"9000": 9000, "1209600": 1_209_600}, ["59", "1209601", "14d"]),
    "dead_letter_retention": ({"1209600": 1_209_600}, ["59", "1209601", "14d"]),
    "max_receive_count": ({"5": 5, "600": 600}, ["4", "1001", "five"]),
    "batch_size": ({"1": 1, "10": 10}, ["0", "10001", "ten"]),
    "batching_window": ({"0": 0, "300": 300}, ["-1", "301", "soon"]),
    "function_timeout": ({"5": 5, "900": 900}, ["4", "901", "5m"]),
    "function_memory": ({"128": 128, "10240": 10_240}, ["127", "10241", "1GB"]),
    "maximum_concurrency": ({"2": 2, "1000": 1000}, ["1", "1001", "many"]),
    "max_tasks": ({"1": 1, "1000000": 1_000_000}, ["0", "1000001", "all", "1e6"]),
    "log_retention_days": ({"1": 1, "3653": 3653}, ["2", "0", "31", "month"]),
    "noncurrent_version_days": ({"1": 1, "3650": 3650}, ["0", "3651", "never"]),
    "bucket_protect": ({"true": True, "false": False}, ["True", "yes", "1", ""]),
    "bucket_force_destroy": ({"false": False}, ["False", "no", "0"]),
    "access_log_bucket": (
        {"none": None, "our-access-logs": "our-access-logs"},
        ["Our-Logs", "s3://our-logs", "ab", "", "logs/", "our..logs"],
    ),
    "kms_key": (
        {"none": None, "create": "create", KEY: KEY},
        ["alias/ours", "Create", "", "1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:kms:eu-west-1:1:key/a"],
    ),
    "former_kms_keys": (
        {"[]": (), f'["{KEY}"]': (KEY,)},
        [KEY, '["create"]', '["alias/ours"]', '{"a": 1}', "[1]"],
    ),
    "permissions_boundary": (
        {"none": None, BOUNDARY: BOUNDARY},
        ["boundary", "arn:aws:iam::123456789012:role/boundary", ""],
    ),
    "alarm_email": ({"none": None, "oncall@example.com": "oncall@example.com"}, ["oncall", "a@b", "a b@example.com"]),
    "message_age_alarm": ({"1": 1, "1209599": 1_209_599}, ["0", "1209601", "1h"]),
    "task_age_alarm": ({"1": 1, "604800": 604_800}, ["0", "1209601", "1d"]),
    "runbook_url": (
        {
            "docs/operations.md": "docs/operations.md",
            "https://wiki.example.com/queue": "https://wiki.example.com/queue",
        },
        ["http://wiki.example.com", "wiki", "https://wiki.example.com/a#b", ""],
    ),
    "worker_principals": (
        {
            '["ecs-tasks.amazonaws.com"]': ("ecs-tasks.amazonaws.com",),
            '["arn:aws:iam::123456789012:root"]': ("arn:aws:iam::123456789012:root",),
        },
        ["[]", "ec2.amazonaws.com", '["*"]', '["123456789012"]', "[1]", '{"a": 1}'],
    ),
}


def test_every_setting_is_tested_here() -> None:
    assert set(CASES) == {field.name for field in fields(Settings)}


def test_pulumi_yaml_declares_every_setting_with_its_default_and_type() -> None:
    """The CLI takes defaults from there; a program without the CLI takes them from the class."""
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    types: dict[type, str] = {int: "integer", bool: "boolean", list: "array", str: "string"}
    assert list(declared) == [field.name for field in fields(Settings)]
    for field in fields(Settings):
        about = declared[field.name]
        assert about["default"] == shown(field.default), field.name
        assert about["type"] == types[type(shown(field.default))], field.name
        assert len(about["description"]) > 20, field.name


def test_without_configuration_every_setting_has_its_default() -> None:
    settings = Settings.parse({})
    assert {field.name: getattr(settings, field.name) for field in fields(Settings)} == {
        field.name: field.default for field in fields(Settings)
    }


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, (good, _) in CASES.items() for text in good])
def test_a_setting_in_range_is_taken(key: str, text: str) -> None:
    assert getattr(Settings.parse({key: text}), key) == CASES[key][0][text]


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, (_, bad) in CASES.items() for text in bad])
def test_a_wrong_setting_is_refused_with_key_value_range_and_fix(key: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({key: text})
    said = str(raised.value)
    assert said.startswith("1 setting is wrong; nothing was created or changed.")
    assert f"  {key} = {text!r}: allowed is " in said
    assert "    fix: pulumi config " in said
    if key not in ("worker_principals", "former_kms_keys"):
        assert_the_fix_mends({key: text}, said)


def test_all_wrong_settings_are_reported_together() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({"function_timeout": "0", "batch_size": "x", "visibility": "3"})
    said = str(raised.value)
    assert said.startswith("3 settings are wrong")
    assert "function_timeout = '0': allowed is a whole number of seconds from 5 to 900" in said
    assert "batch_size = 'x'" in said
    assert "visibility = '3': there is no such setting; the settings are model_training_visibility_timeout" in said
    assert "fix: pulumi config rm visibility" in said


def test_of_what_could_not_be_read_nothing_more_is_said() -> None:
    """Or people would be told to mend what they have not set wrong."""
    with pytest.raises(SettingsError, match="1 setting is wrong") as raised:
        Settings.parse({"bucket_protect": "no", "bucket_force_destroy": "true"})
    assert "bucket_protect = 'no': allowed is true or false" in str(raised.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"batch_size": "11"}, "batching_window = 0: with batch_size = 11 it must be at least 1"),
        (
            {"message_retention": "8999"},
            "message_retention = 8999: must be at least 9000, which is max_receive_count (5)",
        ),
        (
            {"model_training_retention": "899", "task_age_alarm": "60"},
            "model_training_retention = 899: must be at least 900",
        ),
        (
            {"dead_letter_retention": "1209599"},
            "dead_letter_retention = 1209599: must be at least 1209600, the longer retention of the two queues",
        ),
        ({"task_age_alarm": "1209600"}, "task_age_alarm = 1209600: must be below model_training_retention (1209600)"),
        ({"message_age_alarm": "1209600"}, "message_age_alarm = 1209600: must be below message_retention (1209600)"),
        ({"kms_key": KEY}, f"kms_key = {KEY}: must be in the stack's region, us-east-1"),
        ({"former_kms_keys": f'["{KEY}"]'}, f"former_kms_keys = {KEY}: must be in the stack's region, us-east-1"),
        (
            {"max_receive_count": "1000"},
            "max_receive_count = 1000: times the message queue's visibility timeout (1800 s)",
        ),
        (
            {"model_training_visibility_timeout": "43200", "max_receive_count": "29"},
            "max_receive_count = 29: times the model_training queue's visibility timeout (43200 s) it is 1252800 s",
        ),
        (
            {"function_timeout": "900", "max_receive_count": "225"},
            "max_receive_count = 225: times the message queue's visibility timeout (5400 s) it is 1215000 s",
        ),
        # Of what could not be read nothing more is said.
        ({"bucket_force_destroy": "true"}, "bucket_force_destroy = true: has no effect while bucket_protect is true"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(raw: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match="1 setting is wrong") as raised:
        Settings.parse(raw, region="us-east-1")
    assert said in str(raised.value)
    assert_the_fix_mends(raw, str(raised.value))


@pytest.mark.parametrize("partition", PARTITIONS, ids=lambda each: each["id"])
def test_a_region_is_refused_in_words_where_services_have_other_names(partition: dict[str, Any]) -> None:
    """Roles and keys name services: a wrong name would be told by the first alarm that does not come."""
    regions = [each for each in partition["regions"] if re.fullmatch(partition["regionRegex"], each)]
    assert regions
    for region in regions:
        if partition["outputs"]["dnsSuffix"] == "amazonaws.com":
            Settings.parse({}, region)
        else:
            with pytest.raises(SettingsError, match=f"aws:region = {region}: allowed are the regions in which"):
                Settings.parse({}, region)


def test_a_region_in_china_stops_the_program_wherever_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = ("AWS_REGION", "AWS_DEFAULT_REGION")
    for variable in variables:
        for each in variables:
            monkeypatch.setenv(each, "cn-north-1" if each == variable else "")
        with pytest.raises(SettingsError, match="aws:region = cn-north-1"):
            Settings.load()
    with pytest.raises(RuntimeError, match="aws:region = cn-northwest-1"):
        record("dev", "--set", "aws:region=cn-northwest-1")


def assert_the_fix_mends(raw: dict[str, str], said: str) -> None:
    """What the message says to type is taken."""
    fix = re.search(r"fix: pulumi config (set|rm) (\S+) ?(\S*)$", said, re.MULTILINE)
    assert fix, said
    mended = {key: value for key, value in raw.items() if key != fix[2]} | ({fix[2]: fix[3]} if fix[1] == "set" else {})
    Settings.parse(mended, region="us-east-1")


def test_the_example_stacks_are_valid_and_differ_from_the_defaults_only_where_they_say_so() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    for stack in ("dev", "prod", "local"):
        config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
        mine = {
            key.removeprefix("model-training-queue:"): value
            for key, value in config.items()
            if key.startswith("model-training-queue:")
        }
        Settings.parse({key: value if isinstance(value, str) else json.dumps(value) for key, value in mine.items()})
        assert not [key for key, value in mine.items() if declared[key]["default"] == value], stack


def test_the_message_queues_visibility_is_derived() -> None:
    settings = Settings.parse({"function_timeout": "100", "batching_window": "7"})
    assert settings.message_visibility_timeout == 607


def test_a_wrong_setting_stops_the_program_before_the_first_resource() -> None:
    """Pulumi prints a RunError's text without a traceback; a typo in a stack's file is found too."""
    done = subprocess.run(
        [sys.executable, "-m", "local.program", "--set", "function_timeout=1000", "--set", "functoin_timeout=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "2 settings are wrong" in done.stderr
    assert "Traceback" not in done.stderr
