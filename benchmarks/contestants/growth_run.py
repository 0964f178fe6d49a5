"""Plans and sends one job with stand-ins for S3 and SQS. Prints time, memory and numbers of requests."""

import json
import time

from benchmarks.contestants import SETTINGS
from benchmarks.memory import peak_mb

# The whole function, since boto3 and Powertools are in its memory too.
from lambda_src import handler
from lambda_src.dispatch import Dispatcher
from local.standins import CountingSqs, LargeS3
from trainq.protocol.messages import Job

if __name__ == "__main__":
    job = Job(job_id="growth", dataset="datasets/growth/", parameters={"order": 3})
    s3, sqs = LargeS3(job.dataset, SETTINGS["shards"]), CountingSqs()
    begun, cpu = time.perf_counter(), time.process_time()
    dispatcher = Dispatcher(
        s3=s3, sqs=sqs, bucket="b", queue_url="q", max_tasks=SETTINGS["shards"], remaining=lambda: 900.0
    )
    dispatcher.dispatch(job)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    sends, tasks = sqs.counted()
    if tasks != SETTINGS["shards"]:
        raise RuntimeError(f"{tasks} tasks were sent of {SETTINGS['shards']}")
    found = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb()}
    print(json.dumps(found | {"in_flight": handler.IN_FLIGHT, "requests": {**s3.requests, "SendMessageBatch": sends}}))
