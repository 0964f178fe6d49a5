"""Shards: compares the speed of a worker's downloads with `aws s3 cp --recursive` of the same objects."""

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.figures import summary
from benchmarks.place import BUCKET, PEERS, Place, ours, place

# By name: the number of objects, and the bytes of each.
SETS = {"200 x 256 KB": (200, 256 * 1024), "4 x 32 MB": (4, 32 * 1024 * 1024)}
HOWS = ("trainq", "aws s3 cp")
ROUNDS = 3
FULL_ROUNDS = 9


def run(*, full: bool) -> dict[str, Any]:
    runs: dict[tuple[str, str], list[float]] = defaultdict(list)
    requests: dict[tuple[str, str], dict[str, int]] = {}
    with place() as there:
        for name, (number, size) in SETS.items():
            there.put({f"{_prefix(name)}{each:04}": bytes(size) for each in range(number)})
        for how in HOWS:
            measure(there, how, next(iter(SETS)))
        for number in range(FULL_ROUNDS if full else ROUNDS):
            for name in SETS:
                for how in HOWS:
                    rate, requests[name, how] = measure(there, how, name)
                    runs[name, how].append(rate)
                    print(f"  round {number + 1}: {name} by {how}: {rate:.0f} MB/s", flush=True)
    return {
        "sets": {
            name: {how: {"mb_per_second": summary(runs[name, how]), "requests": requests[name, how]} for how in HOWS}
            for name in SETS
        }
    }


def measure(there: Place, how: str, name: str) -> tuple[float, dict[str, int]]:
    """Return MB per second, from the first request to the last answer, so that the CLI's start does not count."""
    number, size = SETS[name]
    with tempfile.TemporaryDirectory() as folder:
        there.forget()
        if how == "trainq":
            keys = [f"{_prefix(name)}{each:04}" for each in range(number)]
            there.run(ours("download"), keys=keys, folder=folder)
        else:
            source = f"s3://{BUCKET}/{_prefix(name)}"
            there.run([str(PEERS / "aws"), "s3", "cp", "--recursive", "--only-show-errors", source, folder])
        trace = there.trace()
        arrived = [each.stat().st_size for each in Path(folder).rglob("*") if each.is_file()]
    if arrived != [size] * number:
        raise RuntimeError(f"{how}: {len(arrived)} of {number} objects arrived")
    seconds = max(each.ended for each in trace.requests) - min(each.begun for each in trace.requests)
    return number * size / 1e6 / seconds, {kind: round(count) for kind, count in trace.per_task(1).items()}


def _prefix(name: str) -> str:
    return f"shards/{name.replace(' ', '')}/"
