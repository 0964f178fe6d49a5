"""2. Dispatch: from one job message to all its tasks on the work queue; and the function's cold start."""

import json
import subprocess
import sys
import tempfile
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import training_lambda_archive
from benchmarks.figures import summary
from benchmarks.place import Place, ours, place
from benchmarks.requests import SENDS
from local.emulator import REGION
from local.provider import zipped

SIZES = (1_000, 10_000)
HOWS = ("handler", "flood", "single sends")
ROUNDS = 3
FULL_ROUNDS = 7
STARTS = 9

# Imports as Lambda does: boto3 comes with the runtime, and the archive has no bytecode.
IMPORT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
begun = time.perf_counter()
import lambda_src.handler
seconds = time.perf_counter() - begun
sys.path.append(sys.argv[2])
from benchmarks.memory import peak_mb
print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "file": lambda_src.handler.__file__}))
"""


def measure(there: Place, how: str, size: int) -> dict[str, Any]:
    """Dispatch one job with `size` shards to a queue of its own, and measure it."""
    job = f"job-{uuid.uuid4().hex}"
    url = there.queue(job)
    there.forget()
    settings = {"queue_url": url, "job_id": job, "dataset": f"datasets/of-{size}/", "tasks": size}
    printed = there.run(ours("dispatch_job"), how=how, **settings)
    trace = there.trace()
    if (sent := there.left(url)) != size:
        raise RuntimeError(f"{how}: {sent} of {size} tasks are on the queue")
    there.drop(url)
    there.clear()
    start, end = min(each.begun for each in trace.requests), trace.last(*SENDS)
    return {
        "tasks_per_second": size / (end - start),
        "sends_per_task": trace.count(*SENDS) / size,
        "requests": {kind: round(number * size) for kind, number in trace.per_task(size).items()},
    } | json.loads(printed.splitlines()[-1])


def run(*, full: bool) -> dict[str, Any]:
    runs: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    with place() as there:
        for size in SIZES:
            there.put({f"datasets/of-{size}/{number:06}": b"x" for number in range(size)})
        for how in HOWS:
            measure(there, how, SIZES[0])
        for number in range(FULL_ROUNDS if full else ROUNDS):
            for size in SIZES:
                for how in HOWS:
                    found = measure(there, how, size)
                    runs[size, how].append(found)
                    print(f"  round {number + 1}: {size} by {how}: {found['tasks_per_second']:.0f} tasks/s", flush=True)
    sizes = {str(size): {how: _summed_up(runs[size, how]) for how in HOWS} for size in SIZES}
    return {"in_flight": runs[SIZES[0], "handler"][0]["in_flight"], "sizes": sizes, "cold_start": cold_start()}


def _summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tasks_per_second": summary([each["tasks_per_second"] for each in runs]),
        "sends_per_task": max(each["sends_per_task"] for each in runs),
        "requests": runs[0]["requests"],
        "peak_mb": max(each["peak_mb"] for each in runs),
    }


def cold_start() -> dict[str, Any]:
    """Measure how long fresh interpreters take to import the unpacked archive."""
    files = training_lambda_archive.files()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            unpacked = Path(folder) / name
            unpacked.parent.mkdir(parents=True, exist_ok=True)
            unpacked.write_bytes(path.read_bytes())
        found = [json.loads(_python("-c", IMPORT, folder, str(training_lambda_archive.ROOT))) for _ in range(STARTS)]
        if not all(Path(each["file"]).is_relative_to(folder) for each in found):
            raise RuntimeError(f"imported {found[0]['file']}, which is not from the archive")
    return {
        "import_seconds": summary([each["seconds"] for each in found]),
        "peak_mb": max(each["peak_mb"] for each in found),
        "archive_bytes": archive_bytes(),
        "unpacked_bytes": sum(path.stat().st_size for path in files.values()),
        "files": len(files),
    }


def archive_bytes() -> int:
    return len(zipped({name: str(path) for name, path in training_lambda_archive.files().items()}))


def _python(*arguments: str) -> str:
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "AWS_DEFAULT_REGION": REGION, "PATH": "/usr/bin:/bin"}
    names = {"POWERTOOLS_SERVICE_NAME": "bench", "POWERTOOLS_METRICS_NAMESPACE": "Bench"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment | names, capture_output=True, text=True, check=True, cwd="/"
    )
    return done.stdout.splitlines()[-1]
