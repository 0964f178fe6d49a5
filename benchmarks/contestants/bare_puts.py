"""Makes conditional writes of small objects and nothing else: the emulator's ceiling for results."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.contestants import SETTINGS

if __name__ == "__main__":
    client: Any = boto3.client
    s3 = client("s3", config=Config(max_pool_connections=SETTINGS["in_flight"]))

    def put(number: int) -> None:
        key = f"runs/{SETTINGS['job_id']}/results/{number}.json"
        s3.put_object(Bucket=SETTINGS["bucket"], Key=key, Body=b"x" * 200, IfNoneMatch="*")

    with ThreadPoolExecutor(SETTINGS["in_flight"]) as pool:
        list(pool.map(put, range(SETTINGS["tasks"])))
