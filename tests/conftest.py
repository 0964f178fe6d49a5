"""What tests share: recordings of the program, and the function's entry point."""

import gc
from typing import Any

import hypothesis
import pytest

from tests.helpers.recordings import Recording, record

# No test depends on how quick the machine is.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest tests first: with several processes, all wait for the last test."""
    rooms = ("chaos", "emulator", "tests", "unit")
    items.sort(key=lambda item: rooms.index(item.path.parent.name))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from what is here for all tests, which saves a tenth of their time.

    Fail if pytest-xdist does not group tests: it says nothing then, and what they share is made several times.
    """
    gc.freeze()
    if session.config.getoption("loadgroup", False):
        grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
        assert all("@" in item.nodeid for item in grouped), (
            "pytest-xdist and pytest do not fit: see requirements-dev.txt"
        )


@pytest.fixture(scope="session")
def dev() -> Recording:
    return record()


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the handler's module with its environment. Tests replace its clients."""
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "BUCKET_NAME": "b",
        "MODEL_TRAINING_QUEUE_URL": "q",
        "MESSAGE_QUEUE_URL": "m",
        "MESSAGE_QUEUE_VISIBILITY_TIMEOUT": "1800",
        "MESSAGE_DEAD_LETTER_QUEUE_URL": "dlq",
        "MAX_TASKS": "1000000",
        "POWERTOOLS_SERVICE_NAME": "test",
        "POWERTOOLS_METRICS_NAMESPACE": "Test",
    }.items():
        monkeypatch.setenv(name, value)
    from lambda_src import handler

    for name in ("s3", "sqs"):
        # What a test puts in its place is not the next test's.
        monkeypatch.setattr(handler, name, getattr(handler, name))
    return handler
