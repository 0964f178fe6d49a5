"""Computes figures from repeated measurements. Pure functions."""

import math
import statistics
from collections.abc import Sequence
from typing import Any


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return median, lowest and highest of the measurements, and the measurements."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "all": list(values),
    }


def at_most_shown(value: float, digits: int = 2) -> float:
    """Round down, for figures of which higher is better."""
    return math.floor(value * 10**digits + 1e-9) / 10**digits


def at_least_shown(value: float, digits: int = 2) -> float:
    """Round up, for figures of which lower is better."""
    return math.ceil(value * 10**digits - 1e-9) / 10**digits


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios. Both rates of a round share the machine's slow moments."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the exponent by which the value grows from the smallest to the largest size: 1 is proportional."""
    return math.log(values[-1] / values[0]) / math.log(sizes[-1] / sizes[0])


def longest_chain(depends_on: dict[str, list[str]], counted: set[str]) -> list[str]:
    """Return the path through the dependencies that has most names of `counted`, from first to last."""
    known: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in known:
            before = max((chain(each) for each in depends_on.get(name, ())), key=len, default=[])
            known[name] = [*before, name] if name in counted else before
        return known[name]

    return max((chain(name) for name in depends_on), key=len, default=[])
