"""The acknowledger alone: messages are deleted together."""

from typing import Any

import pytest

from local.standins import error
from tests.helpers.waiting import eventually
from trainq.worker.acknowledger import Acknowledger


class Tasks:
    """A queue that refuses to delete some, or fails."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers, self.batches = list(answers), []

    def acknowledge(self, deliveries: list[Any]) -> list[str]:
        self.batches.append(list(deliveries))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class Unleased:
    lost = False

    def release(self) -> None:
        pass


def test_messages_are_deleted_ten_at_a_time_and_the_rest_at_the_end() -> None:
    tasks: Any = Tasks()
    acknowledger = Acknowledger(tasks.acknowledge, 10)
    lease: Any = Unleased()
    for number in range(23):
        acknowledger.add(number, lease)  # ty: ignore[invalid-argument-type]
    acknowledger.close()
    assert [len(batch) for batch in tasks.batches] == [10, 10, 3]
    assert [each for batch in tasks.batches for each in batch] == list(range(23))


def test_a_message_does_not_wait_long_for_others_to_be_deleted_with() -> None:
    tasks: Any = Tasks()
    acknowledger = Acknowledger(tasks.acknowledge, 10)
    lease: Any = Unleased()
    acknowledger.add("alone", lease)  # ty: ignore[invalid-argument-type]
    eventually(lambda: tasks.batches == [["alone"]], "it is deleted", seconds=10)
    acknowledger.close()


def test_a_message_that_is_not_deleted_is_told_of_and_others_are_deleted_still(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks: Any = Tasks(["InternalError for this one"], error(503, "Slow"))
    acknowledger = Acknowledger(tasks.acknowledge, 1)
    lease: Any = Unleased()
    for number in range(3):
        acknowledger.add(number, lease)  # ty: ignore[invalid-argument-type]
    acknowledger.close()
    assert tasks.batches == [[0], [1], [2]]
    assert "InternalError for this one" in caplog.text
    assert "Slow" in caplog.text
