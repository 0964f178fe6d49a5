"""Evaluates the program and looks up its resources."""

import functools
import json
from dataclasses import dataclass
from typing import Any

from local.snapshot import evaluated


@dataclass(frozen=True)
class Recording:
    """The resources that the program has registered, and its outputs."""

    resources: list[dict[str, Any]]
    outputs: dict[str, Any]

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the resources whose type ends with `kind`, by name."""
        return {each["name"]: each for each in self.resources if each["type"].endswith(kind)}

    def inputs(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """Return the inputs of the one resource of this type and name. Fails unless there is exactly one."""
        found = [each for each in self.all(kind).values() if name in (None, each["name"])]
        assert len(found) == 1, f"{len(found)} resources are {kind} {name or ''}: {[each['name'] for each in found]}"
        return found[0]["inputs"]


@functools.cache
def record(stack: str = "dev", *options: str) -> Recording:
    """Evaluate the program in a process of its own."""
    return Recording(**evaluated(stack, *options))


def policy_of(inputs: dict[str, Any]) -> list[dict[str, Any]]:
    return json.loads(inputs["policy"])["Statement"]
