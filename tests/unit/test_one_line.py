"""What somebody else has named is printed on one line, and controls no terminal."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import CredentialRetrievalError

from local.standins import FakeS3, fake_stack
from trainq.cli import main
from trainq.cli.errors import report
from trainq.client import upload
from trainq.protocol import events
from trainq.protocol.events import tell
from trainq.stack import Stack

FORGED = "x\x1b[2J\nnext: trainq cancel j"


def test_an_expected_error_of_several_lines_is_printed_on_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as what a credential_process prints to stderr, which botocore quotes."""
    assert report(CredentialRetrievalError(provider="custom-process", error_msg=FORGED)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said


def test_the_key_of_another_object_of_a_dataset_makes_no_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "shard").write_text("1")
    stack = fake_stack(FakeS3({f"datasets/d/{FORGED}": b"1"}), None)
    monkeypatch.setattr(Stack, "load", lambda source: stack)
    monkeypatch.setattr(upload, "send", lambda *asked: None)
    monkeypatch.setattr(sys, "argv", ["trainq", "upload", "--dataset", "d", str(tmp_path)])
    main()
    (note,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in note


def test_a_name_in_a_marker_makes_no_line_of_the_log_and_its_field_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    about: Any = {"job": "j", "task": 0, "attempt": 1, "worker": "w"}
    tell(logging.getLogger("trainq"), events.TASK_SUPERSEDED, **about, winner=FORGED)
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert json.loads(json.dumps(events.fields_of(record)))["winner"] == FORGED
