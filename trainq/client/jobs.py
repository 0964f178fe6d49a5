"""Submits a job, after the checks that the function will make too; cancels one."""

import time
import uuid

from trainq.protocol import layout, markers
from trainq.protocol.limits import MAX_MESSAGE_BYTES
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
    if planned := markers.read(stack.s3, stack.bucket_name, layout.plan(job.job_id)):
        Job.from_dict(planned["job"]).refuse_other(job)
    if len(job.to_json().encode()) > MAX_MESSAGE_BYTES:
        raise MessageError(f"the message is {len(job.to_json()):,} bytes: allowed are {MAX_MESSAGE_BYTES:,} (SQS)")


def send(stack: Stack, job: Job) -> str:
    """Put the job on the message queue and return the message's id."""
    return stack.sqs.send_message(QueueUrl=stack.message_queue_url, MessageBody=job.to_json())["MessageId"]


def cancel(stack: Stack, job_id: str, by: str) -> dict[str, str]:
    """Cancel the job, for good; return who did it, now or before."""
    marker = {"job_id": job_id, "by": by, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return markers.commit(stack.s3, stack.bucket_name, layout.cancelled(job_id), marker | {"id": uuid.uuid4().hex})
