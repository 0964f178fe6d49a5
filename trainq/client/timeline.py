"""A picture of a job: one row a worker, one bar an attempt, coloured by how it ended."""

from pathlib import Path
from typing import Any

from trainq.client.attempt_records import seconds
from trainq.client.text import printable

# By how an attempt ended; in the order of the legend.
COLOURS = {
    "done": "#4c9f70",
    "running": "#5b8dd6",
    "interrupted": "#e0b84c",
    "failed": "#d9534f",
    "killed": "#2b2b2b",
    "lost": "#9b6fb0",
    "beaten": "#b8b8b8",
    "cancelled": "#8a7a5c",
}
# Wider bars have their task's number in them.
LABELLED_SHARE = 0.02
# Of a worker's name: a key has room for 1,000, the picture has not.
MAX_NAME_CHARACTERS = 40
# At 100 pixels an inch. Matplotlib draws no PNG of more than 2**16 pixels, and takes 5 MB an inch of this height.
MAX_INCHES = 200


class NoMatplotlib(Exception):
    """What draws is not installed."""


def draw(job_id: str, attempts: list[dict[str, Any]], path: Path) -> None:
    """Write the picture; the format is the path's ending (.svg, .png). `attempts` as `status.attempts` gives them."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError:
        raise NoMatplotlib("drawing needs matplotlib: pip install 'trainq[timeline]'") from None
    times = [(seconds(each["started"]), seconds(each["finished"])) for each in attempts]
    origin = min((start for start, _ in times), default=0.0)
    length = max((end for _, end in times), default=1.0) - origin or 1.0
    workers = sorted({each["worker"] for each in attempts})
    figure = Figure(figsize=(12, min(1.6 + 0.45 * max(len(workers), 1), MAX_INCHES)), layout="constrained")
    axes = figure.add_subplot()
    for each, (start, end) in zip(attempts, times, strict=True):
        row = workers.index(each["worker"])
        # Also the shortest attempt is to be seen.
        width = max(end - start, length / 400)
        axes.broken_barh(
            [(start - origin, width)],
            (row - 0.38, 0.76),
            facecolor=COLOURS[each["how"]],
            edgecolor="white",
            linewidth=0.4,
        )
        # Of the short ones, those that people look for: what went wrong, and what made up for it.
        wide = width > LABELLED_SHARE * length
        if wide or each["how"] not in ("done", "running") or each["attempt_number"] > 1:
            middle, turned = start - origin + width / 2, 0 if wide else 90
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": "white", "clip_on": True}
            axes.text(middle, row, str(each["task"]), rotation=turned, **style)
        if each["how"] == "killed":
            axes.text(start - origin + width, row, f" task {each['task']} killed", va="center", fontsize=8)
    # As they are: between two '$' Matplotlib would look for a formula.
    axes.set_yticks(range(len(workers)), [_label(each) for each in workers], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, length * 1.01)
    axes.set_xlabel("seconds since the first attempt; numbers are tasks")
    axes.set_title(f"job {job_id}: {len(attempts)} attempts", loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    used = [how for how in COLOURS if any(each["how"] == how for each in attempts)]
    axes.legend(
        handles=[Patch(color=COLOURS[how], label=how) for how in used],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=len(used) or 1,
        frameon=False,
    )
    # Text as text: to be searched, and read by screen readers.
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path)


def _label(worker: str) -> str:
    return printable(worker if len(worker) <= MAX_NAME_CHARACTERS else worker[: MAX_NAME_CHARACTERS - 3] + "...")
