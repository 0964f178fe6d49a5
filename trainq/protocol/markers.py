"""Write-once markers: small JSON objects in the bucket that never change once they are written.

Conditional writes make exactly-once results out of at-least-once delivery: the first write succeeds, and later writers
read that marker. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

A marker may come from any principal that may write below its prefix. So `read` refuses markers above a size, and
returns only values that can be written as strict JSON.
"""

import contextlib
import json
import math
import time
from typing import Any

from botocore.exceptions import ClientError

from trainq.protocol.fields import MarkerError, is_nested_deeper

# S3 answers 409 while another conditional write to the same key is under way: retry, 8 attempts in about 6 s.
CONFLICT_ATTEMPTS = 8
# Limit of a plan or a result. Each repeats a message (1 MiB in SQS, up to 6 MiB with every character escaped). A result
# also lists its files, about 150 bytes each: 60,000 files beside the longest message, 100,000 beside a usual one.
MAX_BYTES = 16 * 1024 * 1024
# Limit of all other objects of a job. The largest, a failure record, keeps 16 KB of output: 96 KB if all is escaped.
MAX_RECORD_BYTES = 1024 * 1024
_RECORDS = ("failures", "interruptions", "workers", "cancelled.json", "dispatched.json")
# Twice a message's limit: a marker nests the fields of a message.
MAX_NESTING = 200


def status_of(error: ClientError) -> int:
    """Return the HTTP status of an AWS error."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def max_bytes(key: str) -> int:
    """Return the size limit, in bytes, of the marker at this key. Readers and writers use the same limit."""
    kind = key.split("/")[2:3]
    return MAX_RECORD_BYTES if kind and kind[0] in _RECORDS else MAX_BYTES


def exists(s3: Any, bucket: str, key: str) -> bool:
    """Return whether there is an object at this key, whatever its content.

    Sends a GET, not a HEAD: only the answer to a GET distinguishes a missing key from a missing bucket. Raises
    ClientError for other errors.
    """
    answer = _get(s3, bucket, key)
    if answer is None:
        return False
    with contextlib.closing(answer["Body"]) as body:
        # Read a short body to its end, so that the connection can be reused. Our own markers are below 4 KiB.
        if answer["ContentLength"] <= 4096:
            body.read()
    return True


def read(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """Return the marker at this key, None if there is none.

    NaN and infinite numbers, which are not JSON, are read as null. Raises MarkerError if the object is larger than
    `max_bytes` (its body is not read then), is not a JSON object or is nested deeper than `MAX_NESTING`.
    """
    answer = _get(s3, bucket, key)
    if answer is None:
        return None
    size, allowed = answer["ContentLength"], max_bytes(key)
    with contextlib.closing(answer["Body"]) as body:
        if size > allowed:
            raise MarkerError(f"{key!r} has {size:,} bytes: allowed are at most {allowed:,}")
        text = body.read()
    try:
        marker = json.loads(text, parse_constant=lambda name: None, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MarkerError(f"{key!r} cannot be read as JSON: {error}") from None
    if not isinstance(marker, dict):
        raise MarkerError(f"{key!r} is no JSON object")
    if is_nested_deeper(marker, MAX_NESTING):
        raise MarkerError(f"{key!r} is JSON nested too deeply: allowed are {MAX_NESTING} levels")
    return marker


def commit(s3: Any, bucket: str, key: str, value: dict[str, Any]) -> dict[str, Any]:
    """Write the marker with a conditional write, unless there is one. Return the marker at the key: `value` or the
    earlier one.

    `value` must contain something unique (an attempt's id), by which the caller recognises its own marker: if the
    answer to a write is lost, the client's retry finds that marker in place. Raises MarkerError if `value` is
    too large for its key or the earlier marker cannot be read, ClientError from S3.
    """
    body = json.dumps(value).encode()
    if len(body) > max_bytes(key):
        raise MarkerError(f"{key!r} would have {len(body):,} bytes: allowed are at most {max_bytes(key):,}")
    for attempt in range(CONFLICT_ATTEMPTS):
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*")
            return value
        except ClientError as error:
            if status_of(error) == 409 and attempt + 1 < CONFLICT_ATTEMPTS:
                time.sleep(0.05 * 2**attempt)
            elif status_of(error) != 412:
                raise
            elif (committed := read(s3, bucket, key)) is not None:
                return committed
    raise RuntimeError(f"s3://{bucket}/{key} is said to exist but cannot be read: was it deleted?")


def _get(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    try:
        return s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # Not every 404: a missing bucket (NoSuchBucket) is an error.
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise


def _finite(text: str) -> float | None:
    return value if math.isfinite(value := float(text)) else None
