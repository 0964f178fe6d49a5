"""The files of a checkpoint: keeps a folder as it is while a training command goes on writing, and restores its links.

Links within the folder stay links. What cannot be saved is left out, with a reason: links that lead nowhere or out of
the folder, FIFOs, sockets, names that cannot be part of a key.
"""

import contextlib
import os
import posixpath
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainq.protocol.names import below, is_name

# Training commands write a file under another name and rename it, so that what is listed may be gone when it is read.
# The folder is listed again until everything is kept; names that come and go within ten listings are temporary files.
LISTINGS = 10


@dataclass
class Contents:
    """The contents of a folder by relative name. `files`: size and modification time (ns). `links`: targets.
    `left_out`: why an entry cannot be saved. `vanished`: whether an entry was gone before it was looked at.

    Two are equal if their files and links are.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict, compare=False)
    vanished: bool = field(default=False, compare=False)

    @property
    def problem(self) -> str | None:
        """Return in words what is left out; None if there is nothing."""
        if not self.left_out:
            return None
        (name, reason), *others = sorted(self.left_out.items())
        return f"left out of the checkpoint: {name!r} {reason}" + (f", and {len(others):,} more" if others else "")


def look(folder: Path) -> Contents:
    """Return the contents of the folder, without entries that vanish meanwhile.

    Raises OSError for a folder that cannot be read: half a state must not be saved.
    """

    found = Contents()

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error
        found.vanished = True

    for root, folders, files in os.walk(folder, onerror=refuse):
        for name in (*folders, *files):
            try:
                _add(found, folder, Path(root, name))
            except FileNotFoundError:
                found.vanished = True
    return found


def keep(folder: Path, copy: Path) -> Contents:
    """Make hard links of all files in `copy`, where they keep their content if the command replaces them. Copy files
    that cannot be linked. Return the contents of the copy. Raises OSError."""
    shutil.rmtree(copy, ignore_errors=True)
    kept: set[str] = set()
    for _ in range(LISTINGS):
        found = look(folder)
        for name in found.files.keys() - kept:
            with contextlib.suppress(FileNotFoundError):
                _link_or_copy(folder / name, copy / name)
                kept.add(name)
        if not found.vanished and found.files.keys() <= kept:
            break
    return Contents({name: found.files[name] for name in found.files.keys() & kept}, found.links, found.left_out)


def restore_links(folder: Path, links: Mapping[str, str]) -> None:
    """Make the links, after the files are there. Raises ValueError for a link that leads out of the folder, or whose
    name is below another link: a checkpoint may come from any principal that may write checkpoints."""
    for name, target in links.items():
        path = below(folder, name)
        if not _is_within(name, target) or any(parent.as_posix() in links for parent in Path(name).parents):
            raise ValueError(f"{name!r} -> {target!r} is not a link within {str(folder)!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)


def _add(found: Contents, folder: Path, path: Path) -> None:
    name = path.relative_to(folder).as_posix()
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode):
        return
    if not is_name(name):
        found.left_out[name] = "is not a name that can be stored"
    elif stat.S_ISREG(status.st_mode):
        found.files[name] = (status.st_size, status.st_mtime_ns)
    elif not stat.S_ISLNK(status.st_mode):
        found.left_out[name] = "is neither a file nor a folder"
    elif (target := _target(folder, path)) is None:
        found.left_out[name] = f"is a link to {str(path.readlink())!r}, which is not in the folder"
    elif not path.exists():
        # A link that has just been removed is not broken: readlink raises FileNotFoundError.
        found.left_out[name] = f"is a link to {str(path.readlink())!r}, which does not exist"
    else:
        found.links[name] = target


def _target(folder: Path, link: Path) -> str | None:
    """Return the link's target relative to the link; None if it leads out of the folder. Raises FileNotFoundError."""
    text = str(link.readlink())
    end = Path(os.path.realpath(link))
    if not end.is_relative_to(os.path.realpath(folder)):
        return None
    if _is_within(link.relative_to(folder).as_posix(), text):
        return text
    # An absolute link into the folder: the next attempt has another folder.
    return os.path.relpath(end, os.path.realpath(link.parent))


def _is_within(name: str, target: str) -> bool:
    """Return whether a link of this name leads to a place in the folder. `..` is allowed only at the beginning: after
    the name of another link the system does not go back the same way."""
    if not target or posixpath.isabs(target) or posixpath.normpath(target) != target:
        return False
    end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return end != ".." and not end.startswith("../")


def _link_or_copy(path: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, copy)
    except FileNotFoundError:
        raise
    except OSError:
        # Files of another user (protected_hardlinks), and all on file systems without links.
        # https://docs.kernel.org/admin-guide/sysctl/fs.html#protected-hardlinks
        shutil.copy2(path, copy)
