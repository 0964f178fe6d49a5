"""Which checkpoint the next attempt goes on from: the newest that a worker can have written, by S3's clock."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.checkpoints import checkpoints, trained
from trainq.protocol import layout
from trainq.testing import _Store
from trainq.worker.leases import Lease, now

PREFIX = layout.checkpoints("j", 0)
FORGED = f"999999-999999-{'f' * 32}"


def forge(store: _Store, marker: Any, name: str = FORGED, **files: bytes) -> None:
    """Store a checkpoint as anybody can who may write checkpoints."""
    store.objects |= {f"{PREFIX}{name}/{file}": body for file, body in files.items()}
    store.objects[f"{PREFIX}{name}.json"] = json.dumps(marker).encode()


def restored(store: _Store, folder: Path, number: int = 1) -> str | None:
    """Restore into an empty folder; return the content of its file 'state'."""
    folder.mkdir()
    checkpoints(store, "c", number).restore(folder)
    return (folder / "state").read_text() if (folder / "state").exists() else None


def test_a_checkpoint_that_claims_the_last_attempt_is_the_newest_until_the_next_is_saved(tmp_path: Path) -> None:
    """Its name is what anybody says. It was the newest for ever: no name sorts after it."""
    store = _Store({})
    forge(store, {"files": ["state"]}, state=b"forged")
    assert restored(store, tmp_path / "1") == "forged"
    folder = tmp_path / "2"
    folder.mkdir()
    second = checkpoints(store, "b", 2)
    second.restore(folder)
    (folder / "state").write_text("own")
    assert second.save(folder)
    assert restored(store, tmp_path / "3", 3) == "own"


def test_after_a_redrive_the_attempts_count_from_1_again_and_their_checkpoints_are_newer(tmp_path: Path) -> None:
    store = _Store({})
    folder = trained(tmp_path)
    for attempt, number in (("a", 5), ("b", 1), ("c", 2)):
        (folder / "state").write_text(attempt)
        assert checkpoints(store, attempt, number).save(folder)
        assert restored(store, tmp_path / attempt, number) == attempt


def test_of_two_that_s3_dates_in_one_second_the_later_attempts_is_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _Store({})
    for attempt, number in (("a", 1), ("a", 3), ("a", 2)):
        name = f"{number:06}-000001-{attempt * 32}"
        forge(store, {"files": ["state"]}, name, state=b"%d" % number)
    pages = list(store.paginate(PREFIX))
    for each in pages[0]["Contents"]:
        each["LastModified"] = pages[0]["Contents"][0]["LastModified"]
    monkeypatch.setattr(store, "paginate", lambda **asked: pages)
    assert restored(store, tmp_path / "there") == "3"


def test_who_has_lost_the_lease_saves_no_checkpoint(tmp_path: Path) -> None:
    """It may have an old state, and would be the newest. The lease may be lost while the files are uploaded."""
    store = _Store({})
    late = checkpoints(store)
    late.is_held = lambda: not any(PREFIX in key for key in store.objects)
    with pytest.raises(RuntimeError, match="the lease was lost"):
        late.save(trained(tmp_path))
    assert [key for key in store.objects if key.endswith(".json")] == []
    assert late.problem == "the checkpoint could not be saved: the lease was lost, another attempt may have a later one"


@pytest.mark.parametrize(
    "marker",
    [
        [],
        {},
        {"files": "state"},
        {"files": [1]},
        {"files": ["../state"]},
        {"files": ["state", "a\nb"]},
        {"files": ["state", "state/x"]},
        {"files": ["state"], "links": ["state"]},
        {"files": ["state"], "links": {"x": 1}},
        {"files": ["state"], "links": {"x": "../../secret"}},
        {"files": ["state"], "links": {"state": "x"}},
        {"files": ["state", "missing"]},
    ],
)
def test_a_checkpoint_that_no_worker_has_written_is_passed_over(
    tmp_path: Path, marker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each attempt would fail at it, until the task is given up; nothing of it is left in the folder."""
    store = _Store({})
    folder = trained(tmp_path)
    (folder / "state").write_text("own")
    assert checkpoints(store).save(folder)
    forge(store, marker, **{"state": b"forged", "state/x": b"", "a\nb": b""})
    there = tmp_path / "there"
    assert restored(store, there, 2) == "own"
    assert sorted(path.name for path in there.iterdir()) == ["checkpoint-500", "state"]
    assert f"checkpoint {FORGED} is passed over: " in caplog.text


def test_a_lease_is_held_until_it_expires_or_is_lost() -> None:
    leases: Any = type("Leases", (), {"timeout": 30, "interval": 10})()
    assert Lease(leases, "r", now(), 60).is_held()
    assert not Lease(leases, "r", now() - 31, 60).is_held()
    lost = Lease(leases, "r", now(), 60)
    lost.lose("because")
    assert not lost.is_held()
