"""Draws the results: docs/performance.svg and .png. The same results give the same files."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

OURS, OTHERS = "#1b6ca8", "#b8b8b8"


def draw(results: dict[str, Any], svg: Path, png: Path) -> None:
    measured = results["benchmarks"]
    with plt.rc_context({"svg.hashsalt": "model-training-queue", "svg.fonttype": "none", "font.size": 8}):
        figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
        _bars(axes[0, 0], "Worker: tasks that do nothing, tasks/s", _rates(measured["worker"]["contestants"]))
        _bars(axes[0, 1], "Dispatch of 10,000 tasks, tasks/s", _rates(measured["dispatch"]["sizes"]["10000"]))
        _growth(axes[1, 0], measured["growth"]["sizes"])
        _bars(axes[1, 1], "Shards: download, MB/s", _downloads(measured["shards"]["sets"]))
        figure.savefig(svg, metadata={"Date": None})
        figure.savefig(png, dpi=120, metadata={"Software": None})
        plt.close(figure)


def _rates(contestants: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: each["tasks_per_second"] for name, each in contestants.items()}


def _downloads(sets: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{how}, {name}": each["mb_per_second"] for name, hows in sets.items() for how, each in hows.items()}


def _bars(axes: Axes, title: str, figures: dict[str, dict[str, Any]]) -> None:
    """Draw a bar for each median, with a line from the lowest to the highest value."""
    names = list(figures)
    medians = [figures[name]["median"] for name in names]
    errors = [
        [figures[name]["median"] - figures[name]["low"] for name in names],
        [figures[name]["high"] - figures[name]["median"] for name in names],
    ]
    colours = [OURS if name.startswith(("trainq", "handler")) else OTHERS for name in names]
    axes.barh(names, medians, xerr=errors, color=colours, error_kw={"linewidth": 0.8})
    for row, name in enumerate(names):
        axes.annotate(
            f"{figures[name]['median']:,.0f}",
            (figures[name]["high"], row),
            (3, 0),
            textcoords="offset points",
            va="center",
        )
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _growth(axes: Axes, sizes: dict[str, Any]) -> None:
    tasks = [int(size) for size in sizes]
    axes.loglog(tasks, [each["seconds"]["median"] for each in sizes.values()], "o-", color=OURS, label="seconds")
    axes.loglog(
        tasks, [each["peak_mb"]["median"] for each in sizes.values()], "s--", color="#c0392b", label="peak memory, MB"
    )
    axes.set_title("Growth: planning and sending, without a network", loc="left")
    axes.set_xlabel("tasks")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
