"""The keys and prefixes of objects in the training data bucket. Shared by submitters, the function and workers."""

DATASETS = "datasets/"


def plan(job_id: str) -> str:
    """Return the key of the job's plan marker: write-once, names the object with the shard groups."""
    return f"runs/{job_id}/plan.json"


def plan_groups(job_id: str, attempt: str) -> str:
    """Return the key of a plan's shard groups: a JSON list of keys on each line. Valid only if the marker names it."""
    return f"runs/{job_id}/plan/{attempt}.jsonl"


def plan_progress(groups: str) -> str:
    """Return the key of a plan's progress: how many of its tasks have been sent. The object is overwritten.

    The key derives from that of the groups: another plan of the same job has another progress.
    """
    return f"{groups.removesuffix('.jsonl')}.progress.json"


def dispatched(job_id: str) -> str:
    """Return the key of the marker which says that all tasks of the job have been sent."""
    return f"runs/{job_id}/dispatched.json"


def results(job_id: str) -> str:
    """Return the prefix of the job's result markers."""
    return f"runs/{job_id}/results/"


def result(job_id: str, task: int) -> str:
    """Return the key of a task's result marker: write-once, names the attempt whose output counts."""
    return f"{results(job_id)}{task}.json"


def attempt_output(job_id: str, task: int, attempt: str) -> str:
    """Return the prefix of one attempt's output files."""
    return f"runs/{job_id}/attempts/{task}/{attempt}/"


def cancelled(job_id: str) -> str:
    """Return the key of the marker which says that the job is cancelled."""
    return f"runs/{job_id}/cancelled.json"


def all_checkpoints(job_id: str) -> str:
    """Return the prefix of the checkpoints of all tasks of the job."""
    return f"runs/{job_id}/checkpoints/"


def checkpoints(job_id: str, task: int) -> str:
    """Return the prefix of a task's checkpoints: each complete one has a marker NAME.json and its files below NAME/."""
    return f"{all_checkpoints(job_id)}{task}/"


def workers(job_id: str) -> str:
    """Return the prefix of the workers' reports."""
    return f"runs/{job_id}/workers/"


def report(job_id: str, worker: str, attempt: str) -> str:
    """Return the key of an attempt's report: which task the worker trains, overwritten with each heartbeat."""
    return f"{workers(job_id)}{worker}/{attempt}.json"


def former_report(job_id: str, worker: str) -> str:
    """Return the key of the one report that a worker of an earlier version overwrites with each task."""
    return f"{workers(job_id)}{worker}.json"


def interruptions(job_id: str) -> str:
    """Return the prefix of the job's interruption records."""
    return f"runs/{job_id}/interruptions/"


def interruption(job_id: str, task: int, attempt: str) -> str:
    """Return the key of the record of an attempt that was interrupted: it has no result and has not failed."""
    return f"{interruptions(job_id)}{task}/{attempt}.json"


def failures(job_id: str) -> str:
    """Return the prefix of the job's failure records."""
    return f"runs/{job_id}/failures/"


def failure(job_id: str, task: int, attempt: str) -> str:
    """Return the key of the failure record of one attempt."""
    return f"{failures(job_id)}{task}/{attempt}.json"
