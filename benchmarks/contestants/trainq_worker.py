"""Runs a trainq worker whose training function does nothing, or waits. Its results are committed."""

import time

from benchmarks.contestants import SETTINGS
from trainq.stack import Stack
from trainq.worker.worker import Options, TrainingTask, Worker


def train(task: TrainingTask) -> None:
    """Do nothing, or wait for the given time."""
    time.sleep(SETTINGS.get("seconds", 0))


if __name__ == "__main__":
    url = SETTINGS["queue_url"]
    stack = Stack(
        bucket_name=SETTINGS["bucket"],
        message_queue_url=url,
        model_training_queue_url=url,
        message_dead_letter_queue_url=f"{url}-dlq",
        dead_letter_queue_url=f"{url}-dlq",
        region="us-east-1",
    )
    Worker(stack, train, Options(**SETTINGS["options"])).run()
