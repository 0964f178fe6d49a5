"""Keeps the results in a file and writes the pages from it."""

import datetime
import json
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.place import PEERS
from benchmarks.report import readme, report
from local.program import ROOT

RESULTS = ROOT / "benchmarks/results.json"
BEGIN, END = "<!-- begin: python -m benchmarks report -->", "<!-- end: python -m benchmarks report -->"
PEER_VERSIONS = """
import json
from importlib import metadata
print(json.dumps({name: metadata.version(name) for name in ("celery", "kombu", "dramatiq", "dramatiq-sqs", "awscli")}))
"""


def load() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"benchmarks": {}}


def keep(name: str, found: dict[str, Any], *, full: bool, seconds: float) -> None:
    """Replace the earlier results of a benchmark."""
    results = load()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    about = {"command": f"python -m benchmarks run {name}{' --full' * full}", "full": full, "date": date}
    results["benchmarks"][name] = about | {"took_seconds": round(seconds)} | rounded(found)
    results |= {"machine": _machine(), "versions": _versions()}
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=False) + "\n")


def rounded(value: Any) -> Any:
    """Return the value rounded to six digits, which is more than was measured."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def _machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return {
        "processors": os.cpu_count(),
        "model": model[1] if model else platform.processor(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _versions() -> dict[str, str]:
    ours = {name: metadata.version(name) for name in ("ministack", "boto3", "pulumi", "pulumi-aws")}
    done = subprocess.run([PEERS / "python", "-c", PEER_VERSIONS], capture_output=True, text=True)
    return ours | (json.loads(done.stdout) if not done.returncode else {})


def write_report() -> None:
    """Write the tables in docs/performance.md and README.md, and the picture, from the results."""
    from benchmarks.plot import draw

    results = load()
    for name, text in (("docs/performance.md", report(results)), ("README.md", readme(results))):
        path = ROOT / name
        path.write_text(with_generated(path.read_text(), text))
    draw(results, ROOT / "docs/performance.svg", ROOT / "docs/performance.png")


def with_generated(text: str, generated: str) -> str:
    """Return the text with the part between the two marks replaced."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"
