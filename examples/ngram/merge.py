"""Merges the counts that `trainq fetch JOB DIR` has brought: python examples/ngram/merge.py DIR model.json"""

import sys
from collections import Counter
from pathlib import Path

import ngram


def main(results: str, model: str) -> None:
    total: ngram.Counts = Counter()
    for path in sorted(Path(results).glob("*/counts.json")):
        total.update(ngram.load(path))
    ngram.save(total, Path(model))
    print(f"{total.total():,} n-grams, {len(total):,} different: {model}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
