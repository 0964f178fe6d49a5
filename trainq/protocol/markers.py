"""Markers: small JSON objects in the bucket that are written once and then never change.

This is what makes exactly-once results out of at-least-once delivery: whoever writes the marker first has won, and
everybody else reads who that was. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

import json
import time
from typing import Any

from botocore.exceptions import ClientError

# S3 answers 409 while another conditional write to the same key is under way.
CONFLICT_ATTEMPTS = 8


class MarkerError(ValueError):
    """What is at a marker's key is no such marker; names the key."""


def status_of(error: ClientError) -> int:
    """The HTTP status of an error that AWS answered."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def read(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """The marker at this key, or None if nobody has written it. Raises MarkerError for what is no JSON object."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # Not any 404: a bucket that does not exist is an error.
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise
    try:
        marker = json.loads(answer["Body"].read())
    except (ValueError, RecursionError) as error:
        raise MarkerError(f"{key!r} cannot be read as JSON: {error}") from None
    if not isinstance(marker, dict):
        raise MarkerError(f"{key!r} is no JSON object")
    return marker


def exists(s3: Any, bucket: str, key: str) -> bool:
    """Whether there is an object at this key, whatever is in it."""
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        # A HEAD has no body that could tell a missing key from a missing bucket.
        if status_of(error) == 404:
            return False
        raise
    return True


def commit(s3: Any, bucket: str, key: str, value: dict[str, Any]) -> dict[str, Any]:
    """Write the marker unless there is one; return the one that counts.

    `value` must hold something that no other writer has (an attempt's id), so that the caller knows its own when it
    comes back: also when the write succeeded, its answer was lost, and the client's retry found the marker in place.
    """
    body = json.dumps(value).encode()
    for attempt in range(CONFLICT_ATTEMPTS):
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*")
            return value
        except ClientError as error:
            if status_of(error) == 409 and attempt + 1 < CONFLICT_ATTEMPTS:
                time.sleep(0.05 * 2**attempt)
            elif status_of(error) != 412:
                raise
            elif committed := read(s3, bucket, key):
                return committed
    raise RuntimeError(f"s3://{bucket}/{key} is said to exist but cannot be read: was it deleted?")
