"""Submitting and cancelling: ids of jobs, cancelled ones and ones that nobody has submitted."""

import getpass
import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from local.standins import FakeS3, fake_stack
from trainq.cli import trainq
from trainq.client import jobs
from trainq.protocol import layout
from trainq.protocol.messages import JOB_ID
from trainq.stack import Stack, StackError

SHARD, PLAN = "datasets/d/0", layout.plan("j")


class There:
    """A stack of stand-ins, on which the command line runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.s3, self.sent = FakeS3({SHARD: b"x"}), list[str]()
        self.redrive: dict[str, Any] = {
            "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dlq",
            "maxReceiveCount": 5,
        }
        sqs = SimpleNamespace(send_message=self._send, get_queue_attributes=self._attributes)
        monkeypatch.setattr(Stack, "load", lambda source: fake_stack(self.s3, sqs))

    def _send(self, QueueUrl: str, MessageBody: str) -> dict[str, str]:
        self.sent.append(json.loads(MessageBody)["job_id"])
        return {"MessageId": "1"}

    def _attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        return {"Attributes": {"VisibilityTimeout": "180", "RedrivePolicy": json.dumps(self.redrive)}}

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(trainq, words)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> There:
    return There(monkeypatch)


def test_jobs_that_are_submitted_in_the_same_second_have_different_ids(there: There) -> None:
    """Or one of them never runs, and both say that they were submitted."""
    for _ in range(20):
        assert there.run("submit", "--dataset", "d").exit_code == 0
    assert len(set(there.sent)) == 20
    assert all(JOB_ID.fullmatch(each) for each in there.sent)


def test_the_id_of_a_dataset_with_a_long_name_is_allowed() -> None:
    assert JOB_ID.fullmatch(jobs.new_id("a/" * 100))


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_job_that_was_cancelled_is_refused_before_it_is_sent(there: There, options: tuple[str, ...]) -> None:
    assert there.run("cancel", "j").exit_code == 0
    refused = there.run("submit", "--dataset", "d", "--job-id", "j", *options)
    assert "job 'j' is cancelled, for good: submit it under another job_id" in str(refused.exception)
    assert not there.sent


@pytest.mark.parametrize("marker", [None, b"{}"])
def test_to_cancel_an_id_without_a_plan_cancels_it_and_says_so(there: There, marker: bytes | None) -> None:
    """The id may be mistyped; or the job's message is on its way, and its plan comes later."""
    if marker is not None:
        there.s3.objects[layout.cancelled("j")] = marker
    said = there.run("cancel", "j")
    assert said.exit_code == 0
    assert said.stdout.startswith("cancelled: j, b")
    assert layout.cancelled("j") in there.s3.objects
    assert "job 'j' has no plan" in said.stderr
    assert "no task of it will be sent" in said.stderr
    assert said.stderr.count("\n") == 1


def test_to_cancel_a_job_with_a_plan_says_nothing_more(there: There) -> None:
    there.s3.objects[PLAN] = b"{}"
    assert not there.run("cancel", "j").stderr


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 1234"), OSError("No username set")])
def test_somebody_without_a_name_cancels_by_uid(
    there: There, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As in a container with a uid of its own. The error is KeyError before Python 3.13."""

    def unknown() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    assert there.run("cancel", "j").stdout.startswith("cancelled: j, by uid 1234 at ")


@pytest.mark.parametrize("words", [("submit", "--dataset", "d"), ("dlq", "list"), ("dlq", "redrive", "--all")])
def test_with_outputs_whose_queues_are_swapped_nothing_is_sent_or_moved(there: There, words: tuple[str, ...]) -> None:
    there.redrive["deadLetterTargetArn"] += "-of-another-queue"
    done = there.run(*words)
    assert isinstance(done.exception, StackError)
    assert "allowed are the outputs of one stack" in str(done.exception)
    assert not there.sent
