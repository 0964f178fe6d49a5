"""Defines the two messages: the job on the message queue and the task on the model training queue."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Self

from trainq.protocol.fields import MAX_COUNT, is_count, loads, repeated, shown
from trainq.protocol.limits import MAX_KEY_BYTES, MAX_MESSAGE_BYTES, MAX_REASON_CHARACTERS
from trainq.protocol.names import ALLOWED, SortedPaths, is_name

MAX_GRID_POINTS = 1_000_000
# A reason quotes at most this much of an unknown field's name.
MAX_NAME_CHARACTERS = 60

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DATASET = re.compile(r"datasets/([A-Za-z0-9][A-Za-z0-9._-]*/)+")


class MessageError(ValueError):
    """Raised for a message that can never be accepted. Lists every wrong field with its value and what is allowed.

    If a reason has no room for all, it ends with the number of the others.
    """


@dataclass(frozen=True)
class _Rule:
    """The rule of a field: the allowed values in words, and a function that tests a value."""

    allowed: str
    holds: Callable[[Any], bool]


def _is_whole(value: Any, low: int) -> bool:
    return type(value) is int and value >= low


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def is_shard(value: Any) -> bool:
    """Return whether the value is a key below 'datasets/' that a worker can turn into a path inside a folder."""
    return (
        isinstance(value, str)
        and value.startswith("datasets/")
        and is_name(value)
        and len(value.encode()) <= MAX_KEY_BYTES
    )


_JOB_ID = _Rule(
    "1 to 64 of the characters A-Z a-z 0-9 . _ -, beginning with a letter or a digit",
    lambda value: isinstance(value, str) and bool(JOB_ID.fullmatch(value)),
)
_PARAMETERS = _Rule("an object of names and values", _is_object)


def _checked(rule: _Rule, **default: Any) -> Any:
    return field(metadata={"rule": rule}, **default)


@dataclass(frozen=True, kw_only=True)
class _Message:
    """A message: a JSON object with known fields. Immutable."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the message in the text. Raises MessageError if it is not valid."""
        try:
            value = loads(text)
        except ValueError as error:
            raise MessageError(f"the message {error}") from None
        return cls.from_dict(value)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Return the message with these fields. Raises MessageError that lists all wrong fields."""
        if reason := _joined(cls._wrong_fields(value)):
            raise MessageError(reason)
        message = cls(**value)
        if reason := _joined(message._contradictions()):
            raise MessageError(reason)
        return message

    @classmethod
    def _wrong_fields(cls, value: dict[str, Any]) -> Iterator[str]:
        """Yield one text per wrong field: known fields first, since a message may have many unknown ones."""
        known = {f.name: f for f in fields(cls)}
        for name, about in known.items():
            rule: _Rule = about.metadata["rule"]
            if name in value:
                if not rule.holds(value[name]):
                    yield f"field {name!r} is {shown(value[name])}: allowed is {rule.allowed}"
            elif not _has_default(about):
                yield f"field {name!r} is missing: it must be {rule.allowed}"
        there_are = f"; the fields are {', '.join(known)}"
        for name in value:
            if name not in known:
                yield f"field {_quoted(name)} is {shown(value[name])}: there is no such field{there_are}"
                there_are = ""

    def _contradictions(self) -> Iterator[str]:
        """Yield one text per contradiction between fields that are valid by themselves."""
        yield from ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not None, in the order of the definition."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    def to_json(self) -> str:
        """Return the message as it is sent: compact JSON."""
        return json.dumps(self.to_dict(), separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Job(_Message):
    """A training message: a dataset in the bucket, and how to train on it."""

    job_id: str = _checked(_JOB_ID)
    dataset: str = _checked(
        _Rule(
            "a prefix such as 'datasets/NAME/' (segments of A-Z a-z 0-9 . _ -, with a '/' at the end)",
            lambda value: isinstance(value, str) and len(value) <= 512 and bool(DATASET.fullmatch(value)),
        )
    )
    parameters: dict[str, Any] = _checked(_PARAMETERS, default_factory=dict)
    grid: dict[str, list[Any]] | None = _checked(
        _Rule(
            "null, or an object of names and non-empty lists of different values",
            lambda value: (
                value is None or (_is_object(value) and all(isinstance(each, list) and each for each in value.values()))
            ),
        ),
        default=None,
    )
    shards_per_task: int | str | None = _checked(
        _Rule('a whole number from 1, or "all"', lambda value: value is None or value == "all" or _is_whole(value, 1)),
        default=None,
    )
    bytes_per_task: int | None = _checked(
        _Rule("a whole number of bytes from 1", lambda value: value is None or _is_whole(value, 1)), default=None
    )

    def _contradictions(self) -> Iterator[str]:
        if self.shards_per_task is not None and self.bytes_per_task is not None:
            yield "fields 'shards_per_task' and 'bytes_per_task' are both given: allowed is one of them"
        if self.grid_points > MAX_GRID_POINTS:
            yield f"field 'grid' has at least {self.grid_points:,} points: allowed are at most {MAX_GRID_POINTS:,}"
        for name in self.grid or {}:
            if name in self.parameters:
                yield f"{_quoted(name)} is both in 'parameters' and in 'grid': allowed is one of them"
        for name, values in (self.grid or {}).items():
            # As JSON, as in `refuse_other`.
            if twice := repeated(json.dumps(value, sort_keys=True) for value in values):
                yield f"field 'grid' has {shown(json.loads(twice))} twice in {_quoted(name)}: allowed is each once"

    @property
    def grid_points(self) -> int:
        """Return the number of grid points: each group of shards becomes so many tasks.

        Stops above MAX_GRID_POINTS: the product of all lists in a message may have tens of thousands of digits.
        """
        points = 1
        for values in (self.grid or {}).values():
            points *= len(values)
            if points > MAX_GRID_POINTS:
                break
        return points

    def to_dict(self) -> dict[str, Any]:
        """Return the fields with the default of `shards_per_task` filled in. Equal dicts mean the same job."""
        value = super().to_dict()
        if self.bytes_per_task is None:
            value["shards_per_task"] = self.shards_per_task or 1
        return value

    def without_dataset(self, bucket_name: str) -> MessageError:
        """Return the error for a dataset without a shard. Submitter and function use the same text."""
        return MessageError(
            f"field 'dataset' is {self.dataset!r}: there is no object under s3://{bucket_name}/{self.dataset}; "
            "upload the dataset first, with 'trainq upload'"
        )

    def refuse_other(self, other: "Job") -> None:
        """Raise MessageError if the other job, which has the same id, differs from this one."""
        ours, theirs = self.to_dict(), other.to_dict()
        # Compare as JSON: 1, 1.0 and true are equal in Python but not the same parameter.
        differing = [
            name
            for name in sorted(ours.keys() | theirs.keys())
            if json.dumps(ours.get(name), sort_keys=True) != json.dumps(theirs.get(name), sort_keys=True)
        ]
        if differing:
            raise MessageError(
                f"field 'job_id' is {self.job_id!r}, which a job with other content has (different: "
                f"{', '.join(differing)}): allowed is the same job again, or an id that is not used yet"
            )


@dataclass(frozen=True, kw_only=True)
class Task(_Message):
    """A task: the shards and parameters for one worker. `task` counts from 0 to `tasks` - 1 within its job."""

    job_id: str = _checked(_JOB_ID)
    task: int = _checked(_Rule(f"a whole number from 0 to {MAX_COUNT:,}", is_count))
    tasks: int = _checked(_Rule(f"a whole number from 1 to {MAX_COUNT:,}", lambda value: is_count(value, 1)))
    shards: list[str] = _checked(
        _Rule(
            f"a non-empty list of keys below 'datasets/' of at most {MAX_KEY_BYTES:,} bytes each: {ALLOWED}",
            lambda value: isinstance(value, list) and bool(value) and all(map(is_shard, value)),
        )
    )
    parameters: dict[str, Any] = _checked(_PARAMETERS)

    def _contradictions(self) -> Iterator[str]:
        if self.task >= self.tasks:
            yield (
                f"field 'task' is {shown(self.task)}: allowed is a whole number below 'tasks', which is "
                f"{shown(self.tasks)}"
            )
        paths = SortedPaths()
        for key in sorted(self.shards):
            if folder := paths.folder_of(key):
                yield f"field 'shards' has {folder!r} and {key!r}: allowed are keys that can be files together"


def _has_default(about: Field[Any]) -> bool:
    return about.default is not MISSING or about.default_factory is not MISSING


def _joined(problems: Iterable[str]) -> str:
    """Join the problems to one text within MAX_REASON_CHARACTERS, with the number of those left out."""
    told, more = [], 0
    room = MAX_REASON_CHARACTERS - len(f"; and {MAX_MESSAGE_BYTES:,} more")
    for problem in problems:
        room -= len("; ") + len(problem)
        if room >= 0:
            told.append(problem)
        else:
            more += 1
    return "; ".join([*told, f"and {more:,} more"] if more else told)


def _quoted(name: str) -> str:
    return repr(name if len(name) <= MAX_NAME_CHARACTERS else name[: MAX_NAME_CHARACTERS - 3] + "...")
