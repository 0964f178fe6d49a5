"""Figures from repeated measurements. Pure functions; nothing is rounded in our favour."""

import math
import statistics
from collections.abc import Sequence
from typing import Any


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median and spread (smallest to largest) of what was measured, with the measurements."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "all": list(values),
    }


def at_most_shown(value: float, digits: int = 2) -> float:
    """Rounded down: for what is the better the higher it is."""
    return math.floor(value * 10**digits + 1e-9) / 10**digits


def at_least_shown(value: float, digits: int = 2) -> float:
    """Rounded up: for what is the better the lower it is."""
    return math.ceil(value * 10**digits - 1e-9) / 10**digits


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Of rates measured in turn: the median over the rounds, so that a slow moment of the machine hits both sides."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """How a value grows with the size, as the exponent between the smallest and the largest: 1 is in proportion."""
    return math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])


def longest_chain(depends_on: dict[str, list[str]], counted: set[str]) -> list[str]:
    """The longest path through a graph of dependencies, by how many of `counted` are on it; first to last."""
    known: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in known:
            before = max((chain(each) for each in depends_on.get(name, ())), key=len, default=[])
            known[name] = [*before, name] if name in counted else before
        return known[name]

    return max((chain(name) for name in depends_on), key=len, default=[])
