"""Runs Celery over SQS, set up as its manual says; `python -m ...celery_tasks N` sends N tasks, one request each."""

import sys

from celery import Celery

from benchmarks.contestants import SETTINGS

host = SETTINGS["endpoint"].removeprefix("http://")
# Credentials are in the environment, as for all contestants.
app = Celery("bench", broker=f"sqs://{host}")
app.conf.update(
    task_acks_late=True,
    # As many as SQS hands out at once.
    worker_prefetch_multiplier=10,
    task_ignore_result=not SETTINGS["results"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "region": "us-east-1",
        "is_secure": False,
        "wait_time_seconds": 20,
        "visibility_timeout": 180,
        "predefined_queues": {"celery": {"url": SETTINGS["queue_url"]}},
    },
)
if SETTINGS["results"]:
    app.conf.update(
        result_backend="s3",
        s3_endpoint_url=SETTINGS["endpoint"],
        s3_bucket=SETTINGS["bucket"],
        s3_region="us-east-1",
        s3_base_path=f"runs/{SETTINGS['job_id']}/",
    )


@app.task(name="bench.nothing")
def nothing(number: int) -> None:
    """A no-op."""


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        nothing.delay(number)
