"""JSON objects without what Python's parser lets pass: repeated names, NaN, numbers and nesting without a limit.

Anybody may put anything on a queue: time and memory grow with the text and no faster, and no error repeats more of it
than fits into a sentence.
"""

import json
import math
from typing import Any

# Far more than a person writes, and far less than where Python's parser or its encoder gives up, which depends on its
# version and on how deep the caller is.
MAX_NESTING = 100
# Python converts integers of so many digits whatever it is set to. Longer ones take time that is quadratic.
# https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation
MAX_DIGITS = 640
MAX_SHOWN_CHARACTERS = 100
_TOO_DEEP = f"is JSON nested too deeply: allowed are {MAX_NESTING} levels"


class MarkerError(ValueError):
    """What is at a marker's key is no such marker; names the key."""


def loads(text: str) -> dict[str, Any]:
    """The JSON object in the text. Raises ValueError with the rest of a sentence that begins with its name."""
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
    if not isinstance(value, dict):
        raise ValueError(f"is {shown(value)}: allowed is a JSON object")
    if is_nested_deeper(value, MAX_NESTING):
        raise ValueError(_TOO_DEEP)
    return value


def shown(value: Any) -> str:
    """A value as JSON, cut to what fits into a sentence. No more of the JSON than that is made."""
    if isinstance(value, str):
        value = value[:MAX_SHOWN_CHARACTERS]
    text = ""
    # `iterencode` goes on only when it is asked to, and takes three times as long.
    for piece in _ENCODER.iterencode(value) if isinstance(value, dict | list) else [_ENCODER.encode(value)]:
        text += piece
        if len(text) > MAX_SHOWN_CHARACTERS:
            return text[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return text


_ENCODER = json.JSONEncoder(default=str)


def is_nested_deeper(value: dict[str, Any], levels: int) -> bool:
    """Return whether objects and lists are nested on more than so many levels. Level by level, without recursion."""
    inside: list[Any] = [value]
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
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"has the name {shown(name)} twice in one object")
            seen.add(name)
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
