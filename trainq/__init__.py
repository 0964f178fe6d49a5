"""Submit training jobs to a model-training-queue stack, work on their tasks, fetch their results.

For the command line see `trainq --help`. The Python API for workers is here. Each name is imported on first use: the
function's archive contains this file but not the worker.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainq.stack import Stack
    from trainq.worker.training import TaskFailed, TrainingTask
    from trainq.worker.worker import Options, Worker

__all__ = ["Options", "Stack", "TaskFailed", "TrainingTask", "Worker"]

_ROOMS = {
    "Options": "trainq.worker.worker",
    "Stack": "trainq.stack",
    "TaskFailed": "trainq.worker.training",
    "TrainingTask": "trainq.worker.training",
    "Worker": "trainq.worker.worker",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOMS[name]), name)
