"""Writes snapshots/STACK.yaml: what the program would create in each stack, to be read in diffs.

A snapshot has every resource with its inputs, long ones shortened, and the names of the outputs. Ids, ARNs and URLs
are invented.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from local.forks import forked
from local.program import EVALUATION_SECONDS, ROOT, recorded
from training_lambda_archive import DISTRIBUTIONS, sources

FOLDER = ROOT / "snapshots"
STACKS = ("dev", "prod", "local")
HEAD = "# Written by `make snapshot`: what `pulumi up` would create in this stack. Do not edit.\n"


def path(stack: str) -> Path:
    return FOLDER / f"{stack}.yaml"


def evaluated(stack: str, *options: str) -> dict[str, Any]:
    """Return the output of `python -m local.program`, from a process of its own. Raises RuntimeError with its error."""
    return forked(recorded, ["--stack", stack, *options], seconds=EVALUATION_SECONDS)


def text(evaluation: dict[str, Any]) -> str:
    """Return the snapshot of an evaluated stack as YAML."""
    resources = {
        f"{each['type']} {each['name']}": _readable(each) for each in evaluation["resources"] if each["custom"]
    }
    content = {"resources": resources, "outputs": sorted(evaluation["outputs"])}
    return HEAD + yaml.dump(content, Dumper=_Plain, sort_keys=True, width=10_000)


class _Plain(yaml.SafeDumper):
    """Writes YAML without anchors and aliases, so that every line can be read where it stands."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _readable(resource: dict[str, Any]) -> dict[str, Any]:
    inputs = {key: _opened(value) for key, value in sorted(resource["inputs"].items())}
    if "code" in inputs:
        inputs["code"] = [*sources(), *DISTRIBUTIONS]
    if "dashboardBody" in inputs:
        inputs["dashboardBody"] = [
            each["properties"].get("title", each["type"]) for each in inputs["dashboardBody"]["widgets"]
        ]
    return inputs | ({"(protected)": True} if resource["protect"] else {})


def _opened(value: Any) -> Any:
    """Return the value of JSON in a text, such as a policy; other values as they are."""
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for stack in STACKS:
        path(stack).write_text(text(evaluated(stack)))
        print(path(stack).relative_to(ROOT))


if __name__ == "__main__":
    main()
