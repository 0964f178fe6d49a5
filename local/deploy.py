"""Deploys the program into a running emulator, in a process of its own; the outputs are what `stack.json` holds."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from local.emulator import Emulator
from local.program import EVALUATION_SECONDS, ROOT, evaluate, stack_config
from local.provider import Provider


def deploy(emulator: Emulator, stack_file: Path, *, stack: str = "local", **overrides: Any) -> dict[str, str]:
    """Evaluate the program against this emulator, write its outputs to the file and return them.

    `overrides` are settings. Raises RuntimeError with what the program said.
    """
    command = [sys.executable, "-m", "local.deploy", "--stack", stack, "--output", str(stack_file)]
    command += ["--overrides", json.dumps(overrides)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | emulator.environment(),
        capture_output=True,
        text=True,
        timeout=EVALUATION_SECONDS + 30,
        start_new_session=True,
    )
    if done.returncode:
        raise RuntimeError(f"the program could not be deployed:\n{done.stderr[-4000:]}")
    return json.loads(stack_file.read_text())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stack", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--overrides", required=True, type=json.loads)
    arguments = parser.parse_args()
    provider = Provider()
    found = evaluate(arguments.stack, stack_config(arguments.stack, arguments.overrides), provider.create)
    arguments.output.write_text(json.dumps(found.outputs, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
