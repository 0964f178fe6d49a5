"""Evaluates the program under plain mocks. Prints the seconds from a given time to its last registered resource."""

import json
import sys
import time

from local.program import evaluate, invented, stack_config

if __name__ == "__main__":
    imported = time.monotonic()
    times = []

    def create(kind: str, name: str, inputs: dict) -> tuple[str, dict]:
        times.append(time.monotonic())
        return invented(kind, name, inputs)

    found = evaluate("dev", stack_config("dev"), create)
    begun = float(sys.argv[1])
    resources = [vars(each) for each in found.resources]
    for each in resources:
        del each["inputs"]
    print(json.dumps({"seconds": max(times) - begun, "imported": imported - begun, "resources": resources}))
