"""Contestants of the benchmarks, as they are measured."""

from typing import Any

import pytest

from benchmarks import worker
from benchmarks.place import Place, place

# They share an emulator.
pytestmark = pytest.mark.xdist_group("contestants")


@pytest.fixture(scope="module")
def there() -> Any:
    with place() as running:
        yield running


def test_a_contestants_requests_are_counted_at_the_server(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """trainq and a bare loop, 20 tasks each: what they ask is known, what the benchmark itself asks is left out."""
    monkeypatch.setattr(worker, "TASKS", 20)
    there.put({f"datasets/d/{number:05}": b"x" for number in range(20)})
    chosen = {each.name: each for each in worker.contestants(3, full=True)}
    bare = worker.measure(there, chosen["bare loop"])
    assert bare["requests_per_task"] == {
        "sqs:send": 0.1,
        "s3:GET": 1.0,
        "s3:PUT": 1.0,
        "sqs:DeleteMessageBatch": 0.1,
        "sqs:ReceiveMessage": 0.1,
    }
    ours = worker.measure(there, chosen["trainq, prefetch 10"])
    assert ours["requests_per_task"]["s3:PUT"] >= 1
    # One may be waiting for more when the last task is done.
    assert 0.1 <= ours["requests_per_task"]["sqs:ReceiveMessage"] <= 0.3
    assert not [kind for kind in ours["requests_per_task"] if "ChangeMessageVisibility" in kind]


def test_a_contestant_that_writes_no_results_is_found_out(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "TASKS", 20)
    lazy = worker.Contestant("lazy", *worker_of("bare loop, no results"), results=1)
    with pytest.raises(RuntimeError, match="0 results of 20 tasks"):
        worker.measure(there, lazy)


def worker_of(name: str) -> tuple[list[str], dict[str, Any]]:
    found = {each.name: each for each in worker.contestants(2, full=True)}[name]
    return found.argv, found.settings
