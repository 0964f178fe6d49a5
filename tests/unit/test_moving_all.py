"""Moving all dead letters back on AWS, as it documents StartMessageMoveTask; the emulator has none."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.standins import error, fake_stack
from trainq.client import dead_letters
from trainq.client.dead_letters import DeadLetterQueue


class MovingSqs:
    """As AWS documents StartMessageMoveTask; the emulator has none."""

    def __init__(self, *statuses: str, refused: str = "") -> None:
        self.statuses, self.refused = list(statuses), refused
        self.started: dict[str, str] = {}

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        return {"Attributes": {"QueueArn": f"arn:{QueueUrl}"}}

    def start_message_move_task(self, **arguments: str) -> None:
        if self.refused:
            raise error(400, self.refused)
        self.started = arguments

    def list_message_move_tasks(self, SourceArn: str, MaxResults: int) -> dict[str, Any]:
        status = self.statuses.pop(0)
        counts = {"ApproximateNumberOfMessagesMoved": 3, "ApproximateNumberOfMessagesToMove": 7}
        return {"Results": [{"Status": status, "FailureReason": "why", **counts}]}


def moving(sqs: MovingSqs, monkeypatch: pytest.MonkeyPatch) -> DeadLetterQueue:
    monkeypatch.setattr(dead_letters.time, "sleep", lambda seconds: None)
    return DeadLetterQueue(fake_stack(None, sqs), "model-training")


def test_on_aws_sqs_moves_everything_and_its_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = MovingSqs("RUNNING", "COMPLETED")
    assert list(moving(sqs, monkeypatch).move_all_on_aws()) == [(3, 7), (3, 7)]
    assert sqs.started == {"SourceArn": "arn:dlq", "DestinationArn": "arn:q"}


def test_a_move_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="the move ended as FAILED: why"):
        list(moving(MovingSqs("FAILED"), monkeypatch).move_all_on_aws())
    with pytest.raises(ClientError):
        list(moving(MovingSqs(refused="AccessDenied"), monkeypatch).move_all_on_aws())
