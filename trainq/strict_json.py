"""JSON objects without the freedoms that Python's parser takes: repeated names, NaN, and numbers that overflow."""

import json
import math
from typing import Any


def loads(text: str) -> dict[str, Any]:
    """The JSON object in the text. Raises ValueError with the rest of a sentence that begins with its name."""
    try:
        value = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("is JSON nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error}); it begins with {shown(text)}") from None
    if not isinstance(value, dict):
        raise ValueError(f"is {shown(value)}: allowed is a JSON object")
    return value


def shown(value: Any) -> str:
    """A value as JSON, cut to what fits into a sentence."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 100 else text[:97] + "..."


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the name {shown(twice)} twice in one object")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"has {name} in it, which is not a JSON value")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"has the number {shown(text)} in it, which a 64-bit float cannot hold")
    return value
