"""The worker: takes a task from its receive to its delete. Starts no processes; `trainq.machine` does.

The public names are those of `trainq`; `from trainq.worker import Worker` works, too.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    public = importlib.import_module("trainq")
    if name not in public.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(public, name)
