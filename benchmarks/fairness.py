"""7. Fairness: a job of 5,000 tasks, then one of 20 on the same workers. When does the small one finish?

The emulator does not model fair queues, which is tried here first, so what AWS documents of them is simulated.
"""

from typing import Any

from benchmarks.fairqueue import Job, finish_times
from benchmarks.place import Place, place

BIG, SMALL = 5_000, 20
# In the middle of a round of tasks, after the big one's have filled all workers.
SUBMITTED = 1.5
# The second one is below the number in flight from which SQS goes by their share; there it goes by processing time.
FLEETS = (64, 8)


def run(*, full: bool) -> dict[str, Any]:
    with place() as there:
        modelled = emulator_is_fair(there)
    jobs = [Job("big", BIG, submitted=0.0), Job("small", SMALL, submitted=SUBMITTED)]
    fleets = {}
    for workers in FLEETS:
        alone = finish_times([Job("small", SMALL, submitted=0.0)], workers, grouped=True)["small"]
        fair, plain = (finish_times(jobs, workers, grouped=grouped) for grouped in (True, False))
        fleets[str(workers)] = {
            "alone": alone,
            "with_groups": fair["small"] - SUBMITTED,
            "without_groups": plain["small"] - SUBMITTED,
            "big_with_groups": fair["big"],
            "big_without_groups": plain["big"],
        }
    return {"emulator_models_fair_queues": modelled, "big": BIG, "small": SMALL, "workers": fleets}


def emulator_is_fair(there: Place) -> bool:
    """Whether, of 100 messages of one group and 5 of another behind them, any of the 5 comes before the last of the 100
    while 30 and more of the first group are in flight."""
    url = there.queue("fair")
    there.send(url, ["big"] * 100, "big")
    there.send(url, ["small"] * 5, "small")
    bodies = []
    while found := there.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        bodies += [each["Body"] for each in found]
    return bodies.index("small") < bodies.count("big")
