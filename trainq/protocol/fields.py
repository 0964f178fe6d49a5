"""Parses JSON objects strictly: rejects repeated names, NaN, huge numbers and deep nesting, which Python's own takes.

A queue accepts any text from any permitted sender. So time and memory grow linearly with the text, and an error quotes
at most MAX_SHOWN_CHARACTERS of a value.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

# Far more levels than a person writes. Far fewer than those at which Python's parser and encoder raise RecursionError,
# which depends on the version and on the caller's depth.
MAX_NESTING = 100
# Python converts integers of up to 640 digits whatever its settings are. Longer ones take quadratic time.
# https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation
MAX_DIGITS = 640
MAX_SHOWN_CHARACTERS = 100
# Above every allowed number of tasks (1,000,000), and short enough to be shown.
MAX_COUNT = 999_999_999
_TOO_DEEP = f"is JSON nested too deeply: allowed are {MAX_NESTING} levels"


class MarkerError(ValueError):
    """Raised if the object at a marker's key is not a valid marker. The text names the key."""


def loads(text: str) -> dict[str, Any]:
    """Return the JSON object in the text. Raises ValueError as `loads_value` does."""
    value = loads_value(text)
    if not isinstance(value, dict):
        raise ValueError(f"is {shown(value)}: allowed is a JSON object")
    return value


def loads_value(text: str) -> Any:
    """Return the JSON value in the text.

    Raises ValueError if it is not a valid one. The error text is the rest of a sentence: the caller puts the name of
    the text in front of it.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_convertible,
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error}); it begins with {shown(text)}") from None
    if is_nested_deeper(value, MAX_NESTING):
        raise ValueError(_TOO_DEEP)
    return value


def is_json(text: str) -> bool:
    """Return whether the text is JSON, also if `loads_value` refuses its names or numbers."""
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError:
        return False
    except RecursionError:
        return True
    return True


def shown(value: Any) -> str:
    """Return a value as JSON, cut to MAX_SHOWN_CHARACTERS. Encodes no more of the value than that."""
    if isinstance(value, str):
        value = value[:MAX_SHOWN_CHARACTERS]
    text = ""
    # `iterencode` encodes piece by piece and can be stopped, but takes three times as long as `encode`.
    for piece in _ENCODER.iterencode(value) if isinstance(value, dict | list) else [_ENCODER.encode(value)]:
        text += piece
        if len(text) > MAX_SHOWN_CHARACTERS:
            return text[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return text


_ENCODER = json.JSONEncoder(default=str)


def is_count(value: Any, low: int = 0) -> bool:
    """Return whether the value is an int from `low` to MAX_COUNT. True and False are not."""
    return type(value) is int and low <= value <= MAX_COUNT


def repeated(texts: Iterable[str]) -> str | None:
    """Return the first text that comes a second time, None if there is none."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def is_nested_deeper(value: Any, levels: int) -> bool:
    """Return whether objects and lists are nested on more than `levels` levels. Works without recursion."""
    inside: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inside = [
            inner
            for each in inside
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not inside:
            return False
    return True


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"has the name {shown(repeated(name for name, _ in pairs))} twice in one object")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"has {name} in it, which is not a JSON value")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"has the number {shown(text)} in it, which a 64-bit float cannot hold")
    return value


def _convertible(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"has a whole number of {len(text):,} digits in it: allowed are {MAX_DIGITS}")
    return int(text)
