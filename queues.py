"""DurableQueue: a queue with a dead letter queue behind it."""

import pulumi
from pulumi_aws import sqs

from policies import resources

# The maxima of SQS.
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_LONG_POLL_SECONDS = 20


class DurableQueue(pulumi.ComponentResource):
    """Creates an encrypted, TLS-only SQS queue and its dead letter queue.

    A message received `max_receives` times without being deleted moves to the dead letter queue, which takes
    messages from this queue only and keeps them for `dead_letter_retention` seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        visibility_timeout: int,
        retention: int,
        dead_letter_retention: int,
        max_receives: int,
        encryption_key: pulumi.Input[str] | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:queues:DurableQueue", name, None, opts)
        self.encryption_key = encryption_key
        self.queue = self._queue(f"{name}-queue", retention=retention, visibility_timeout=visibility_timeout)
        self.dead_letter_queue = self._queue(f"{name}-dlq", retention=dead_letter_retention)

        child = pulumi.ResourceOptions(parent=self)
        sqs.RedrivePolicy(
            f"{name}-redrive",
            queue_url=self.queue.url,
            # An integer: SQS returns one, and a string would show as a change at every preview.
            redrive_policy=pulumi.Output.json_dumps(
                {"deadLetterTargetArn": self.dead_letter_queue.arn, "maxReceiveCount": max_receives}
            ),
            opts=child,
        )
        sqs.RedriveAllowPolicy(
            f"{name}-redrive-allow",
            queue_url=self.dead_letter_queue.url,
            redrive_allow_policy=pulumi.Output.json_dumps(
                {"redrivePermission": "byQueue", "sourceQueueArns": [self.queue.arn]}
            ),
            opts=child,
        )
        self.register_outputs({})

    def _queue(self, name: str, *, retention: int, visibility_timeout: int = 30) -> sqs.Queue:
        queue = sqs.Queue(
            name,
            visibility_timeout_seconds=visibility_timeout,
            message_retention_seconds=retention,
            receive_wait_time_seconds=MAX_LONG_POLL_SECONDS,
            max_message_size=MAX_MESSAGE_BYTES,
            # Either SQS's own keys or a KMS key: a queue has one of them.
            sqs_managed_sse_enabled=True if self.encryption_key is None else None,
            kms_master_key_id=self.encryption_key,
            # SQS reuses a data key for 5 minutes, so that not every request of a sender or receiver asks KMS.
            kms_data_key_reuse_period_seconds=None if self.encryption_key is None else 300,
            opts=pulumi.ResourceOptions(parent=self),
        )
        sqs.QueuePolicy(
            f"{name}-tls-only",
            queue_url=queue.url,
            policy=pulumi.Output.json_dumps(queue.arn.apply(resources.queue)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return queue
