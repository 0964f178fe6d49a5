"""Markers: small JSON objects in the bucket that are written once and then never change.

This is what makes exactly-once results out of at-least-once delivery: whoever writes the marker first has won, and
everybody else reads who that was. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

Anybody with the right to write below a prefix may write anything there: a marker is read only up to a size, and what
is read can always be written again as strict JSON.
"""

import contextlib
import json
import math
import time
from typing import Any

from botocore.exceptions import ClientError

from trainq.protocol.fields import MarkerError, is_nested_deeper

# S3 answers 409 while another conditional write to the same key is under way.
CONFLICT_ATTEMPTS = 8
# Of a plan or a result. Each repeats a message (1 MiB in SQS, up to 6 MiB with every character escaped). A result also
# lists its files, about 150 bytes each: 60,000 files beside the longest message, 100,000 beside a usual one.
MAX_BYTES = 16 * 1024 * 1024
# Of everything else below a run: the largest, a failure, keeps 16 KB of output, up to 96 KB with every byte escaped.
MAX_RECORD_BYTES = 1024 * 1024
_RECORDS = ("failures", "interruptions", "workers", "cancelled.json", "dispatched.json")
# Twice what a message may have, since a marker has the message's fields within others.
MAX_NESTING = 200


def status_of(error: ClientError) -> int:
    """The HTTP status of an error that AWS answered."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def max_bytes(key: str) -> int:
    """Return how large the marker at this key may be. Readers and writers agree on it."""
    kind = key.split("/")[2:3]
    return MAX_RECORD_BYTES if kind and kind[0] in _RECORDS else MAX_BYTES


def exists(s3: Any, bucket: str, key: str) -> bool:
    """Return whether anything is at this key, whatever it says: for markers that count by being there.

    A GET whose body is not read: unlike HEAD it tells a missing key from a missing bucket.
    """
    answer = _get(s3, bucket, key)
    if answer is None:
        return False
    with contextlib.closing(answer["Body"]) as body:
        # A connection whose answer was read to its end is used again. Our own markers are shorter than this.
        if answer["ContentLength"] <= 4096:
            body.read()
    return True


def read(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """Return the marker at this key, None if there is none.

    NaN and infinite numbers, which are no JSON, are read as null. Raises MarkerError for what is no JSON object, is
    nested deeper than `MAX_NESTING`, or is larger than `max_bytes`; of that, nothing is read.
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
    """Write the marker unless there is one; return the one that counts.

    `value` must hold something that no other writer has (an attempt's id), so that the caller knows its own when it
    comes back: also when the write succeeded, its answer was lost, and the client's retry found the marker in place.
    Raises MarkerError for a value that is too large for its key, or if there is a marker that cannot be read.
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
        # Not any 404: a bucket that does not exist is an error.
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise


def _finite(text: str) -> float | None:
    return value if math.isfinite(value := float(text)) else None
