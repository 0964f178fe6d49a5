"""An alarm in the emulator, from the alarm to a subscriber."""

import json
from typing import Any

from tests.helpers.deployed import Deployed
from tests.helpers.waiting import eventually


def test_an_alarm_fires_into_the_topic_and_reaches_a_subscriber(deployed: Deployed) -> None:
    """The emulator has no metrics of its own queues, so the test sends the one that AWS would."""
    sqs, sns, cloudwatch = (deployed.emulator.client(service) for service in ("sqs", "sns", "cloudwatch"))
    topic = deployed.outputs["alarm_topic_arn"]
    url = sqs.create_queue(QueueName=f"told-{topic.rsplit('-', 1)[-1]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    let_in = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [let_in | {"Resource": arn}]}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    name = deployed.outputs["dead_letter_queue_url"].rsplit("/", 1)[-1]
    metric = {"MetricName": "ApproximateNumberOfMessagesVisible", "Dimensions": [{"Name": "QueueName", "Value": name}]}
    cloudwatch.put_metric_data(Namespace="AWS/SQS", MetricData=[metric | {"Value": 1}])

    def told() -> list[dict[str, Any]]:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
        alarms = [json.loads(json.loads(each["Body"])["Message"]) for each in received]
        return [each for each in alarms if each["AlarmName"].startswith("model-training-dlq-not-empty")]

    alarm = eventually(told, "the subscriber hears of the alarm")[0]
    assert alarm["NewStateValue"] == "ALARM"
    assert "docs/operations.md#dead-letters" in alarm["AlarmDescription"]
    assert alarm["Trigger"]["Dimensions"] == metric["Dimensions"]
