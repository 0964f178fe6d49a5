"""Finds out whether a failed command ran out of memory."""

import contextlib
import re
from pathlib import Path

# Error texts of Python, PyTorch, JAX, CUDA and C++ when memory runs out.
SAID = re.compile(r"out of memory|MemoryError|OutOfMemoryError|RESOURCE_EXHAUSTED|std::bad_alloc", re.IGNORECASE)


def oom_kills() -> int:
    """Return how often the kernel has killed a process of this control group for its memory; 0 if unknown.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events)
    """
    with contextlib.suppress(OSError, ValueError):
        # Version 2 of control groups has one line, '0::/path'.
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                events = Path("/sys/fs/cgroup" + path, "memory.events").read_text()
                found = dict(each.split() for each in events.splitlines())
                return int(found.get("oom_kill", 0))
    return 0


def ran_out(killed: bool, kills_before: int, output: str) -> bool:
    """Return whether a command ran out of memory.

    `killed`: it ended by SIGKILL. `kills_before`: `oom_kills()` before it ran. `output`: the end of its output, which
    may have an error text about memory.
    """
    return (killed and oom_kills() > kills_before) or bool(SAID.search(output))
