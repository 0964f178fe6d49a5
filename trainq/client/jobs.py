"""Submits a job, after the checks that the function will make too; cancels one."""

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
    """Raises MessageError for what the function would refuse: no such dataset, or a job id that is used otherwise."""
    # As the function will read it: what JSON cannot say, NaN for instance, shows only there.
    Job.from_json(job.to_json())
    # Consoles make empty objects that end in "/" to show folders, and these come first.
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
    """Put the job on the message queue and return the message's id."""
    return stack.sqs.send_message(QueueUrl=stack.message_queue_url, MessageBody=job.to_json())["MessageId"]


def cancel(stack: Stack, job_id: str, by: str) -> tuple[str, str]:
    """Cancel the job, for good; return by whom and when it was, now or before.

    Raises MarkerError if the job was cancelled before, with a marker that does not say that: it is cancelled all the
    same, since any object at that key counts.
    """
    key = layout.cancelled(job_id)
    marker = {"job_id": job_id, "by": by, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    found = markers.commit(stack.s3, stack.bucket_name, key, marker | {"id": uuid.uuid4().hex})
    for name in ("by", "at"):
        if not isinstance(found.get(name), str):
            raise MarkerError(f"{key!r}: field {name!r} is {shown(found.get(name))}: allowed is a text")
    return found["by"], found["at"]
