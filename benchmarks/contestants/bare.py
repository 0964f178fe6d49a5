"""Runs a bare boto3 loop, the ceiling for any worker: receives ten, makes each task's requests, deletes the ten."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.contestants import SETTINGS

BUCKET, QUEUE = SETTINGS["bucket"], SETTINGS["queue_url"]


def loop(sqs: Any, s3: Any) -> None:
    while True:
        answer = sqs.receive_message(QueueUrl=QUEUE, MaxNumberOfMessages=SETTINGS["batch"], WaitTimeSeconds=20)
        messages = answer.get("Messages", ())
        for message in messages:
            task = json.loads(message["Body"])
            if SETTINGS["download"]:
                for key in task["shards"]:
                    s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            if SETTINGS["results"]:
                key = f"runs/{task['job_id']}/results/{task['task']}.json"
                s3.put_object(Bucket=BUCKET, Key=key, Body=message["Body"].encode(), IfNoneMatch="*")
        if SETTINGS["batch"] == 1:
            for message in messages:
                sqs.delete_message(QueueUrl=QUEUE, ReceiptHandle=message["ReceiptHandle"])
        elif messages:
            entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=QUEUE, Entries=entries)


if __name__ == "__main__":
    in_flight = SETTINGS["in_flight"]
    client: Any = boto3.client
    config = Config(max_pool_connections=in_flight)
    clients = client("sqs", config=config), client("s3", config=config)
    with ThreadPoolExecutor(in_flight) as pool:
        for running in [pool.submit(loop, *clients) for _ in range(in_flight)]:
            running.result()
