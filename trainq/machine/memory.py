"""Tells a command that ran out of memory from one that failed otherwise."""

import contextlib
import re
from pathlib import Path

# What Python, PyTorch, JAX and CUDA say before they give up.
SAID = re.compile(r"out of memory|MemoryError|OutOfMemoryError|RESOURCE_EXHAUSTED|std::bad_alloc", re.IGNORECASE)


def oom_kills() -> int:
    """How often the kernel has killed a process of this one's control group for its memory, as far as it tells.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events)
    """
    with contextlib.suppress(OSError, ValueError):
        # Version 2 has one line, '0::/path'.
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                events = Path("/sys/fs/cgroup" + path, "memory.events").read_text()
                found = dict(each.split() for each in events.splitlines())
                return int(found.get("oom_kill", 0))
    return 0


def ran_out(killed: bool, kills_before: int, output: str) -> bool:
    """Whether the kernel has killed a process meanwhile, or the end of the output says so."""
    return (killed and oom_kills() > kills_before) or bool(SAID.search(output))
