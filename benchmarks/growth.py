"""3. Growth: plans and sends up to a million tasks, without a network, each size in a process of its own."""

import functools
import json
import os
import subprocess
from collections import defaultdict
from typing import Any

from benchmarks.figures import slope, summary
from benchmarks.place import ours
from local.emulator import REGION
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
# boto3 needs a key to sign requests; there is no network that checks it.
KEY = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}


def run(*, full: bool) -> dict[str, Any]:
    runs: dict[int, list[dict[str, Any]]] = defaultdict(list)
    client_cpu: dict[str, list[float]] = defaultdict(list)
    for number in range(FULL_ROUNDS if full else ROUNDS):
        for size in SIZES:
            found = json.loads(_run("growth_run", shards=size))
            runs[size].append(found)
            print(f"  round {number + 1}: {size}: {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB", flush=True)
        for what, seconds in json.loads(_run("client_cpu")).items():
            client_cpu[what].append(seconds)
    sizes = {str(size): _summed_up(each) for size, each in runs.items()}
    million = sizes[str(SIZES[-1])]
    cpu = million["cpu_seconds"]["median"]
    client = {what: summary(each) for what, each in client_cpu.items()}
    in_flight = runs[SIZES[-1]][0]["in_flight"]
    reckon = functools.partial(million_seconds, million["requests"], cpu, in_flight=in_flight)
    return {
        "sizes": sizes,
        "time_slope": slope(SIZES, [each["seconds"]["median"] for each in sizes.values()]),
        "client_cpu_seconds": client,
        "memory_growth": million["peak_mb"]["median"] / sizes[str(SIZES[-2])]["peak_mb"]["median"],
        "in_flight": in_flight,
        "million_seconds": reckon(),
        "million_seconds_on_lambda": reckon(
            send=client["send"]["median"],
            page=client["page"]["median"],
            share=Settings().function_memory / MB_PER_CPU,
        ),
    }


def million_seconds(
    requests: dict[str, int], cpu: float, *, in_flight: int, send: float = 0, page: float = 0, share: float = 1
) -> float:
    """Estimate the seconds for a million tasks. Pages and single requests are sequential. Sending is limited by the
    processor, of which the function has `share`, or by answers that take 10 ms each. `send`, `page`: boto3's processor
    time for one batch and one page."""
    sends = requests["SendMessageBatch"]
    others = sum(requests.values()) - sends
    computing = (cpu + send * sends + page * others) / share
    return others * REQUEST_SECONDS + max(computing, sends * REQUEST_SECONDS / in_flight)


def _summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    figures = {name: summary([each[name] for each in runs]) for name in ("seconds", "cpu_seconds", "peak_mb")}
    return figures | {"requests": runs[0]["requests"]}


def _run(module: str, **settings: Any) -> str:
    names = {"POWERTOOLS_SERVICE_NAME": "bench", "POWERTOOLS_METRICS_NAMESPACE": "Bench", "AWS_DEFAULT_REGION": REGION}
    environment = os.environ | KEY | names | {"BENCH": json.dumps(settings)}
    done = subprocess.run(ours(module), cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-3000:]}")
    return done.stdout.splitlines()[-1]
