"""5. The program: measures its time under plain mocks, and the chain of resources that bounds `pulumi up`."""

import json
import subprocess
import sys
import time
from typing import Any

from benchmarks.dispatch import archive_bytes
from benchmarks.figures import longest_chain, summary
from benchmarks.place import ours
from local.program import ROOT

ROUNDS = 7
FULL_ROUNDS = 15


def run(*, full: bool) -> dict[str, Any]:
    found, whole = [], []
    for number in range(FULL_ROUNDS if full else ROUNDS):
        found.append(json.loads(_run(*ours("evaluate_program", str(time.monotonic())))))
        begun = time.monotonic()
        _run(sys.executable, "-m", "local.program")
        whole.append(time.monotonic() - begun)
        print(f"  round {number + 1}: last registration after {found[-1]['seconds']:.2f} s", flush=True)
    resources = found[0]["resources"]
    return {
        "last_registration_seconds": summary([each["seconds"] for each in found]),
        "of_which_imports_seconds": summary([each["imported"] for each in found]),
        "process_seconds": summary(whole),
        "resources": sum(each["custom"] for each in resources),
        "components": sum(not each["custom"] for each in resources),
        "chain": chain(resources),
        "archive_bytes": archive_bytes(),
    }


def chain(resources: list[dict[str, Any]]) -> list[str]:
    """Return the longest chain of resources that wait for each other through inputs and `depends_on`. Components do not
    count, since they take no request to AWS."""
    names = {f"{each['type']}::{each['name']}": each for each in resources}
    return longest_chain(
        {name: each["depends_on"] for name, each in names.items()},
        {name for name, each in names.items() if each["custom"]},
    )


def _run(*argv: str) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{argv} failed:\n{done.stderr[-3000:]}")
    return done.stdout
