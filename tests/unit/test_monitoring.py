"""Alarms, the topic and the dashboard, on recorded inputs."""

import json
import re
from typing import Any

import pytest

from local.program import ROOT
from tests.helpers.recordings import Recording, record

# They share evaluations of the program.
pytestmark = pytest.mark.xdist_group("program")

# What AWS sends for a queue and for a function:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
METRICS = {
    "AWS/SQS": {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateAgeOfOldestMessage",
        "NumberOfMessagesSent",
        "NumberOfMessagesDeleted",
    },
    "AWS/Lambda": {"Invocations", "Errors", "Throttles", "Duration"},
}


@pytest.mark.parametrize(
    ("name", "metric", "of", "threshold"),
    [
        ("message-dlq-not-empty", "ApproximateNumberOfMessagesVisible", "message-dlq", 0),
        ("model-training-dlq-not-empty", "ApproximateNumberOfMessagesVisible", "model-training-dlq", 0),
        ("message-queue-old", "ApproximateAgeOfOldestMessage", "message-queue", 3_600),
        ("model-training-queue-old", "ApproximateAgeOfOldestMessage", "model-training-queue", 86_400),
        ("function-errors", "Errors", "message-processor", 0),
        ("jobs-to-retry", "JobsToRetry", "model-training-queue-dev", 0),
        ("function-throttles", "Throttles", "message-processor", 0),
        ("function-slow", "Duration", "message-processor", 240_000),
    ],
)
def test_an_alarm_watches(dev: Recording, name: str, metric: str, of: str, threshold: int) -> None:
    inputs = dev.inputs(":MetricAlarm", name)
    assert inputs["metricName"] == metric
    assert metric in METRICS.get(inputs["namespace"], {"JobsToRetry"})
    assert list(inputs["dimensions"].values()) == [of]
    assert (inputs["comparisonOperator"], inputs["threshold"]) == ("GreaterThanThreshold", threshold)
    assert inputs["treatMissingData"] == "notBreaching", "an idle queue sends no data"
    assert inputs["alarmActions"] == inputs["okActions"] == [dev.outputs["alarm_topic_arn"]]


def test_there_are_no_other_alarms(dev: Recording) -> None:
    assert len(dev.all(":MetricAlarm")) == 8


def test_every_alarm_says_whose_it_is_what_it_means_and_where_to_read_on(dev: Recording) -> None:
    """The link is to a section that is there."""
    runbook = (ROOT / "docs" / "operations.md").read_text()
    sections = {
        re.sub(r"[^a-z ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)", runbook, re.M)
    }
    for name, each in dev.all(":MetricAlarm").items():
        said = each["inputs"]["alarmDescription"]
        assert said.startswith("model-training-queue-dev: "), name
        assert len(said) <= 1024, "CloudWatch's limit"
        link = re.search(r"What to do: docs/operations\.md#([a-z-]+)$", said)
        assert link, said
        assert link[1] in sections, (link[1], sections)


def test_alarms_link_to_where_the_runbook_is_read() -> None:
    recording = record("dev", "--set", "runbook_url=https://wiki.example.com/queue")
    for each in recording.all(":MetricAlarm").values():
        assert "What to do: https://wiki.example.com/queue#" in each["inputs"]["alarmDescription"]


def test_an_address_is_told_only_if_there_is_one(dev: Recording) -> None:
    assert not dev.all(":TopicSubscription")
    inputs = record("dev", "--set", "alarm_email=oncall@example.com").inputs(":TopicSubscription")
    assert (inputs["protocol"], inputs["endpoint"]) == ("email", "oncall@example.com")
    assert inputs["topic"] == dev.outputs["alarm_topic_arn"]


def widgets(recording: Recording) -> list[dict[str, Any]]:
    return json.loads(recording.inputs(":Dashboard")["dashboardBody"])["widgets"]


def test_the_dashboards_body_is_valid(dev: Recording) -> None:
    """CloudWatch's structure: places on a grid of 24 units, a region and metrics in each graph."""
    taken = set()
    for each in widgets(dev):
        assert each["type"] in ("text", "alarm", "metric")
        assert each["x"] >= 0
        assert each["x"] + each["width"] <= 24
        assert 1 <= each["height"] <= 1000
        place = {(each["x"] + x, each["y"] + y) for x in range(each["width"]) for y in range(each["height"])}
        assert not place & taken, f"{each['properties']} lies on another one"
        taken |= place
    graphs = [each["properties"] for each in widgets(dev) if each["type"] == "metric"]
    assert len(graphs) == 11
    for graph in graphs:
        assert graph["region"] == "us-east-1"
        assert graph["period"] % 60 == 0
        assert graph["stat"] in ("Maximum", "Sum")
        assert graph["metrics"]


def test_every_metric_of_the_dashboard_is_one_that_the_stack_has(dev: Recording) -> None:
    queues = {each["inputs"].get("name", name) for name, each in dev.all("queue:Queue").items()}
    variables = dev.inputs(":Function")["environment"]["variables"]
    emitted = set(re.findall(r'add_metric\("(\w+)"', (ROOT / "lambda_src" / "handler.py").read_text()))
    metrics = METRICS | {variables["POWERTOOLS_METRICS_NAMESPACE"]: emitted}
    assert len(emitted) >= 4
    dimensions = {
        "AWS/SQS": {("QueueName", name) for name in queues},
        "AWS/Lambda": {("FunctionName", dev.outputs["message_processor_name"])},
        variables["POWERTOOLS_METRICS_NAMESPACE"]: {("service", variables["POWERTOOLS_SERVICE_NAME"])},
    }
    seen = set()
    for widget in widgets(dev):
        for metric in widget["properties"].get("metrics", ()):
            if isinstance(metric[0], dict):
                continue
            namespace, name, *rest = [each for each in metric if isinstance(each, str)]
            assert name in metrics[namespace], metric
            assert tuple(rest) in dimensions[namespace], metric
            seen.add(namespace)
    assert seen == set(dimensions)


def test_the_backlog_per_worker_is_computed_from_metrics_of_the_same_graph(dev: Recording) -> None:
    """What an autoscaler follows; without the IF, an idle fleet would divide by zero."""
    (graph,) = [each["properties"] for each in widgets(dev) if each["properties"].get("title") == "Backlog per worker"]
    (formula, *metrics) = graph["metrics"]
    named = {metric[-1]["id"]: metric[1] for metric in metrics}
    assert named == {
        "waiting": "ApproximateNumberOfMessagesVisible",
        "busy": "ApproximateNumberOfMessagesNotVisible",
    }
    assert formula[0]["expression"] == "waiting / IF(busy > 1, busy, 1)"


def test_the_dashboard_shows_every_alarm(dev: Recording) -> None:
    (shown,) = [each["properties"]["alarms"] for each in widgets(dev) if each["type"] == "alarm"]
    assert {arn.rsplit(":", 1)[-1] for arn in shown} == set(dev.all(":MetricAlarm"))
