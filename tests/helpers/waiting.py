"""Waiting for what has to come."""

import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 60


def eventually(holds: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Wait until this is true and return it; fail with what was waited for at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.05)
    return found
