"""MessageProcessor: the function that turns training messages into tasks."""

import pulumi
from pulumi_aws import cloudwatch, get_caller_identity_output, iam, lambda_

import training_lambda_archive
from policies import resources, roles, statements
from queues import DurableQueue
from settings import Settings, service_name
from training_data import TrainingDataBucket

METRICS_NAMESPACE = "ModelTrainingQueue"


class MessageProcessor(pulumi.ComponentResource):
    """Creates the Lambda function that the message queue triggers, with a role that allows only its own requests."""

    def __init__(
        self,
        name: str,
        *,
        message: DurableQueue,
        model_training: DurableQueue,
        training_data: TrainingDataBucket,
        encryption_key: pulumi.Input[str] | None,
        keys: pulumi.Output[statements.Keys],
        settings: Settings,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:training_lambda:MessageProcessor", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        log_group = cloudwatch.LogGroup(
            f"{name}-logs",
            retention_in_days=settings.log_retention_days,
            kms_key_id=encryption_key,
            opts=child,
        )
        role = iam.Role(
            f"{name}-role",
            description="The function that turns training messages into tasks",
            assume_role_policy=pulumi.Output.json_dumps(
                get_caller_identity_output().account_id.apply(
                    lambda account: resources.trust(["lambda.amazonaws.com"], account)
                )
            ),
            permissions_boundary=settings.permissions_boundary,
            opts=child,
        )
        rights = iam.RolePolicy(
            f"{name}-rights",
            role=role.name,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(
                    message_queue_arn=message.queue.arn,
                    message_dlq_arn=message.dead_letter_queue.arn,
                    training_queue_arn=model_training.queue.arn,
                    bucket_arn=training_data.bucket.arn,
                    log_group_arn=log_group.arn,
                    keys=keys,
                ).apply(lambda arns: roles.message_processor(**arns))
            ),
            opts=child,
        )
        self.function = lambda_.Function(
            name,
            description="Turns each training message into tasks on the model training queue",
            runtime=lambda_.Runtime.PYTHON3D13,
            # Graviton costs a fifth less, and the archive is pure Python.
            architectures=["arm64"],
            handler="lambda_src.handler.handler",
            code=training_lambda_archive.archive(),
            role=role.arn,
            timeout=settings.function_timeout,
            memory_size=settings.function_memory,
            # Planning stores the keys of a dataset twice. 2,560 MB hold a million of the longest keys, 1,024 bytes; the
            # default of 512 MB would hold a quarter of a million.
            ephemeral_storage={"size": 2560},
            environment={
                "variables": {
                    "BUCKET_NAME": training_data.bucket.bucket,
                    "MODEL_TRAINING_QUEUE_URL": model_training.queue.url,
                    "MESSAGE_QUEUE_URL": message.queue.url,
                    "MESSAGE_QUEUE_VISIBILITY_TIMEOUT": str(settings.message_visibility_timeout),
                    "MESSAGE_DEAD_LETTER_QUEUE_URL": message.dead_letter_queue.url,
                    "MAX_TASKS": str(settings.max_tasks),
                    "POWERTOOLS_SERVICE_NAME": service_name(),
                    "POWERTOOLS_METRICS_NAMESPACE": METRICS_NAMESPACE,
                }
            },
            logging_config={"log_format": "JSON", "log_group": log_group.name},
            tracing_config={"mode": "Active"},
            # After the log group: otherwise Lambda creates one whose logs never expire.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[log_group, rights]),
        )
        lambda_.EventSourceMapping(
            f"{name}-trigger",
            event_source_arn=message.queue.arn,
            function_name=self.function.arn,
            batch_size=settings.batch_size,
            maximum_batching_window_in_seconds=settings.batching_window,
            function_response_types=["ReportBatchItemFailures"],
            # Not reserved concurrency: throttled invocations use up receives and send good messages to the DLQ.
            scaling_config={"maximum_concurrency": settings.maximum_concurrency},
            # After the role's rights: Lambda checks them on the queue when the trigger is created.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights]),
        )
        self.register_outputs({})
