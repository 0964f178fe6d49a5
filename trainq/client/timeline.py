"""Draws a timeline of a job: one row for each worker, one bar for each attempt, coloured by how it ended."""

from pathlib import Path
from typing import Any

from trainq.client.attempt_records import seconds
from trainq.protocol.events import printable

# Colours by how an attempt ended, in the order of the legend.
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
# A bar wider than this share of the picture shows its task's number upright.
LABELLED_SHARE = 0.02
# Longer workers' names are cut: a key has room for 1,000 characters, the picture has not.
MAX_NAME_CHARACTERS = 40
# At 100 pixels an inch. Matplotlib limits a PNG to 2**16 pixels in height, and needs 5 MB of memory per inch.
MAX_INCHES = 200


class NoMatplotlib(Exception):
    """Raised if matplotlib is not installed."""


def draw(job_id: str, attempts: list[dict[str, Any]], path: Path) -> None:
    """Draw the timeline and write it to `path`, whose ending gives the format (.svg, .png, .pdf).

    `attempts`: as `client.attempts.attempts` returns them. Raises NoMatplotlib, OSError.
    """
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
        # At least 1/400 of the width: the shortest attempt must be visible.
        width = max(end - start, length / 400)
        axes.broken_barh(
            [(start - origin, width)],
            (row - 0.38, 0.76),
            facecolor=COLOURS[each["how"]],
            edgecolor="white",
            linewidth=0.4,
        )
        # Label wide bars. Of narrow ones, label only attempts that were interrupted or failed, and retries.
        wide = width > LABELLED_SHARE * length
        if wide or each["how"] not in ("done", "running") or each["attempt_number"] > 1:
            middle, turned = start - origin + width / 2, 0 if wide else 90
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": "white", "clip_on": True}
            axes.text(middle, row, str(each["task"]), rotation=turned, **style)
        if each["how"] == "killed":
            axes.text(start - origin + width, row, f" task {each['task']} killed", va="center", fontsize=8)
    # Without parse_math=False, Matplotlib would read text between two '$' as a formula.
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
    # Keep text as text in SVG, for search and screen readers.
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path)


def _label(worker: str) -> str:
    return printable(worker if len(worker) <= MAX_NAME_CHARACTERS else worker[: MAX_NAME_CHARACTERS - 3] + "...")
