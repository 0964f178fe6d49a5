"""Submits and cancels jobs. A job is checked first, as the function will check it again."""

import time
import uuid

from trainq.protocol import layout, markers
from trainq.protocol.fields import shown
from trainq.protocol.limits import MAX_MESSAGE_BYTES
from trainq.protocol.markers import MarkerError
from trainq.protocol.messages import Job, MessageError
from trainq.stack import Stack
from trainq.transfers import listed


def check(stack: Stack, job: Job) -> None:
    """Raise MessageError if the function would refuse the job: invalid field, empty dataset, or id of another job."""
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
    if len(job.to_json().encode()) > MAX_MESSAGE_BYTES:
        raise MessageError(f"the message is {len(job.to_json()):,} bytes: allowed are {MAX_MESSAGE_BYTES:,} (SQS)")


def send(stack: Stack, job: Job) -> str:
    """Send the job to the message queue. Return the message's id."""
    return stack.sqs.send_message(QueueUrl=stack.message_queue_url, MessageBody=job.to_json())["MessageId"]


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
