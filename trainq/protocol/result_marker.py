"""Validates result markers. Any principal that may write to the bucket may write any marker, so only markers that
`checked` has accepted become paths or keys."""

import re
import reprlib
from pathlib import Path
from typing import Any

from trainq.protocol import layout
from trainq.protocol.fields import MarkerError
from trainq.protocol.limits import MAX_KEY_BYTES
from trainq.protocol.names import below

RESULT = re.compile(r"runs/([^/]+)/results/(0|[1-9][0-9]*)\.json")
ATTEMPT = re.compile(r"[0-9a-f]{32}")

_shortened = reprlib.Repr()
_shortened.maxstring = 120


def checked(marker: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the result marker that was read at this key, if it is valid.

    Raises MarkerError unless job, task, attempt and output match the key, and all files fit below one folder: valid
    names, none twice, none that is both a file and a folder.
    """
    found = RESULT.fullmatch(key)
    if not found:
        raise MarkerError(f"{key!r} is no key of a result")
    job_id, task, attempt = found[1], int(found[2]), marker.get("attempt")
    if not (isinstance(attempt, str) and ATTEMPT.fullmatch(attempt)):
        raise MarkerError(f"{key!r}: field 'attempt' is {_shown(attempt)}: allowed are 32 of the characters 0-9 a-f")
    for name, own in (("job_id", job_id), ("task", task), ("output", layout.attempt_output(job_id, task, attempt))):
        value = marker.get(name)
        # Compare types, too: True == 1 in Python.
        if type(value) is not type(own) or value != own:
            raise MarkerError(f"{key!r}: field {name!r} is {_shown(value)}: allowed at this key is {own!r}")
    try:
        _check_files(marker.get("files"), str(task))
    except ValueError as error:
        raise MarkerError(f"{key!r}: field 'files': {error}") from None
    return marker


def _check_files(files: Any, folder: str) -> None:
    if not isinstance(files, list):
        raise ValueError(f"{_shown(files)} is no list")
    names, folders = set(), set()
    for file in files:
        path, size = (file.get("path"), file.get("bytes")) if isinstance(file, dict) else (None, None)
        if not isinstance(path, str) or len(path) > MAX_KEY_BYTES or type(size) is not int or size < 0:
            raise ValueError(f"{_shown(file)} is no file with a path and a number of bytes")
        relative = below(Path(folder), path).relative_to(folder)
        if path in names:
            raise ValueError(f"{path!r} is there twice")
        names.add(path)
        folders.update(each.as_posix() for each in relative.parents)
    if both := names & folders:
        raise ValueError(f"{min(both)!r} is both a file and a folder")


def _shown(value: Any) -> str:
    """Return a short representation of a value of any depth or length."""
    return _shortened.repr(value)
