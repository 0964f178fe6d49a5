"""What boto3 itself costs for one full batch: the processor time of a call that is answered before it goes out."""

import time
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse

from trainq.messages import Task

CALLS = 2_000


class Answer:
    """What urllib3 would hand over."""

    def stream(self, **_: Any) -> list[bytes]:
        each = '{{"Id":"{}","MessageId":"0e6f7a4e-2b7e-4f4b-9d6c-1f2e3d4c5b6a","MD5OfMessageBody":"{}"}}'
        listed = ",".join(each.format(number, "0" * 32) for number in range(10))
        return [f'{{"Successful":[{listed}]}}'.encode()]


def answer(request: Any, **_: Any) -> AWSResponse:
    headers: Any = {"content-type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, 200, headers, Answer())


if __name__ == "__main__":
    client: Any = boto3.client("sqs")
    client.meta.events.register("before-send.sqs", answer)
    shards = ["datasets/growth/part-0123456.tar"]
    body = Task(job_id="growth", task=123_456, tasks=1_000_000, shards=shards, parameters={"order": 3}).to_json()
    entries = [{"Id": str(number), "MessageBody": body, "MessageGroupId": "growth"} for number in range(10)]
    begun = time.process_time()
    for _ in range(CALLS):
        client.send_message_batch(QueueUrl="https://sqs.us-east-1.amazonaws.com/000000000000/q", Entries=entries)
    print((time.process_time() - begun) / CALLS)
