"""Makes the dashboard's body: waiting, finished and failed work. A pure function. CloudWatch's structure:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from typing import Any

Metric = list[Any]

# A dashboard is 24 units wide: three widgets in a row.
WIDTH, HEIGHT = 8, 6


def body(
    *,
    title: str,
    runbook_url: str,
    region: str,
    message_queue: str,
    message_dlq: str,
    training_queue: str,
    training_dlq: str,
    function: str,
    function_timeout: int,
    metrics_namespace: str,
    metrics_service: str,
    alarms: list[str],
) -> dict[str, Any]:
    """Return the dashboard's body. Queues and function are given by name, alarms by ARN; the timeout is in seconds."""
    queues = [message_queue, training_queue]

    def sqs(metric: str, names: list[str], **options: Any) -> list[Metric]:
        return [_metric("AWS/SQS", metric, {"QueueName": name}, options) for name in names]

    def of_function(metric: str, **options: Any) -> Metric:
        return _metric("AWS/Lambda", metric, {"FunctionName": function}, options)

    def of_dispatch(metric: str) -> Metric:
        return _metric(metrics_namespace, metric, {"service": metrics_service}, {})

    visible, in_flight = "ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"
    per_worker = [
        # Waiting messages per message in flight: a fleet is scaled by this. A worker holds up to --prefetch messages.
        [{"expression": "waiting / IF(busy > 1, busy, 1)", "label": "waiting for each in flight", "id": "ratio"}],
        *sqs(visible, [training_queue], id="waiting", visible=False),
        *sqs(in_flight, [training_queue], id="busy", visible=False),
    ]
    throughput = [*sqs("NumberOfMessagesSent", [training_queue]), *sqs("NumberOfMessagesDeleted", [training_queue])]
    jobs = [of_dispatch(name) for name in ("JobsDispatched", "JobsContinued", "JobsRefused", "JobsToRetry")]
    runs = [of_function(name) for name in ("Invocations", "Errors", "Throttles")]
    timeout = {"label": "its timeout", "value": function_timeout * 1000}
    graphs = [
        _graph("Waiting", sqs(visible, queues), "Maximum"),
        _graph("In flight", sqs(in_flight, queues), "Maximum"),
        _graph("Age of the oldest (s)", sqs("ApproximateAgeOfOldestMessage", queues), "Maximum"),
        _graph("Tasks: sent and finished", throughput, "Sum"),
        _graph("Backlog per worker", per_worker, "Maximum"),
        _graph("Given up: dead letters", sqs(visible, [message_dlq, training_dlq]), "Maximum"),
        _graph("Dispatch: jobs", jobs, "Sum"),
        _graph("Dispatch: tasks sent", [of_dispatch("TasksSent")], "Sum"),
        _graph("Dispatch: seconds a job", [of_dispatch("DispatchSeconds")], "Maximum"),
        _graph("Function", runs, "Sum"),
        _graph("Function's duration (ms)", [of_function("Duration")], "Maximum")
        | {"annotations": {"horizontal": [timeout]}},
    ]
    about = f"# {title}\nWhat to do about each alarm: {runbook_url}"
    widgets = [
        {"type": "text", "x": 0, "y": 0, "width": 24, "height": 2, "properties": {"markdown": about}},
        {
            "type": "alarm",
            "x": 0,
            "y": 2,
            "width": 24,
            "height": 3,
            "properties": {"title": "Alarms", "alarms": alarms},
        },
    ]
    for number, graph in enumerate(graphs):
        row, column = divmod(number, 24 // WIDTH)
        place = {"x": column * WIDTH, "y": 5 + row * HEIGHT, "width": WIDTH, "height": HEIGHT}
        widgets.append({"type": "metric", **place, "properties": graph | {"region": region}})
    return {"widgets": widgets}


def _metric(namespace: str, name: str, dimensions: dict[str, str], options: dict[str, Any]) -> Metric:
    named = [each for pair in dimensions.items() for each in pair]
    return [namespace, name, *named, *([options] if options else [])]


def _graph(title: str, metrics: list[Metric], statistic: str) -> dict[str, Any]:
    return {"title": title, "view": "timeSeries", "stat": statistic, "period": 60, "metrics": metrics}
