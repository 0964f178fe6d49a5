"""3. Growth: planning and sending up to a million tasks, without a network; each size in a process of its own."""

import json
import os
import subprocess
from collections import defaultdict
from typing import Any

from benchmarks.figures import slope, summary
from benchmarks.place import ours
from lambda_src.dispatch import IN_FLIGHT
from local.emulator import REGION, ROOT_KEY
from local.program import ROOT
from settings import Settings

SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 2
FULL_ROUNDS = 5
# What the issue asks to reckon with.
REQUEST_SECONDS = 0.010
# "At 1,769 MB, a function has the equivalent of one vCPU."
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MB_PER_CPU = 1_769


def run(*, full: bool) -> dict[str, Any]:
    runs: dict[int, list[dict[str, Any]]] = defaultdict(list)
    client_cpu = []
    for number in range(FULL_ROUNDS if full else ROUNDS):
        for size in SIZES:
            found = json.loads(_run("growth_run", shards=size))
            runs[size].append(found)
            print(f"  round {number + 1}: {size}: {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB", flush=True)
        client_cpu.append(float(_run("client_cpu")))
    sizes = {str(size): _summed_up(each) for size, each in runs.items()}
    million = sizes[str(SIZES[-1])]
    cpu = million["cpu_seconds"]["median"]
    client = summary(client_cpu)
    return {
        "sizes": sizes,
        "time_slope": slope(SIZES, [each["seconds"]["median"] for each in sizes.values()]),
        "client_cpu_seconds_per_request": client,
        "memory_growth": million["peak_mb"]["median"] / sizes[str(SIZES[-2])]["peak_mb"]["median"],
        "in_flight": IN_FLIGHT,
        "million_seconds": million_seconds(million["requests"], cpu, 0.0, 1.0),
        "million_seconds_on_lambda": million_seconds(
            million["requests"], cpu, client["median"], Settings().function_memory / MB_PER_CPU
        ),
    }


def million_seconds(requests: dict[str, int], cpu: float, client_cpu: float, share: float) -> float:
    """Pages come one after the other; sending is bound by the processor, of which the function has `share`, or by
    answers that take 10 ms each."""
    sends = requests["SendMessageBatch"]
    others = sum(requests.values()) - sends
    computing = (cpu + client_cpu * (sends + others)) / share
    return others * REQUEST_SECONDS + max(computing, sends * REQUEST_SECONDS / IN_FLIGHT)


def _summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    figures = {name: summary([each[name] for each in runs]) for name in ("seconds", "cpu_seconds", "peak_mb")}
    return figures | {"requests": runs[0]["requests"]}


def _run(module: str, **settings: Any) -> str:
    names = {"POWERTOOLS_SERVICE_NAME": "bench", "POWERTOOLS_METRICS_NAMESPACE": "Bench", "AWS_DEFAULT_REGION": REGION}
    environment = os.environ | ROOT_KEY | names | {"BENCH": json.dumps(settings)}
    done = subprocess.run(ours(module), cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return done.stdout.splitlines()[-1]
