"""Makes messages of jobs and tasks: valid, invalid and hostile ones."""

import json
from collections.abc import Callable
from typing import Any

from trainq.protocol.messages import Job, MessageError, Task

JOB = {"job_id": "j-1", "dataset": "datasets/a/"}
TASK = {"job_id": "j-1", "task": 0, "tasks": 2, "shards": ["datasets/a/1"], "parameters": {}}


def refusal(kind: type[Job] | type[Task], text: str) -> str | None:
    """Return why the text is refused, or None if it is accepted. Raises any exception but MessageError."""
    try:
        kind.from_json(text)
    except MessageError as error:
        return str(error)
    return None


def job_with(**fields: Any) -> str:
    return json.dumps(JOB | fields)


def numbered(count: int, value: Any) -> dict[str, Any]:
    return {f"{number:06}": value for number in range(count)}


HOSTILE: dict[str, Callable[[int], str]] = {
    "unknown fields": lambda n: json.dumps(numbered(n, 0)),
    "unknown fields with long names": lambda n: job_with(**{f"{number:0500}": 0 for number in range(n // 40)}),
    "an unknown field with a long name": lambda n: job_with(**{"x" * 16 * n: 0}),
    "an unknown field with a long text": lambda n: job_with(x="y" * 16 * n),
    "an unknown field with a long list": lambda n: job_with(x=[0] * 5 * n),
    "a wrong field with much in it": lambda n: job_with(grid=numbered(n, 0)),
    "names in parameters and in grid": lambda n: job_with(parameters=numbered(n, 0), grid=numbered(n, [0])),
    "a grid of two to the power of many": lambda n: job_with(grid=numbered(n, [0, 0])),
    "a long dataset": lambda n: job_with(dataset="datasets/" + "a/" * 8 * n),
    "a name twice": lambda n: "{" + ",".join(f'"{number:06}":0' for number in [*range(n), n - 1]) + "}",
    "lists in lists": lambda n: job_with(parameters={"x": json.loads("[" * 300 + "]" * 300)})[:-1] + " " * n + "}",
    "a list of the whole length": lambda n: "[" + "0," * 8 * n + "0]",
    "no JSON": lambda n: "x" * 16 * n,
    "a text without an end": lambda n: '{"job_id": "' + "x" * 16 * n,
    "a whole number without an end": lambda n: '{"parameters": {"x": ' + "1" * 16 * n + "}}",
    "an infinite number": lambda n: '{"parameters": {"x": ' + "1" * 16 * n + ".0}}",
}


def refusal_of(text: str) -> str:
    said = refusal(Job, text)
    assert said is not None
    return said


# Nesting so deep that a parser would exceed its recursion limit.
NESTED = "[" * 3_000
