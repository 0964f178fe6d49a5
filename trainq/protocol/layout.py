"""Where things are in the training data bucket. Shared by submitters, the function and workers."""

DATASETS = "datasets/"


def plan(job_id: str) -> str:
    """The marker that fixes a job's plan: written once, names the object with the shard groups."""
    return f"runs/{job_id}/plan.json"


def plan_groups(job_id: str, attempt: str) -> str:
    """The shard groups of a plan, a JSON list of keys on each line; counts only if the marker names it."""
    return f"runs/{job_id}/plan/{attempt}.jsonl"


def plan_progress(groups: str) -> str:
    """How far the tasks of the plan with these groups have been sent; replaced as often as it takes.

    Beside the groups, so that it can never be taken for that of another plan of the same job.
    """
    return f"{groups.removesuffix('.jsonl')}.progress.json"


def dispatched(job_id: str) -> str:
    """The marker that all tasks of a job have been sent."""
    return f"runs/{job_id}/dispatched.json"


def results(job_id: str) -> str:
    return f"runs/{job_id}/results/"


def result(job_id: str, task: int) -> str:
    """The marker that a task is done: written once, names the attempt whose output counts."""
    return f"{results(job_id)}{task}.json"


def attempt_output(job_id: str, task: int, attempt: str) -> str:
    """The prefix of one attempt's output files."""
    return f"runs/{job_id}/attempts/{task}/{attempt}/"


def cancelled(job_id: str) -> str:
    """The marker that a job is cancelled."""
    return f"runs/{job_id}/cancelled.json"


def all_checkpoints(job_id: str) -> str:
    return f"runs/{job_id}/checkpoints/"


def checkpoints(job_id: str, task: int) -> str:
    """The prefix of a task's checkpoints: a marker NAME.json for each complete one, its files below NAME/."""
    return f"{all_checkpoints(job_id)}{task}/"


def workers(job_id: str) -> str:
    return f"runs/{job_id}/workers/"


def worker(job_id: str, name: str) -> str:
    """What a worker last said it is at; replaced each time."""
    return f"{workers(job_id)}{name}.json"


def interruptions(job_id: str) -> str:
    return f"runs/{job_id}/interruptions/"


def interruption(job_id: str, task: int, attempt: str) -> str:
    """An attempt that ended without a result and without failing."""
    return f"{interruptions(job_id)}{task}/{attempt}.json"


def failures(job_id: str) -> str:
    return f"runs/{job_id}/failures/"


def failure(job_id: str, task: int, attempt: str) -> str:
    """What went wrong in one attempt of a task."""
    return f"{failures(job_id)}{task}/{attempt}.json"
