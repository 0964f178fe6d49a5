"""Submits and cancels jobs. A job is checked first, as the function will check it again."""

import secrets
import time
import uuid
from datetime import UTC, datetime

from trainq.protocol import layout, markers
from trainq.protocol.fields import shown
from trainq.protocol.limits import MAX_MESSAGE_BYTES
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import Job, MessageError
from trainq.stack import Stack
from trainq.transfers import listed


def new_id(dataset: str) -> str:
    """Return a job id with the dataset's name and the time. Its random end tells jobs of the same second apart."""
    # At most 63 characters: a job id has up to 64.
    return f"{dataset.replace('/', '-')[:40]}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def check(stack: Stack, job: Job) -> None:
    """Raise MessageError if the function would refuse the job, or send no task of it: invalid field, empty dataset, id
    of another or a cancelled job."""
    # Parse the JSON as the function will: values that JSON cannot express, such as NaN, fail only there.
    Job.from_json(job.to_json())
    # Consoles create empty objects ending in "/" to show folders. They sort first and are no shards.
    if all(each["Key"].endswith("/") for each in listed(stack.s3, stack.bucket_name, job.dataset)):
        raise job.without_dataset(stack.bucket_name)
    key = layout.plan(job.job_id)
    planned = markers.read(stack.s3, stack.bucket_name, key)
    if planned is not None:
        if not isinstance(planned.get("job"), dict):
            raise MarkerError(f"{key!r}: field 'job' is {shown(planned.get('job'))}: allowed is an object")
        Job.from_dict(planned["job"]).refuse_other(job)
    if markers.exists(stack.s3, stack.bucket_name, layout.cancelled(job.job_id)):
        raise MessageError(f"job {job.job_id!r} is cancelled, for good: submit it under another job_id")
    if len(job.to_json().encode()) > MAX_MESSAGE_BYTES:
        raise MessageError(f"the message is {len(job.to_json()):,} bytes: allowed are {MAX_MESSAGE_BYTES:,} (SQS)")


def send(stack: Stack, job: Job) -> str:
    """Send the job to the message queue. Return the message's id."""
    return stack.sqs.send_message(QueueUrl=stack.message_queue_url, MessageBody=job.to_json())["MessageId"]


def is_planned(stack: Stack, job_id: str) -> bool:
    """Return whether the function has planned the job: False if it was never submitted, was refused, or waits."""
    return markers.exists(stack.s3, stack.bucket_name, layout.plan(job_id))


def cancel(stack: Stack, job_id: str, by: str) -> tuple[str, str]:
    """Cancel the job for good. Return the user and the time of the cancellation, which may be an earlier one.

    Raises MarkerError if an earlier cancel marker has no valid user and time. The job is cancelled all the same: any
    object at that key counts.
    """
    key = layout.cancelled(job_id)
    marker = {"job_id": job_id, "by": by, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    found = markers.commit(stack.s3, stack.bucket_name, key, marker | {"id": uuid.uuid4().hex})
    for name in ("by", "at"):
        if not isinstance(found.get(name), str):
            raise MarkerError(f"{key!r}: field {name!r} is {shown(found.get(name))}: allowed is a text")
    return found["by"], found["at"]
