"""Policies of roles: of the function, workers, submitters and operators."""

from policies.statements import Document, Keys, allow, deny_deeper, document, find_stack, list_bucket

# Below `runs/JOB/`.
WRITTEN_BY_THE_FUNCTION = ("plan.json", "plan/*", "dispatched.json")
# Patterns have at least as many segments as the keys. Keys with more segments match, too, and cannot be denied: a
# command chooses the names of its output files ("results/x/y.json"). Readers of these prefixes skip such keys.
WRITTEN_BY_WORKERS = (
    "attempts/*/*/*",
    "results/*.json",
    "failures/*/*.json",
    "interruptions/*/*.json",
    "checkpoints/*/*",
    "workers/*.json",
)
# What decides whether and from where an attempt begins, and the markers that it may find when it writes its own; not
# what other jobs bring. A checkpoint's name has a hyphen after 6 characters and after 6 more: with "*" in its place a
# folder "checkpoints" in an attempt's output would match, too. No Deny: it would bind a submitter with both policies.
READ_BY_WORKERS = (
    "cancelled.json",
    "results/*.json",
    "failures/*/*.json",
    "interruptions/*/*.json",
    "checkpoints/*/??????-??????-*",
)
READ_BY_OPERATORS = (
    "plan.json",
    "dispatched.json",
    "cancelled.json",
    "results/*.json",
    "failures/*/*.json",
    "interruptions/*/*.json",
    "workers/*.json",
)


def message_processor(
    message_queue_arn: str,
    message_dlq_arn: str,
    training_queue_arn: str,
    bucket_arn: str,
    log_group_arn: str,
    keys: Keys,
) -> Document:
    """Let the function take training messages, send their tasks, continue a job in a later invocation and dead-letter
    messages that can never succeed.
    """
    return document(
        allow(
            "TakeTrainingMessages",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            [message_queue_arn],
        ),
        allow(
            "SendTasksHandMessagesOnAndPutThemAside",
            ["sqs:SendMessage"],
            [training_queue_arn, message_queue_arn, message_dlq_arn],
        ),
        list_bucket(bucket_arn),
        allow(
            "ReadPlans",
            ["s3:GetObject"],
            [f"{bucket_arn}/runs/*/{name}" for name in (*WRITTEN_BY_THE_FUNCTION, "cancelled.json")],
        ),
        allow(
            "WritePlans",
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            [f"{bucket_arn}/runs/*/{name}" for name in WRITTEN_BY_THE_FUNCTION],
        ),
        deny_deeper(
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
            bucket_arn,
            (*WRITTEN_BY_THE_FUNCTION, "cancelled.json"),
        ),
        allow("WriteItsLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{log_group_arn}:*"]),
        # X-Ray has no resources to name: these two actions accept only "*".
        allow("SendTraces", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]),
        *keys.rights(),
    )


def worker(
    training_queue_arn: str,
    training_dlq_arn: str,
    bucket_arn: str,
    parameter_arn: str,
    keys: Keys,
) -> Document:
    """Let a worker take tasks, read shards and checkpoints and write the objects of its attempts. It may delete no
    object."""
    return document(
        allow(
            "TakeTasks",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
            [training_queue_arn],
        ),
        allow("HandTasksOverAndPutThemAside", ["sqs:SendMessage"], [training_queue_arn, training_dlq_arn]),
        list_bucket(bucket_arn),
        allow(
            "ReadDatasetsMarkersAndCheckpoints",
            ["s3:GetObject"],
            [f"{bucket_arn}/datasets/*", *(f"{bucket_arn}/runs/*/{name}" for name in READ_BY_WORKERS)],
        ),
        allow(
            "WriteWhatAttemptsBring",
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            [f"{bucket_arn}/runs/*/{name}" for name in WRITTEN_BY_WORKERS],
        ),
        find_stack(parameter_arn),
        *keys.rights(),
    )


def submitter(
    message_queue_arn: str,
    training_queue_arn: str,
    bucket_arn: str,
    parameter_arn: str,
    keys: Keys,
) -> Document:
    """Let a person or a pipeline upload datasets, submit jobs, follow them and fetch results."""
    return document(
        allow("SubmitJobs", ["sqs:SendMessage"], [message_queue_arn]),
        allow("SeeTheBacklog", ["sqs:GetQueueAttributes"], [training_queue_arn]),
        list_bucket(bucket_arn),
        allow("ReadDatasetsAndRuns", ["s3:GetObject"], [f"{bucket_arn}/datasets/*", f"{bucket_arn}/runs/*"]),
        allow("UploadDatasets", ["s3:PutObject", "s3:AbortMultipartUpload"], [f"{bucket_arn}/datasets/*"]),
        allow("CancelJobs", ["s3:PutObject"], [f"{bucket_arn}/runs/*/cancelled.json"]),
        deny_deeper(["s3:PutObject"], bucket_arn, ["cancelled.json"]),
        find_stack(parameter_arn),
        *keys.rights(),
    )


def operator(
    queue_arns: list[str],
    dlq_arns: list[str],
    bucket_arn: str,
    parameter_arn: str,
    keys: Keys,
) -> Document:
    """Let an operator see how runs go on, look into the dead letter queues and move messages back."""
    return document(
        allow("SeeBacklogs", ["sqs:GetQueueAttributes"], queue_arns + dlq_arns),
        allow(
            "HandleDeadLetters",
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:StartMessageMoveTask",
                "sqs:CancelMessageMoveTask",
                "sqs:ListMessageMoveTasks",
            ],
            dlq_arns,
        ),
        allow("SendThemBack", ["sqs:SendMessage"], queue_arns),
        list_bucket(bucket_arn),
        allow(
            "ReadMarkersAndRecords",
            ["s3:GetObject"],
            [f"{bucket_arn}/runs/*/{name}" for name in READ_BY_OPERATORS],
        ),
        allow("CancelJobs", ["s3:PutObject"], [f"{bucket_arn}/runs/*/cancelled.json"]),
        deny_deeper(["s3:PutObject"], bucket_arn, ["cancelled.json"]),
        find_stack(parameter_arn),
        *keys.rights(),
    )
