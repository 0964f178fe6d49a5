"""Writes the demo's dataset: the source text of this machine's Python standard library."""

import sysconfig
from pathlib import Path

SHARDS = 220
HELD_OUT = 20
BROKEN = "00000-broken.txt"
# Folders of installed packages and tests: not part of the library.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}


def sources() -> list[Path]:
    """Return the library's modules of at least 2,000 bytes, sorted by path."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = (path for path in library.rglob("*.py") if not LEFT_OUT & set(path.relative_to(library).parts))
    return [path for path in sorted(found) if path.stat().st_size >= 2000 and _is_text(path)]


def write(folder: Path, shards: int = SHARDS) -> list[Path]:
    """Write `shards` shards into the folder. Return modules that are not among them, to test the model with.

    Writes another shard that is broken: it is not UTF-8, so that training on it always fails.
    """
    found = sources()
    chosen, held_out = found[: 2 * shards : 2], found[1 : 2 * HELD_OUT : 2]
    if len(chosen) < shards:
        raise RuntimeError(
            f"this Python's standard library has {len(found)} modules with source: {2 * shards} are needed"
        )
    broken = bytearray(found[-1].read_bytes())
    broken[1000:1002] = b"\xff\xfe"
    # First in order, so that its five attempts run while the other shards are trained on.
    (folder / BROKEN).write_bytes(broken)
    for number, path in enumerate(chosen, 1):
        (folder / f"{number:05}.txt").write_bytes(path.read_bytes())
    return held_out


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True
