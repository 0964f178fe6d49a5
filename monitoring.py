"""Monitoring: alarms, the topic that they go to, and a dashboard."""

from collections.abc import Mapping

import pulumi
from pulumi_aws import cloudwatch, get_caller_identity_output, sns

import monitoring_dashboard
from encryption import EncryptionKey
from policies import resources
from queues import DurableQueue
from settings import Settings, service_name
from training_lambda import METRICS_NAMESPACE, MessageProcessor

# Alarm at this share of the function's timeout: the job should be split, or the timeout raised.
NEAR_THE_TIMEOUT = 0.8


class Monitoring(pulumi.ComponentResource):
    """Creates alarms, the topic that they notify, and a dashboard. Each alarm links to its section of the runbook."""

    def __init__(
        self,
        name: str,
        *,
        message: DurableQueue,
        model_training: DurableQueue,
        processor: MessageProcessor,
        encryption_key: pulumi.Input[str] | None,
        region: pulumi.Input[str],
        settings: Settings,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:monitoring:Monitoring", name, None, opts)
        self.settings = settings
        self.topic = self._topic(encryption_key, region)
        function = {"FunctionName": processor.function.name}
        near = round(NEAR_THE_TIMEOUT * settings.function_timeout * 1000)
        alarms = [
            self._dead_letters("message", message, "A training message was refused, or failed"),
            self._dead_letters("model-training", model_training, "A task failed, or its workers died,"),
            self._age("message", message, settings.message_age_alarm, "The oldest training message is not planned yet"),
            self._age(
                "model-training", model_training, settings.task_age_alarm, "The oldest task is waiting or running"
            ),
            self._alarm(
                "function-errors",
                "The message processor crashed or ran out of time. Its messages come back by themselves.",
                "function-errors",
                namespace="AWS/Lambda",
                metric="Errors",
                dimensions=function,
                statistic="Sum",
            ),
            self._alarm(
                "jobs-to-retry",
                "The message processor has failed at jobs for a quarter of an hour: S3, SQS, a right or a key.",
                "function-errors",
                namespace=METRICS_NAMESPACE,
                metric="JobsToRetry",
                dimensions={"service": service_name()},
                statistic="Sum",
                period=300,
                periods=3,
            ),
            self._alarm(
                "function-throttles",
                "Lambda refused to start the message processor: the account's concurrency is used up.",
                "function-throttles",
                namespace="AWS/Lambda",
                metric="Throttles",
                dimensions=function,
                statistic="Sum",
            ),
            self._alarm(
                "function-slow",
                f"An invocation of the message processor took {NEAR_THE_TIMEOUT:.0%} of its timeout or more.",
                "function-slow",
                namespace="AWS/Lambda",
                metric="Duration",
                dimensions=function,
                statistic="Maximum",
                threshold=near,
            ),
        ]
        self.dashboard = cloudwatch.Dashboard(
            "dashboard",
            # Replace dots: a stack's name may have them, a dashboard's must not.
            dashboard_name=service_name().replace(".", "-"),
            dashboard_body=pulumi.Output.json_dumps(
                pulumi.Output.all(
                    region=region,
                    message_queue=message.queue.name,
                    message_dlq=message.dead_letter_queue.name,
                    training_queue=model_training.queue.name,
                    training_dlq=model_training.dead_letter_queue.name,
                    function=processor.function.name,
                    alarms=[each.arn for each in alarms],
                ).apply(
                    lambda known: monitoring_dashboard.body(
                        **known,
                        title=service_name(),
                        runbook_url=settings.runbook_url,
                        function_timeout=settings.function_timeout,
                        metrics_namespace=METRICS_NAMESPACE,
                        metrics_service=service_name(),
                    )
                )
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})

    def _topic(self, encryption_key: pulumi.Input[str] | None, region: pulumi.Input[str]) -> sns.Topic:
        """Create the encrypted topic. Alarms may not use AWS's own key for SNS and would be lost silently."""
        child = pulumi.ResourceOptions(parent=self)
        if encryption_key is None:
            encryption_key = EncryptionKey(
                "alarms-key",
                description=f"Alarms of {service_name()}",
                region=region,
                # A topic stores nothing, so this key may be deleted at any time.
                protect=False,
                opts=child,
            ).arn
        topic = sns.Topic("alarms", kms_master_key_id=encryption_key, opts=child)
        sns.TopicPolicy(
            "alarms-policy",
            arn=topic.arn,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(topic.arn, get_caller_identity_output().account_id, region).apply(
                    lambda known: resources.topic(*known)
                )
            ),
            opts=child,
        )
        if self.settings.alarm_email:
            sns.TopicSubscription(
                "alarms-email", topic=topic.arn, protocol="email", endpoint=self.settings.alarm_email, opts=child
            )
        return topic

    def _dead_letters(self, queue_name: str, queue: DurableQueue, what: str) -> cloudwatch.MetricAlarm:
        return self._alarm(
            f"{queue_name}-dlq-not-empty",
            f"{what} {self.settings.max_receive_count} times: it is on the {queue_name} queue's dead letter queue.",
            "dead-letters",
            namespace="AWS/SQS",
            # NumberOfMessagesSent does not count what a redrive policy moves.
            metric="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": queue.dead_letter_queue.name},
            statistic="Maximum",
        )

    def _age(self, queue_name: str, queue: DurableQueue, seconds: int, what: str) -> cloudwatch.MetricAlarm:
        return self._alarm(
            f"{queue_name}-queue-old",
            f"{what} after {seconds} s.",
            "growing-backlog",
            namespace="AWS/SQS",
            metric="ApproximateAgeOfOldestMessage",
            dimensions={"QueueName": queue.queue.name},
            statistic="Maximum",
            threshold=seconds,
        )

    def _alarm(
        self,
        name: str,
        what: str,
        section: str,
        *,
        namespace: str,
        metric: str,
        dimensions: Mapping[str, pulumi.Input[str]],
        statistic: str,
        threshold: int = 0,
        period: int = 60,
        periods: int = 1,
    ) -> cloudwatch.MetricAlarm:
        """Create an alarm on a metric above the threshold for `periods` periods of `period` seconds.

        `what`: text of the alarm. `section`: anchor in the runbook. Notifies the topic when it fires and when it ends.
        """
        return cloudwatch.MetricAlarm(
            name,
            alarm_description=f"{service_name()}: {what} What to do: {self.settings.runbook_url}#{section}",
            namespace=namespace,
            metric_name=metric,
            dimensions=dimensions,
            statistic=statistic,
            period=period,
            evaluation_periods=periods,
            comparison_operator="GreaterThanThreshold",
            threshold=threshold,
            # An idle queue or function sends no data: that must not raise an alarm.
            treat_missing_data="notBreaching",
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn],
            opts=pulumi.ResourceOptions(parent=self),
        )
