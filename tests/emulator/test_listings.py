"""Listings come in pages of at most 1,000: nothing may look at the first one alone."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from local.program import ROOT
from tests.helpers.deployed import Deployed
from tests.helpers.working import dispatch, run_here, write
from trainq.client import jobs, results, status
from trainq.client.attempts import attempts
from trainq.client.upload import plan_upload
from trainq.protocol import layout
from trainq.protocol.messages import Job, MessageError
from trainq.stack import Stack
from trainq.transfers import TransferPool
from trainq.worker.checkpoints import Checkpoints
from trainq.worker.job_cache import has_checkpoints

FIVE = {f"{number:03}": b"x" for number in range(5)}


@pytest.fixture
def paged(deployed: Deployed) -> Stack:
    """The stack, with pages of two entries; S3 decides itself how many it puts on one."""
    stack = deployed.stack

    def two_a_page(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = min(params.get("MaxKeys", 2), 2)

    stack.s3.meta.events.register("provide-client-params.s3.ListObjectsV2", two_a_page)
    return stack


def checkpoints(stack: Stack, number: int, attempt: str) -> Checkpoints:
    pool = TransferPool(stack.s3, stack.bucket_name)
    return Checkpoints(pool, "j", 0, number, attempt * 32, restored=True)


def test_the_newest_of_many_checkpoints_is_restored(paged: Stack, tmp_path: Path) -> None:
    """Each is a marker and a folder in the listing: of 501, the first page of 1,000 entries lacks the newest."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    saver = checkpoints(paged, 1, "a")
    for step in range(5):
        (folder / "step").write_text(f"step {step}" + step * ".")
        assert saver.save(folder)
    restored = tmp_path / "restored"
    restored.mkdir()
    assert checkpoints(paged, 2, "b").restore(restored) == f"000001-000005-{'a' * 32}"
    assert (restored / "step").read_text() == "step 4...."
    assert has_checkpoints(paged.s3, paged.bucket_name, "j")
    assert not has_checkpoints(paged.s3, paged.bucket_name, "k")


def test_all_of_a_jobs_tasks_and_all_jobs_are_seen(deployed: Deployed, paged: Stack, tmp_path: Path) -> None:
    dispatch(deployed, shards=5)
    run_here(deployed, write("x"), max_tasks=5)
    for job in "abcd":
        key = layout.plan(job)
        deployed.stack.s3.put_object(Bucket=paged.bucket_name, Key=key, Body=json.dumps({"job_id": job}).encode())
    assert sorted(results.done_tasks(paged, "j")) == [0, 1, 2, 3, 4]
    assert len(results.committed(paged, "j")) == 5
    assert len(attempts(paged, "j")) == 5
    assert status.jobs(paged) == ["a", "b", "c", "d", "j"]
    found = status.status(paged, "j")
    assert found
    assert found.complete


def test_a_dataset_is_there_however_many_folder_objects_come_first(deployed: Deployed, paged: Stack) -> None:
    """Consoles make empty objects that end in '/' to show folders."""
    job = Job(job_id="j", dataset="datasets/d/")
    deployed.put_dataset("d", dict.fromkeys(("", "a/", "a/b/", "a/c/"), b""))
    with pytest.raises(MessageError, match="there is no object"):
        jobs.check(paged, job)
    deployed.put_dataset("d", {"shard": b"x"})
    jobs.check(paged, job)


def test_what_was_uploaded_before_is_seen(deployed: Deployed, paged: Stack, tmp_path: Path) -> None:
    deployed.put_dataset("d", FIVE | {"other": b"x"})
    for name, body in FIVE.items():
        (tmp_path / "up").mkdir(exist_ok=True)
        (tmp_path / "up" / name).write_bytes(body)
    upload = plan_upload(paged, tmp_path / "up", "d")
    assert (upload.to_send, upload.unchanged, upload.others) == ([], 5, ["datasets/d/other"])


def test_no_code_lists_but_by_pages() -> None:
    """Every listing goes through a paginator: the name of a call that answers one page stands nowhere."""
    sources = [path for room in ("trainq", "lambda_src") for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 40
    calls = {
        (path.relative_to(ROOT).as_posix(), node.func.attr)
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr.startswith(("list_", "describe_"))
    }
    # The newest move is the first: there is no use for a second page.
    assert calls == {("trainq/client/dead_letters.py", "list_message_move_tasks")}
