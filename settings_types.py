"""Kinds of settings. Each function returns a dataclass field whose metadata has `read`, which parses the text that
Pulumi stores and raises ValueError, `allowed`, the allowed values in words, and `why`, their reason."""

import json
import re
from collections.abc import Callable
from dataclasses import field
from typing import Any

# The text of an optional setting that is not used. Not empty, so that `pulumi config` shows it.
NONE = "none"


def number(default: int, low: int, high: int, unit: str, why: str) -> Any:
    """Return the field of a whole number from `low` to `high`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return _setting(default, read, f"a whole number of {unit} from {low} to {high}", why)


def choice(default: int, allowed: tuple[int, ...], unit: str, why: str) -> Any:
    """Return the field of one of several numbers."""
    by_text = {str(value): value for value in allowed}
    listed = ", ".join(by_text)
    return _setting(default, lambda text: _pick(by_text, text), f"a number of {unit}, one of {listed}", why)


def switch(default: bool, why: str) -> Any:
    """Return the field of true or false."""
    by_text = {"true": True, "false": False}
    return _setting(default, lambda text: _pick(by_text, text), "true or false", why)


def text(default: str, pattern: str, allowed: str, why: str) -> Any:
    """Return the field of a text that matches `pattern`."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return _setting(default, read, allowed, why)


def optional(pattern: str, allowed: str, why: str) -> Any:
    """Return the field of a text that matches `pattern`; 'none' is None, and the default."""

    def read(text: str) -> str | None:
        if text == NONE:
            return None
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return _setting(None, read, f"{allowed}, or {NONE}", why)


def listing(default: tuple[str, ...], pattern: str, allowed: str, why: str) -> Any:
    """Return the field of a tuple of texts that match `pattern`. It may be empty only if the default is."""

    def read(text: str) -> tuple[str, ...]:
        # json.loads raises a ValueError of its own.
        values = json.loads(text)
        if not isinstance(values, list) or (default and not values):
            raise ValueError
        if not all(isinstance(each, str) and re.fullmatch(pattern, each) for each in values):
            raise ValueError
        return tuple(values)

    return _setting(default, read, f"a list of {allowed}", why)


def _setting(default: Any, read: Callable[[str], Any], allowed: str, why: str) -> Any:
    return field(default=default, metadata={"read": read, "allowed": allowed, "why": why})


def _pick(by_text: dict[str, Any], text: str) -> Any:
    if text not in by_text:
        raise ValueError
    return by_text[text]


def shown(default: Any) -> Any:
    """Return a default as Pulumi.yaml writes it."""
    if default is None:
        return NONE
    return list(default) if isinstance(default, tuple) else default
