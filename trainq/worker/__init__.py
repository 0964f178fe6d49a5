"""What takes a task from its receive to its delete. Knows nothing of processes.

The public names are those of `trainq`; they are here, too, for who imports them from `trainq.worker`.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    public = importlib.import_module("trainq")
    if name not in public.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(public, name)
