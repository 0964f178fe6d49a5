"""A durable work queue for distributed model training: settings, components, outputs."""

import pulumi
import pulumi_aws as aws

from access import Access
from encryption import encryption_key, keys
from monitoring import Monitoring
from queues import DurableQueue
from settings import Settings
from training_data import TrainingDataBucket
from training_lambda import MessageProcessor

settings = Settings.load()
region = aws.get_region_output().region

key = encryption_key(settings, region)
all_keys = keys(key, region, settings)

training_data = TrainingDataBucket(
    "training-data",
    noncurrent_version_days=settings.noncurrent_version_days,
    protect=settings.bucket_protect,
    force_destroy=settings.bucket_force_destroy,
    encryption_key=key,
    access_log_bucket=settings.access_log_bucket,
)
message = DurableQueue(
    "message",
    visibility_timeout=settings.message_visibility_timeout,
    retention=settings.message_retention,
    dead_letter_retention=settings.dead_letter_retention,
    max_receives=settings.max_receive_count,
    encryption_key=key,
)
model_training = DurableQueue(
    "model-training",
    visibility_timeout=settings.model_training_visibility_timeout,
    retention=settings.model_training_retention,
    dead_letter_retention=settings.dead_letter_retention,
    max_receives=settings.max_receive_count,
    encryption_key=key,
)
processor = MessageProcessor(
    "message-processor",
    message=message,
    model_training=model_training,
    training_data=training_data,
    encryption_key=key,
    keys=all_keys,
    settings=settings,
)
access = Access(
    "access",
    message=message,
    model_training=model_training,
    training_data=training_data,
    keys=all_keys,
    region=region,
    worker_principals=list(settings.worker_principals),
    permissions_boundary=settings.permissions_boundary,
)
monitoring = Monitoring(
    "monitoring",
    message=message,
    model_training=model_training,
    processor=processor,
    encryption_key=key,
    region=region,
    settings=settings,
)

pulumi.export("model_training_queue_url", model_training.queue.url)
pulumi.export("model_training_queue_arn", model_training.queue.arn)
pulumi.export("dead_letter_queue_url", model_training.dead_letter_queue.url)
pulumi.export("dead_letter_queue_arn", model_training.dead_letter_queue.arn)
pulumi.export("message_queue_url", message.queue.url)
pulumi.export("queue_arn", message.queue.arn)
pulumi.export("message_dead_letter_queue_url", message.dead_letter_queue.url)
pulumi.export("bucket_name", training_data.bucket.bucket)
pulumi.export("bucket_url", pulumi.Output.concat("s3://", training_data.bucket.bucket))
pulumi.export("message_processor_name", processor.function.name)
pulumi.export("worker_role_arn", access.worker_role.arn)
pulumi.export("worker_policy_arn", access.worker_policy.arn)
pulumi.export("submitter_policy_arn", access.submitter_policy.arn)
pulumi.export("operator_policy_arn", access.operator_policy.arn)
pulumi.export("alarm_topic_arn", monitoring.topic.arn)
pulumi.export("dashboard_name", monitoring.dashboard.dashboard_name)
pulumi.export("stack_parameter", access.parameter.name)
pulumi.export("region", region)
