"""Monitoring: alarms on the dead letter queues, the topic they go to, and a dashboard."""

from typing import Any

import pulumi
from pulumi_aws import cloudwatch, get_caller_identity_output, sns

import policies
from queues import DurableQueue


class Monitoring(pulumi.ComponentResource):
    """Tells people when a message has been given up on, and shows them the queues."""

    def __init__(
        self,
        name: str,
        *,
        message: DurableQueue,
        model_training: DurableQueue,
        region: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("model-training-queue:monitoring:Monitoring", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.topic = sns.Topic("alarms", opts=child)
        sns.TopicPolicy(
            "alarms-policy",
            arn=self.topic.arn,
            policy=pulumi.Output.json_dumps(
                pulumi.Output.all(self.topic.arn, get_caller_identity_output().account_id).apply(
                    lambda known: policies.topic(*known)
                )
            ),
            opts=child,
        )
        for what, queue in (("message", message), ("model-training", model_training)):
            cloudwatch.MetricAlarm(
                f"{what}-dlq-not-empty",
                alarm_description=f"A message was given up on: look into the dead letter queue of the {what} queue.",
                namespace="AWS/SQS",
                # NumberOfMessagesSent does not count what a redrive policy moves.
                metric_name="ApproximateNumberOfMessagesVisible",
                dimensions={"QueueName": queue.dead_letter_queue.name},
                statistic="Maximum",
                period=60,
                evaluation_periods=1,
                comparison_operator="GreaterThanThreshold",
                threshold=0,
                # A queue that nobody has used for a while sends no data, which is no reason for an alarm.
                treat_missing_data="notBreaching",
                alarm_actions=[self.topic.arn],
                ok_actions=[self.topic.arn],
                opts=child,
            )
        names = [each.name for queue in (message, model_training) for each in (queue.queue, queue.dead_letter_queue)]
        self.dashboard = cloudwatch.Dashboard(
            "dashboard",
            # A stack's name may have a dot in it, a dashboard's not.
            dashboard_name=f"{pulumi.get_project()}-{pulumi.get_stack()}".replace(".", "-"),
            dashboard_body=pulumi.Output.json_dumps(
                {
                    "widgets": [
                        _widget(0, "Messages waiting", "ApproximateNumberOfMessagesVisible", names, region),
                        _widget(12, "Age of the oldest message (s)", "ApproximateAgeOfOldestMessage", names, region),
                    ]
                }
            ),
            opts=child,
        )
        self.register_outputs({})


def _widget(
    x: int, title: str, metric: str, queue_names: list[pulumi.Output[str]], region: pulumi.Input[str]
) -> dict[str, Any]:
    """One graph of a metric of several queues, half a dashboard wide."""
    return {
        "type": "metric",
        "x": x,
        "y": 0,
        "width": 12,
        "height": 6,
        "properties": {
            "title": title,
            "view": "timeSeries",
            "region": region,
            "stat": "Maximum",
            "period": 60,
            "metrics": [["AWS/SQS", metric, "QueueName", name] for name in queue_names],
        },
    }
