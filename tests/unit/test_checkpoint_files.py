"""What a checkpoint has of its folder: one odd entry does not cost the rest."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.checkpoints import checkpoints, newest, restored, trained
from trainq.protocol import layout
from trainq.testing import _Store
from trainq.worker import checkpoint_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return trained(tmp_path)


LINKS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("latest", lambda folder: "checkpoint-500", "checkpoint-500"),
    ("best", lambda folder: "checkpoint-500/model", "checkpoint-500/model"),
    ("deep/up", lambda folder: "../checkpoint-500", "../checkpoint-500"),
    ("absolute", lambda folder: folder / "checkpoint-500", "checkpoint-500"),
    ("deep/absolute", lambda folder: folder / "checkpoint-500", "../checkpoint-500"),
    ("deep/detour", lambda folder: "../deep/../checkpoint-500", "../checkpoint-500"),
    ("self", lambda folder: ".", "."),
]


@pytest.mark.parametrize(("name", "target", "kept"), LINKS, ids=[each[0] for each in LINKS])
def test_links_within_the_folder_are_links_again(
    folder: Path, tmp_path: Path, name: str, target: Callable[[Path], Any], kept: str
) -> None:
    """As every trainer makes them: `latest -> checkpoint-500`. Absolute ones become relative."""
    store = _Store({})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(target(folder))
    assert checkpoints(store).save(folder)
    assert newest(store) == {"attempt": "a" * 32, "files": ["checkpoint-500/model"], "links": {name: kept}}
    there = restored(store, tmp_path)
    assert str((there / name).readlink()) == kept
    assert (there / name).resolve().is_relative_to(there)
    assert (there / name).exists()
    assert not checkpoints(store, "b", 2).save(tmp_path / "missing"), "a folder that is gone is empty"


def test_a_link_that_is_set_anew_is_a_change(folder: Path) -> None:
    store = _Store({})
    saving = checkpoints(store)
    (folder / "latest").symlink_to("checkpoint-500")
    assert saving.save(folder)
    assert not saving.save(folder)
    (folder / "latest").unlink()
    (folder / "latest").symlink_to("checkpoint-500/model")
    assert saving.save(folder)


def test_a_checkpoint_without_links_has_the_marker_that_it_always_had(folder: Path, tmp_path: Path) -> None:
    """Workers of earlier versions read it, and what they have written is read."""
    store = _Store({})
    assert checkpoints(store).save(folder)
    assert newest(store) == {"attempt": "a" * 32, "files": ["checkpoint-500/model"]}
    assert (restored(store, tmp_path) / "checkpoint-500" / "model").read_text() == "500"


def test_what_cannot_be_saved_is_named_and_the_rest_is_saved(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("key")
    os.mkfifo(folder / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    (folder / "broken").symlink_to("gone")
    (folder / "loop").symlink_to("loop")
    (folder / "file").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to("..")
    (folder / "through").symlink_to("folder/secret")
    (folder / os.fsdecode(b"\xff")).write_text("x")
    (folder / "latest").symlink_to("checkpoint-500")
    saving = checkpoints(store := _Store({}))
    assert saving.save(folder)
    listening.close()
    marker = newest(store)
    assert (marker["files"], marker["links"]) == (["checkpoint-500/model"], {"latest": "checkpoint-500"})
    assert marker["left_out"] == {
        "broken": "is a link to 'gone', which does not exist",
        "fifo": "is neither a file nor a folder",
        "file": f"is a link to '{tmp_path}/secret', which is not in the folder",
        "folder": "is a link to '..', which is not in the folder",
        "loop": "is a link to 'loop', which does not exist",
        "socket": "is neither a file nor a folder",
        "through": "is a link to 'folder/secret', which is not in the folder",
        "\udcff": "is not a name that can be stored",
    }
    said = "left out of the checkpoint: 'broken' is a link to 'gone', which does not exist, and 7 more"
    assert saving.problem == said
    assert any(said in record.getMessage() for record in caplog.records)
    assert {path.name for path in restored(store, tmp_path).iterdir()} == {"checkpoint-500", "latest"}
    for name in ("broken", "fifo", "file", "folder", "loop", "socket", "through", os.fsdecode(b"\xff")):
        (folder / name).unlink()
    (folder / "checkpoint-500" / "model").write_text("more")
    assert saving.save(folder)
    assert saving.problem is None


def test_a_folder_with_nothing_that_can_be_saved_is_no_checkpoint_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    os.mkfifo(tmp_path / "checkpoint" / "fifo")
    saving = checkpoints(store := _Store({}))
    assert not saving.save(tmp_path / "checkpoint")
    assert not store.objects
    assert saving.problem == "left out of the checkpoint: 'fifo' is neither a file nor a folder"


def test_a_marker_names_only_some_of_very_many_odd_entries(folder: Path) -> None:
    for number in range(150):
        (folder / f"broken-{number}").symlink_to("gone")
    saving = checkpoints(store := _Store({}))
    assert saving.save(folder)
    assert len(newest(store)["left_out"]) == 100
    assert str(saving.problem).endswith(", and 149 more")


@pytest.mark.parametrize("error", [1, 18, 31, 95])
def test_files_that_cannot_be_linked_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Those of another user (EPERM), too many links (EMLINK), file systems without any (ENOTSUP)."""
    store = _Store({})
    saving = checkpoints(store)

    def refuse(*names: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(checkpoint_files.os, "link", refuse)
    assert saving.save(folder)
    assert store.objects[f"{layout.checkpoints('j', 0)}000001-000001-{'a' * 32}/checkpoint-500/model"] == b"500"
    assert not saving.save(folder), "a copy has the time of its original"
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"], "the copies are removed"


FORGED = [
    {"latest": "/etc"},
    {"latest": ".."},
    {"latest": "../x"},
    {"deep/latest": "../../x"},
    {"latest": "x/../.."},
    {"latest": ""},
    {"../latest": "x"},
    {"/latest": "x"},
    # The system goes back from the end of a link, not from its name.
    {"a/link": "../b", "latest": "a/link/../.."},
    {"link": "a/b", "link/latest": "../../x"},
    {"link/latest": "../../x", "link": "a/b"},
]


@pytest.mark.parametrize("links", FORGED, ids=[str(each) for each in FORGED])
def test_a_forged_checkpoint_makes_no_link_out_of_the_folder(tmp_path: Path, links: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"is not a (link|name) within"):
        checkpoint_files.restore_links(tmp_path / "folder", links)
    for path in tmp_path.rglob("*"):
        assert path.resolve().is_relative_to(tmp_path / "folder")
