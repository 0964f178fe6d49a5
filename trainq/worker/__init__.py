"""What takes a task from its receive to its delete. Knows nothing of processes.

The public names are those of `trainq`; they are here, too, for who imports them from `trainq.worker`.
"""

from typing import Any

import trainq


def __getattr__(name: str) -> Any:
    if name not in trainq.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(trainq, name)
