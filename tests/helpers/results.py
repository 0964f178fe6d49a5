"""Makes markers of results: valid and invalid ones."""

import json
from pathlib import Path
from typing import Any

from tests.helpers.deployed import Deployed


def marker(task: Any = 0, files: Any = (), job: Any = "j", attempt: Any = "a" * 32, **other: Any) -> dict[str, Any]:
    """Return the marker at `runs/j/results/TASK.json`; `other` replaces or adds fields."""
    output = f"runs/{job}/attempts/{task}/{attempt}/"
    return {"job_id": job, "task": task, "attempt": attempt, "output": output, "files": list(files)} | other


def put(deployed: Deployed, key: str, value: Any) -> None:
    put_bytes(deployed, key, json.dumps(value).encode())


def put_bytes(deployed: Deployed, key: str, body: bytes) -> None:
    deployed.stack.s3.put_object(Bucket=deployed.stack.bucket_name, Key=key, Body=body)


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
