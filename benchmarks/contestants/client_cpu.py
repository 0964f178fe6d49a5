"""Measures boto3's processor time in the function's own clients, with calls that are answered before they are sent.
Prints it for one full batch and for one page of a listing."""

import json
import time
from typing import Any

from botocore.awsrequest import AWSResponse

from lambda_src import handler
from trainq.protocol.messages import Task

SENDS, PAGES = 2_000, 30
LISTED = (
    "<Contents><Key>datasets/growth/part-{number:07}.tar</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{number:032x}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><Size>1000000</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class Answer:
    """Stands in for urllib3's response."""

    def __init__(self, body: str) -> None:
        self.body = body.encode()

    def stream(self, **_: Any) -> list[bytes]:
        return [self.body]


def answered(client: Any, kind: str, body: str) -> Any:
    """Return the client. It gets this answer to every request."""
    headers: Any = {"content-type": kind}
    client.meta.events.register(
        "before-send", lambda request, **_: AWSResponse(request.url, 200, headers, Answer(body))
    )
    return client


def send() -> float:
    each = '{{"Id":"{}","MessageId":"0e6f7a4e-2b7e-4f4b-9d6c-1f2e3d4c5b6a","MD5OfMessageBody":"{}"}}'
    taken = ",".join(each.format(number, "0" * 32) for number in range(10))
    sqs = answered(handler.sqs, "application/x-amz-json-1.0", f'{{"Successful":[{taken}]}}')
    shards = ["datasets/growth/part-0123456.tar"]
    body = Task(job_id="growth", task=123_456, tasks=1_000_000, shards=shards, parameters={"order": 3}).to_json()
    entries = [{"Id": str(number), "MessageBody": body, "MessageGroupId": "growth"} for number in range(10)]
    begun = time.process_time()
    for _ in range(SENDS):
        sqs.send_message_batch(QueueUrl="https://sqs.us-east-1.amazonaws.com/000000000000/q", Entries=entries)
    return (time.process_time() - begun) / SENDS


def page() -> float:
    listed = "".join(LISTED.format(number=number) for number in range(1_000))
    result = f"<Name>b</Name><KeyCount>1000</KeyCount><IsTruncated>false</IsTruncated>{listed}"
    s3 = answered(handler.s3, "application/xml", f"<ListBucketResult>{result}</ListBucketResult>")
    begun = time.process_time()
    for _ in range(PAGES):
        assert len(s3.list_objects_v2(Bucket="bucket", Prefix="datasets/growth/")["Contents"]) == 1_000
    return (time.process_time() - begun) / PAGES


if __name__ == "__main__":
    print(json.dumps({"send": send(), "page": page()}))
