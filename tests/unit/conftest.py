"""What tests of the function share."""

import pytest

from lambda_src import sender


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait for SQS; with a stand-in nothing needs to."""
    monkeypatch.setattr(sender.time, "sleep", lambda seconds: None)
