"""Makes stdout and stderr such that no command fails because of who reads them."""

import io
import os
import sys
from typing import Any


class _Forgiving(io.FileIO):
    """A descriptor to which writing never fails: what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def prepare() -> None:
    """Prepare the standard streams of this process. Call this before anything is printed or any file is opened.

    Closed descriptors become /dev/null: the next pipe or socket would get their number, and what a command prints. A
    character that the encoding lacks is printed as an escape. What is printed to stderr when its reader has ended is
    dropped, so that a worker goes on without its log.
    """
    for descriptor, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if _is_closed(descriptor):
            # It becomes the lowest free number, which is this one. Commands inherit it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))
    # Only the streams that Python has made: tests put others in their place.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout is sys.__stdout__:
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__:
        raw = io.BufferedWriter(_Forgiving(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
