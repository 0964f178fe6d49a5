"""A job under chaos: `python -m tests.chaos.run --help`."""

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from local.deploy import deploy
from local.emulator import Emulator
from local.faults import Faults
from local.workers import running
from tests.chaos.fleet import FAULTS, Chaos
from trainq.client import results
from trainq.protocol import layout
from trainq.stack import Stack
from trainq.transfers import download
from trainq.worker.task_queue import TaskQueue

POISON = 3
RECEIVES = 10
# What the guards of killed workers may take to end what these have left.
LEFT_SECONDS = 20


def run(
    seed: int,
    tasks: int,
    faults: int,
    fleet: int,
    rate: float,
    deadline: float,
    kinds: tuple[str, ...] = FAULTS,
    pause: float = 0.5,
) -> dict[str, int]:
    """Run a job of `tasks` tasks until all good ones are done. Return the number of faults of each kind.

    `kinds`: faults of processes, one every `pause` seconds on average while there are good tasks. `rate`: share of
    requests that have a fault. `faults`: the least number that must have happened. Raises AssertionError if a task is
    lost or counted twice, or at the deadline.
    """
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="trainq-chaos-")))
        log = folder / "faults.jsonl"
        log.touch()
        emulator = cleanup.enter_context(Emulator(folder / "emulator", Faults(rate, seed, str(log))))
        # A short timeout: a batch whose function was killed is redelivered after six times that. Many receives: each
        # kill of a worker is a failure of every task that it holds, and good tasks must not run out of them.
        outputs = deploy(emulator, folder / "stack.json", function_timeout=5, max_receive_count=RECEIVES)
        stack = emulator.stack(outputs)
        chance = random.Random(seed)
        texts = {f"{number:05}": letters(chance) for number in range(tasks)}
        poison = set(chance.sample(sorted(texts), POISON))
        for name, text in texts.items():
            body = ("poison" if name in poison else text).encode()
            stack.s3.put_object(Bucket=stack.bucket_name, Key=f"datasets/chaos/{name}", Body=body)
        message = {"job_id": "chaos", "dataset": "datasets/chaos/"}
        stack.sqs.send_message(QueueUrl=stack.message_queue_url, MessageBody=json.dumps(message))
        credentials = emulator.assume(outputs["worker_role_arn"], "chaos")
        chaos = Chaos(emulator, folder / "stack.json", stack, credentials, folder, chance)
        cleanup.callback(lambda: [worker.kill() for worker in chaos.fleet])
        until = time.monotonic() + deadline
        next_strike = time.monotonic() + 1
        while not ((good := all_good_are_done(stack, tasks)) and is_over(stack, chaos, log, faults)):
            assert time.monotonic() < until, f"not done in {deadline} s: {state(stack, tasks)}; seed {seed}"
            chaos.mend(fleet)
            if not good and time.monotonic() >= next_strike:
                chaos.strike(kinds)
                next_strike = time.monotonic() + chance.uniform(0.2, 1.8) * pause
            time.sleep(0.05)
        chaos.end()
        nothing_is_left(folder)
        verify(stack, {name: text for name, text in texts.items() if name not in poison}, poison, folder)
        happened = Counter(json.loads(line)["kind"] for line in log.read_text().splitlines())
        return dict(chaos.done) | dict(happened) | {"workers started": chaos.started}


def letters(chance: random.Random) -> str:
    return "".join(chance.choices("abcdefghij", k=chance.randint(1, 25)))


def state(stack: Stack, tasks: int) -> str:
    counts = {name: waiting(stack, url) for name, url in (("tasks", stack.model_training_queue_url),)}
    return f"{len(results.done_tasks(stack, 'chaos'))} of {tasks} results, on the queue {counts}"


def waiting(stack: Stack, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(answer[name]) for name in names)


def all_good_are_done(stack: Stack, tasks: int) -> bool:
    return len(results.done_tasks(stack, "chaos")) >= tasks - POISON


def is_over(stack: Stack, chaos: Chaos, log: Path, faults: int) -> bool:
    """Return whether both queues are empty, too. Asserts that there were enough faults."""
    if waiting(stack, stack.message_queue_url) or waiting(stack, stack.model_training_queue_url):
        return False
    total = chaos.done.total() + len(log.read_text().splitlines())
    assert total >= faults, f"the job was done after {total} faults, {faults} were wanted: raise the rates"
    return True


def nothing_is_left(folder: Path) -> None:
    """Assert that no process of an attempt is left, in any session, and no file of a worker."""
    until = time.monotonic() + LEFT_SECONDS
    while left := [*running(f"TRAINQ_OUTPUT={folder}"), *folder.glob("trainq-*")]:
        assert time.monotonic() < until, f"left running or on the disk: {left}"
        time.sleep(0.05)


def verify(stack: Stack, good: dict[str, str], poison: set[str], folder: Path) -> None:
    """Assert that each good task has exactly one result, the merged counts are right, and only poison is dead."""
    found = results.committed(stack, "chaos")
    shards = [key.rsplit("/", 1)[-1] for each in found for key in each["shards"]]
    assert sorted(shards) == sorted(good), f"lost: {sorted(good.keys() - set(shards))}, more than once: " + str(
        [name for name, number in Counter(shards).items() if number > 1]
    )
    download(
        stack.s3,
        stack.bucket_name,
        [(each["output"] + "counts.json", folder / "merged" / f"{each['task']}.json") for each in found],
    )
    merged: Counter[str] = Counter()
    for path in (folder / "merged").iterdir():
        merged.update(json.loads(path.read_text()))
    assert merged == Counter("".join(good.values())), "the merged model is not the single process's"
    dead = set()
    queue = TaskQueue(stack)
    while messages := stack.sqs.receive_message(
        QueueUrl=queue.dead_letter_url, MaxNumberOfMessages=10, WaitTimeSeconds=1
    ).get("Messages"):
        dead |= {json.loads(each["Body"])["shards"][0].rsplit("/", 1)[-1] for each in messages}
    assert dead == poison, f"on the dead letter queue: {sorted(dead)}, poison is {sorted(poison)}"
    assert not waiting(stack, stack.message_dead_letter_queue_url), "the job itself was given up"
    assert stack.s3.head_object(Bucket=stack.bucket_name, Key=layout.dispatched("chaos"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="*", default=[1, 2, 3], help="one run for each (default: 1 2 3)")
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--faults", type=int, default=100, help="at least so many must have happened")
    parser.add_argument("--fleet", type=int, default=4, help="workers at any time")
    parser.add_argument("--rate", type=float, default=0.02, help="the share of requests that something happens to")
    arguments = parser.parse_args()
    for seed in arguments.seed:
        print(f"seed {seed}: {arguments.tasks} tasks, {arguments.fleet} workers", flush=True)
        began = time.monotonic()
        happened = run(seed, arguments.tasks, arguments.faults, arguments.fleet, arguments.rate, deadline=900)
        for kind, number in sorted(happened.items()):
            print(f"  {number:5}  {kind}")
        print(f"  0 lost, 0 counted twice, {POISON} dead (the poison), {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
