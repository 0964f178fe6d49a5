"""The training command of the chaos tests: counts the letters of its shard, slowly; fails on a shard that is poison.

Keeps its count as a checkpoint when it is told to end, so that an interrupted task is not begun anew: in a file of its
own each time, with a link to the newest, as trainers do.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

STEP_SECONDS = 0.02


def main() -> None:
    shards, output, checkpoint = (Path(os.environ[f"TRAINQ_{name}"]) for name in ("SHARDS", "OUTPUT", "CHECKPOINT"))
    text = "".join(path.read_text() for path in sorted(shards.rglob("*")) if path.is_file())
    if text.startswith("poison"):
        sys.exit("poison")
    # A process in a session of its own, as elastic launchers start trainers: it must not outlive the attempt.
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    latest = checkpoint / "latest"
    at: int = 0
    counts: Counter[str] = Counter()
    if latest.exists():
        assert latest.is_symlink(), "a link in a checkpoint is a link again"
        state = json.loads(latest.read_text())
        at, counts = state["at"], Counter(state["counts"])
    told = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    while at < len(text) and not told:
        counts[text[at]] += 1
        at += 1
        time.sleep(STEP_SECONDS)
    if told:
        (checkpoint / f"state-{at}.json").write_text(json.dumps({"at": at, "counts": counts}))
        (checkpoint / "new").symlink_to(f"state-{at}.json")
        (checkpoint / "new").rename(latest)
        sys.exit("told to end")
    (output / "counts.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
