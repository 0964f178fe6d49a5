"""Trains on one task's shards: what `trainq work -- python examples/ngram/train.py` runs.

Reads the texts below TRAINQ_SHARDS, writes their n-gram counts to TRAINQ_OUTPUT/counts.json. Parameter: `order`.
"""

import json
import os
import sys
from pathlib import Path

import ngram


def main() -> None:
    if "TRAINQ_SHARDS" not in os.environ:
        sys.exit(__doc__)
    parameters = json.loads(Path(os.environ["TRAINQ_PARAMETERS"]).read_text())
    # Shards are named as in the bucket, also in what is said of a broken one.
    os.chdir(os.environ["TRAINQ_SHARDS"])
    shards = sorted(path for path in Path().rglob("*") if path.is_file())
    try:
        counts = ngram.count_files(shards, parameters["order"])
    except ValueError as error:
        sys.exit(f"error: {error}")
    ngram.save(counts, Path(os.environ["TRAINQ_OUTPUT"]) / "counts.json")


if __name__ == "__main__":
    main()
