"""A process's peak memory."""

import re
from pathlib import Path


def peak_mb() -> float:
    """This process's own: getrusage would answer its parent's, if that was larger when it forked."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, "/proc/self/status has no VmHWM: this runs on Linux only"
    return int(found[1]) / 1024
