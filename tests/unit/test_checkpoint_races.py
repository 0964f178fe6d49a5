"""Checkpoints of a command that goes on writing while they are saved."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.checkpoints import checkpoints, newest, trained
from trainq.testing import _Store
from trainq.worker import checkpoint_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return trained(tmp_path)


def vanishing(monkeypatch: pytest.MonkeyPatch, vanish: Callable[[Path, int], None]) -> list[Path]:
    """Whenever the folder is listed, `vanish` is called before the first entry is looked at."""
    listings: list[Path] = []
    walk = os.walk

    def listed(folder: Path, **more: Any) -> Any:
        entries = list(walk(folder, **more))
        listings.append(folder)
        vanish(folder, len(listings))
        return entries

    monkeypatch.setattr(checkpoint_files.os, "walk", listed)
    return listings


def test_a_file_that_is_renamed_while_it_is_listed_is_saved_under_its_new_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written aside and renamed, for the first time: neither name is in the listing and there."""
    (folder / "state.new").write_text("whole")

    def rename(folder: Path, listing: int) -> None:
        # The first listing only looks whether anything has changed.
        if listing == 2:
            (folder / "state.new").rename(folder / "state")

    vanishing(monkeypatch, rename)
    assert checkpoints(store := _Store({})).save(folder)
    assert newest(store)["files"] == ["checkpoint-500/model", "state"]


def test_names_that_come_and_go_with_each_listing_do_not_fail_the_save(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that writes aside all the time; its folder of 400 steps goes meanwhile, too."""
    (folder / "checkpoint-400").mkdir()
    (folder / "checkpoint-400" / "model").write_text("400")
    (folder / "new-0").write_text("x")

    def come_and_go(folder: Path, listing: int) -> None:
        (folder / f"new-{listing - 1}").rename(folder / "state")
        (folder / f"new-{listing}").write_text("x")
        if listing == 3:
            (folder / "checkpoint-400" / "model").unlink()
            (folder / "checkpoint-400").rmdir()

    listings = vanishing(monkeypatch, come_and_go)
    assert checkpoints(store := _Store({})).save(folder)
    assert newest(store)["files"] == ["checkpoint-500/model", "state"]
    assert len(listings) == 1 + checkpoint_files.LISTINGS


def test_a_real_command_that_renames_all_the_time_fails_no_save(folder: Path) -> None:
    (folder / "state").write_text("0")
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            (folder / f"state.{number}").write_text(str(number))
            (folder / f"state.{number}").rename(folder / "state")

    writing = threading.Thread(target=write)
    writing.start()
    saving = checkpoints(store := _Store({}))
    try:
        saved = [saving.save(folder) for _ in range(30)]
    finally:
        ended.set()
        writing.join()
    assert sum(saved) > 1
    states = [body for key, body in store.objects.items() if key.endswith("/state")]
    assert len(states) == sum(saved)
