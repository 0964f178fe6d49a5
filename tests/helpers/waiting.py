"""Waits for conditions, with a deadline."""

import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 60


def eventually(holds: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Wait until `holds()` is true and return its value. At the deadline fail with `what`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.05)
    return found
