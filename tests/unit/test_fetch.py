"""A fetch that fails, is killed, or finds what another has left."""

import errno
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from local.standins import FakeS3, fake_stack
from tests.helpers.results import files_of, marker
from trainq import folders, transfers
from trainq.client.results import FetchError, fetch
from trainq.protocol import layout

A, PIECE = "a" * 32, ".2022ce" + "0" * 26
DEEP = "[" * 100_000


class Bucket(FakeS3):
    """As boto3's client, as far as transfers of small files need it."""

    meta = MagicMock()


def bucket(**files: bytes) -> Bucket:
    return Bucket({layout.attempt_output("j", 0, A) + name: body for name, body in files.items()})


def run(s3: Bucket, folder: Path) -> list[str]:
    """Fetch the result of task 0 of job j, with all files that there are. Return what is said."""
    prefix, said = layout.attempt_output("j", 0, A), []
    named = [{"path": key.removeprefix(prefix), "bytes": len(body)} for key, body in s3.objects.items()]
    fetch(fake_stack(s3, None), "j", [marker(files=named)], folder, lambda path: None, said.append)
    return said


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Generator[list[Path]]:
    """Half of each file is written, then the disk is full; emptied, there is space again."""
    written: list[Path] = []

    def write(path: Path, body: Any) -> None:
        with path.open("wb") as file:
            file.write((body if isinstance(body, bytes) else body.encode())[: len(body) // 2])
        written.append(path)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write)
        patched.setattr(Path, "write_text", write)
        yield written


def test_a_full_disk_leaves_no_pieces_among_the_results(tmp_path: Path, full: list[Path]) -> None:
    with pytest.raises(OSError, match="No space"):
        run(bucket(model=b"model", log=b"log"), tmp_path)
    assert full
    assert files_of(tmp_path) == []


def test_pieces_of_a_download_are_removed_when_it_fails(tmp_path: Path, full: list[Path]) -> None:
    """Of a worker's shards, too."""
    s3 = bucket(model=b"model", log=b"log")
    with pytest.raises(OSError, match="No space"):
        transfers.download(s3, "b", [(key, tmp_path / key.rpartition("/")[2]) for key in s3.objects])
    assert full
    assert files_of(tmp_path) == []


def test_pieces_of_a_fetch_that_was_killed_are_swept_by_the_next(tmp_path: Path) -> None:
    """Only they: not what a result is called, nor files of other names or places."""
    s3 = bucket(**{"model": b"model", PIECE + ".AbCd0123": b"a result"})
    for name in (PIECE, f"0/{PIECE}", f"0/deep/{PIECE}.0aB9cD3f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    (tmp_path / "elsewhere").mkdir()
    kept = [f"elsewhere/{PIECE}", f"0/{PIECE}0", f"0/{PIECE[1:]}", "0/.hidden", "note"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / "1").symlink_to(tmp_path / "elsewhere")
    run(s3, tmp_path)
    assert files_of(tmp_path) == sorted([*kept, "0/model", f"0/{PIECE}.AbCd0123", "results.jsonl"])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        DEEP,
        "[]\n",
        "1\n",
        "{}\n",
        '{"attempt": [], "job_id": "j"}\n',
        '{"attempt": "a", "job_id": ["j"]}\n',
        '{"attempt": "' + A,
        "\ud800",
    ],
    ids=["cut", "deep", "list", "number", "empty", "no attempt", "no job", "cut later", "no text"],
)
def test_a_broken_or_foreign_index_counts_as_none_and_is_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "model").write_text("old..")
    body = text.encode(errors="surrogatepass")
    (tmp_path / "results.jsonl").write_bytes(body)
    s3 = bucket(model=b"model")
    (said,) = run(s3, tmp_path)
    assert said.startswith(f"{str(tmp_path / 'results.jsonl')!r} is not what a fetch has written (")
    assert said.endswith("): it is 'results.jsonl.old' now, and all files are fetched")
    assert (tmp_path / "results.jsonl.old").read_bytes() == body
    assert (tmp_path / "0" / "model").read_bytes() == b"model"
    assert run(s3, tmp_path) == []
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["attempt"] == A


def test_another_jobs_results_stay(tmp_path: Path) -> None:
    index = json.dumps({"attempt": A, "job_id": "k"}) + "\n"
    (tmp_path / "results.jsonl").write_text(index)
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / PIECE).write_text("a result of theirs")
    with pytest.raises(FetchError, match="has results of job 'k': name another folder"):
        run(bucket(model=b"model"), tmp_path)
    assert files_of(tmp_path) == [f"0/{PIECE}", "results.jsonl"]
    assert (tmp_path / "results.jsonl").read_text() == index


def test_of_two_fetches_into_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    """It would sweep the pieces of the first."""
    s3, seen = bucket(model=b"model"), []

    def meanwhile(operation: str, key: str) -> None:
        seen.append(key)
        with pytest.raises(FetchError, match="another fetch writes to"):
            run(bucket(model=b"model"), tmp_path)

    s3.fault = meanwhile
    run(s3, tmp_path)
    assert seen
    assert run(bucket(model=b"model"), tmp_path) == [], "the folder is free again"


def test_where_folders_cannot_be_locked_results_are_fetched_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(folders, "lock", refuse)
    run(bucket(model=b"model"), tmp_path)
    assert files_of(tmp_path) == ["0/model", "results.jsonl"]
