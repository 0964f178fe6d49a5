"""Deploys the program into a running emulator, in a process of its own, and writes its outputs to `stack.json`."""

import json
import os
from pathlib import Path
from typing import Any

from local.emulator import Emulator
from local.forks import forked
from local.program import EVALUATION_SECONDS, evaluate, stack_config
from local.provider import Provider


def deploy(emulator: Emulator, stack_file: Path, *, stack: str = "local", **overrides: Any) -> dict[str, str]:
    """Evaluate the program against this emulator, write its outputs to the file and return them.

    `overrides`: settings. Raises RuntimeError with the program's error.
    """
    outputs = forked(_deploy, emulator.environment(), stack, overrides, seconds=EVALUATION_SECONDS + 30)
    stack_file.write_text(json.dumps(outputs, indent=2, sort_keys=True) + "\n")
    return outputs


def _deploy(environment: dict[str, str], stack: str, overrides: dict[str, Any]) -> dict[str, str]:
    os.environ.update(environment)
    return evaluate(stack, stack_config(stack, overrides), Provider().create).outputs
