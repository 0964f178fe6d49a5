"""The function's archive: complete, and the same wherever it is built."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import training_lambda_archive
from local.program import ROOT
from local.provider import zipped
from settings import Settings
from tests.helpers.recordings import Recording


def tracked_files() -> list[str]:
    """What a clone would have: files that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).exists()]


def test_two_clones_give_the_same_list_of_files_and_the_same_hash(tmp_path: Path) -> None:
    """Also when one has been run from, and is full of compiled files and of rubbish."""
    said = []
    for name in ("one", "two"):
        clone = tmp_path / name
        for file in tracked_files():
            (clone / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, clone / file)
        if name == "two":
            subprocess.run([sys.executable, "-m", "compileall", "-q", "lambda_src", "trainq"], cwd=clone, check=True)
            (clone / "lambda_src" / "notes.txt").write_text("left behind")
            assert list(clone.rglob("__pycache__"))
        done = subprocess.run(
            [sys.executable, "training_lambda_archive.py"], cwd=clone, capture_output=True, text=True, check=True
        )
        said.append(done.stdout)
    assert said[0] == said[1]
    assert "lambda_src/handler.py\n" in said[0]
    assert "__pycache__" not in said[0]
    assert "sha256 " in said[0]


def test_the_archive_has_what_git_tracks_and_nothing_besides() -> None:
    """A module that is not committed would be in one machine's archive and not in another's."""
    rooms = re.compile(r"(lambda_src|trainq/protocol)/[^/]+\.py|trainq/__init__\.py")
    assert training_lambda_archive.sources() == sorted(name for name in tracked_files() if rooms.fullmatch(name))


def test_another_content_gives_another_hash(tmp_path: Path, monkeypatch) -> None:
    """Or the test above could not fail."""
    before = training_lambda_archive.content_hash()
    for name in training_lambda_archive.sources():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(training_lambda_archive, "ROOT", tmp_path)
    assert training_lambda_archive.content_hash() == before
    with (tmp_path / "lambda_src" / "handler.py").open("a") as file:
        file.write("\n")
    assert training_lambda_archive.content_hash() != before


def test_the_archive_has_everything_that_the_function_imports(tmp_path: Path) -> None:
    """The emulator's functions see this machine's packages; on AWS there are only the archive and boto3."""
    for name, path in training_lambda_archive.files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / name)
    # What the runtime brings along: boto3 and what it needs, without jmespath, which the archive has itself.
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    import boto3

    site = Path(boto3.__file__).parent.parent
    for package in ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py"):
        (runtime / package).symlink_to(site / package)
    program = "import lambda_src.handler, sys; print('aws_lambda_powertools' in sys.modules)"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(runtime)!r}]; {program}",
        ],
        env={"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_SERVICE_NAME": "s", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True\n", done.stderr


def test_the_archive_is_small() -> None:
    """2 MB: a function starts cold with what it has to unpack."""
    size = len(zipped({name: str(path) for name, path in training_lambda_archive.files().items()}))
    assert size < 2_000_000, f"{size:,} bytes"


def test_the_function_has_room_for_a_million_of_the_longest_keys(dev: Recording) -> None:
    """Planning holds them twice, as lines of JSON: with the size of the object, and in groups."""
    lines = '["' + 1024 * "k" + '", 5497558138880]\n', '["' + 1024 * "k" + '"]\n'
    room = dev.inputs("lambda/function:Function")["ephemeralStorage"]["size"] * 1024 * 1024
    assert room >= Settings.max_tasks * sum(map(len, lines))
