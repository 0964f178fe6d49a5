"""Files to and from the bucket: small ones by one request each, large ones in parts."""

import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError
from urllib3.exceptions import ProtocolError

from tests.helpers.deployed import Deployed
from tests.helpers.files import as_somebody_else
from tests.helpers.waiting import eventually
from tests.helpers.working import dispatch, run_here
from trainq.client.upload import plan_upload
from trainq.protocol import layout
from trainq.protocol.names import files_below
from trainq.transfers import Cancel, Cancelled, TransferPool, listed
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.training import TrainingTask

MB = 1024 * 1024


@pytest.fixture
def pool(deployed: Deployed):
    with TransferPool(deployed.emulator.client("s3"), deployed.stack.bucket_name) as opened:
        yield opened


def requests_of(pool: TransferPool) -> Counter[str]:
    requests: Counter[str] = Counter()
    pool.s3.meta.events.register("before-send.s3", lambda event_name, **_: requests.update([event_name.split(".")[2]]))
    return requests


def put(pool: TransferPool, key: str, body: bytes) -> None:
    pool.s3.put_object(Bucket=pool.bucket, Key=key, Body=body)


def test_small_files_are_one_request_each_and_large_ones_come_in_parts(pool: TransferPool, tmp_path: Path) -> None:
    bodies = {"datasets/d/small": b"abc", "datasets/d/empty": b"", "datasets/d/large": os.urandom(20 * MB)}
    for key, body in bodies.items():
        put(pool, key, body)
    requests = requests_of(pool)
    arrived: list[Path] = []
    pool.download([(key, tmp_path / key) for key in bodies], arrived.append)
    assert {key: (tmp_path / key).read_bytes() for key in bodies} == bodies
    assert arrived == [tmp_path / key for key in bodies], "told in their order"
    # Three, and the large one's parts of 8 MB.
    assert requests == {"GetObject": 3 + 3}
    assert sorted(path.name for path in (tmp_path / "datasets/d").iterdir()) == ["empty", "large", "small"]


def test_large_files_go_up_in_parts_and_small_ones_at_once(pool: TransferPool, tmp_path: Path) -> None:
    bodies = {"small": b"abc", "large": os.urandom(20 * MB)}
    for name, body in bodies.items():
        (tmp_path / name).write_bytes(body)
    requests = requests_of(pool)
    pool.upload([(tmp_path / name, f"datasets/up/{name}") for name in bodies])
    assert requests == {"PutObject": 1, "CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1}
    for name, body in bodies.items():
        assert pool.s3.get_object(Bucket=pool.bucket, Key=f"datasets/up/{name}")["Body"].read() == body


def test_what_breaks_off_in_the_middle_is_fetched_again(
    pool: TransferPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request was answered, so that the client's own retries are over."""
    put(pool, "datasets/d/1", b"abc")
    broken: list[str] = []

    class Broken:
        def read(self) -> bytes:
            broken.append("here")
            raise ResponseStreamingError(error=ProtocolError("cut off"))

        def close(self) -> None:
            pass

    get_object = pool.s3.get_object

    def breaking(**asked: Any) -> dict[str, Any]:
        return get_object(**asked) | ({} if broken else {"Body": Broken()})

    monkeypatch.setattr(pool.s3, "get_object", breaking)
    pool.download([("datasets/d/1", tmp_path / "1")])
    assert broken == ["here"]
    assert (tmp_path / "1").read_bytes() == b"abc"


def test_one_that_is_missing_ends_the_others_too(pool: TransferPool, tmp_path: Path) -> None:
    put(pool, "datasets/d/1", b"abc")
    with pytest.raises(pool.s3.exceptions.NoSuchKey):
        pool.download([("datasets/d/1", tmp_path / "1"), ("datasets/d/2", tmp_path / "2")])
    assert not (tmp_path / "2").exists()


def test_transfers_are_cancelled_from_another_thread(
    pool: TransferPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is under way, and those that would follow."""
    put(pool, "datasets/d/large", os.urandom(40 * MB))
    cancel, begun = Cancel(), threading.Event()
    # One part at a time, and the second is where it is cancelled.
    get_object = pool.s3.get_object

    def slow(**asked: Any) -> Any:
        if "Range" in asked and not asked["Range"].startswith("bytes=0-"):
            begun.set()
            eventually(lambda: cancel.called, "it is cancelled", seconds=20)
        return get_object(**asked)

    monkeypatch.setattr(pool.s3, "get_object", slow)
    threading.Thread(target=lambda: begun.wait(20) and cancel()).start()
    with pytest.raises(Cancelled):
        pool.download([("datasets/d/large", tmp_path / "to" / "large")], cancel=cancel)
    assert begun.is_set()
    assert not list((tmp_path / "to").iterdir())
    with pytest.raises(Cancelled):
        pool.download([("datasets/d/large", tmp_path / "to" / "large")], cancel=cancel)


@pytest.fixture
def unreadable() -> Generator[Path]:
    """A folder of somebody without rights; in it are a file, and a folder with a file that cannot be read."""
    # Not below pytest's folders, which only their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="trainq-test-"))
    (folder / "seen").write_text("x")
    (folder / "closed").mkdir()
    (folder / "closed" / "hidden").write_text("x")
    if not os.geteuid():
        for path in (folder, folder / "seen", folder / "closed"):
            os.chown(path, 65534, 65534)
    (folder / "closed").chmod(0)
    yield folder
    (folder / "closed").chmod(0o700)
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_read_is_refused_with_its_path(unreadable: Path) -> None:
    """Left out, the rest would be committed as if it were all."""
    with as_somebody_else(), pytest.raises(PermissionError, match=re.escape(str(unreadable / "closed"))):
        files_below(unreadable)


def test_a_dataset_with_a_folder_that_cannot_be_read_is_not_uploaded(deployed: Deployed, unreadable: Path) -> None:
    with as_somebody_else(), pytest.raises(PermissionError, match="closed"):
        plan_upload(deployed.stack, unreadable, "d")


def test_a_checkpoint_with_a_folder_that_cannot_be_read_is_not_saved(pool: TransferPool, unreadable: Path) -> None:
    """The former one stays the newest: half a state must not be restored."""
    checkpoints = Checkpoints(pool, "j", 0, 1, "a" * 32, restored=True)
    with as_somebody_else(), pytest.raises(PermissionError, match="closed"):
        checkpoints.save(unreadable)
    assert not list(listed(pool.s3, pool.bucket, "runs/"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda output: (output / "closed").mkdir(mode=0), "Permission denied"),
        (lambda output: output.rmdir(), "No such file or directory"),
        (lambda output: (output.rmdir(), output.write_text("the model")), "Not a directory"),
    ],
)
def test_an_output_that_cannot_be_read_whole_is_a_failure_that_names_it(
    deployed: Deployed, unreadable: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    """Unreadable, removed, or a file in the folder's place: none of it is a result without files."""
    dispatch(deployed)

    def train(task: TrainingTask) -> None:
        (task.output / "seen").write_text("x")
        (task.output / "seen").unlink()
        spoil(task.output)

    with as_somebody_else():
        run_here(deployed, train, folder=unreadable)
    (key,) = deployed.keys(layout.failures("j"))
    reason = deployed.read(key)["reason"]
    assert reason.startswith("the output cannot be stored: ")
    assert said in reason
    assert "/output" in reason
    assert not deployed.keys(layout.results("j"))
