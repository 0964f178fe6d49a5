"""What the pages tell people to run is run: commands against the emulator, programs as they stand there."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.program import ROOT
from tests.helpers.deployed import Deployed
from tests.helpers.documents import PAGES, blocks, lines
from tests.helpers.waiting import eventually
from trainq.protocol.limits import MAX_LONG_POLL_SECONDS

TEXTS = {"a.txt": "one two three", "b.txt": "four", "c.txt": "five six"}
WORDS = 6
SECONDS = 60


def program(page: str, name: str, folder: Path) -> Path:
    """Put a page's program into the folder."""
    (text,) = blocks(page, f"python {name}")
    path = folder / name
    path.write_text(text)
    return path


def environment(deployed: Deployed) -> dict[str, str]:
    """What `python -m local up` has people export."""
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "TRAINQ_STACK": str(deployed.stack_file)}
    return os.environ | deployed.emulator.environment() | path


def started(deployed: Deployed, *argv: str) -> subprocess.Popen[str]:
    """Start a worker in the test's folder."""
    deployed.polls.append(MAX_LONG_POLL_SECONDS)
    return subprocess.Popen(
        argv,
        cwd=deployed.folder,
        env=environment(deployed),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(worker: subprocess.Popen[str]) -> str:
    """End it as an impatient person does, with Ctrl-C again and again; return what it has said.

    One that comes when the worker has ended, and Python is about to, ends the process by the signal.
    """
    for _ in range(SECONDS):
        worker.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            said, _ = worker.communicate(timeout=1)
            assert worker.returncode in (0, -signal.SIGINT), said
            return said
    worker.kill()
    pytest.fail(f"the worker did not end within {SECONDS} s")


def test_the_commands_of_the_readme_train_in_this_order(deployed: Deployed) -> None:
    """`trainq work` runs beside the commands after it, which begin when the job has been planned."""
    program("README.md", "train.py", deployed.folder)
    (deployed.folder / "corpus").mkdir()
    for name, text in TEXTS.items():
        (deployed.folder / "corpus" / name).write_text(text)
    workers = []
    for line in lines("README.md", "sh run"):
        argv = shlex.split(line, comments=True)
        if argv[1] == "work":
            eventually(lambda: deployed.keys("runs/first/plan.json"), "the plan")
            workers.append(started(deployed, *argv))
            continue
        done = subprocess.run(
            argv, cwd=deployed.folder, env=environment(deployed), capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    (worker,) = workers
    end(worker)
    results = [json.loads(path.read_text()) for path in (deployed.folder / "results").glob("*/words.json")]
    assert len(results) == 2
    assert sum(results) == WORDS
    assert (deployed.folder / "timeline.svg").read_text().count("<svg") == 1


def test_the_python_worker_of_the_readme_trains(deployed: Deployed) -> None:
    path = program("README.md", "worker.py", deployed.folder)
    deployed.put_dataset("corpus", {name: text.encode() for name, text in TEXTS.items()})
    deployed.submit(job_id="j", dataset="datasets/corpus/", shards_per_task="all")
    worker = started(deployed, sys.executable, str(path))
    marker = "runs/j/results/0.json"
    eventually(lambda: deployed.keys(marker) or worker.poll() is not None, "a result")
    assert "waiting for tasks" in end(worker), "what it does goes to a logger"
    assert deployed.read(deployed.read(marker)["output"] + "words.json") == WORDS


def run_train(path: Path, folder: Path, shards: Path) -> int:
    """Run a program as a worker does; return the words that it has counted."""
    for name in ("output", "checkpoint"):
        (folder / name).mkdir(exist_ok=True)
    variables = {"SHARDS": shards, "OUTPUT": folder / "output", "CHECKPOINT": folder / "checkpoint"}
    found = {f"TRAINQ_{name}": str(value) for name, value in variables.items()}
    subprocess.run([sys.executable, str(path)], env=os.environ | found, check=True, timeout=SECONDS)
    return json.loads((folder / "output" / "words.json").read_text())


def test_the_resumable_program_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """It counts no shard a second time: the first has other words by then."""
    path = program("workers.md", "train_resumable.py", tmp_path)
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "a.txt").write_text("one two three")
    assert run_train(path, tmp_path, shards) == 3
    (shards / "a.txt").write_text("")
    (shards / "b.txt").write_text("four")
    assert run_train(path, tmp_path, shards) == 4
    assert [each.name for each in (tmp_path / "checkpoint").iterdir()] == ["state.json"], "none is half written"


@pytest.mark.parametrize("line", lines("contributing.md", "sh run"))
def test_the_commands_of_contributing_run(line: str) -> None:
    python, *arguments = shlex.split(line)
    assert python == "python"
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout.lower()


def test_the_test_of_a_training_function_holds(tmp_path: Path) -> None:
    path = program("workers.md", "test_train.py", tmp_path)
    subprocess.run(
        [sys.executable, str(path)], check=True, cwd=ROOT, timeout=SECONDS, env=os.environ | {"PYTHONPATH": "."}
    )


def test_nothing_is_marked_as_run_that_is_not_run_here() -> None:
    marked = {
        (page, mark)
        for page, text in PAGES.items()
        for mark in re.findall(r"^```(sh run|python \S+)$", text, re.MULTILINE)
    }
    assert marked == {
        ("README.md", "sh run"),
        ("README.md", "python train.py"),
        ("README.md", "python worker.py"),
        ("workers.md", "python train_resumable.py"),
        ("workers.md", "python test_train.py"),
        ("contributing.md", "sh run"),
    }


def test_the_example_trains_and_merges(tmp_path: Path) -> None:
    """examples/ngram as the demo runs it, on two tasks' shards; the merged counts are those of one run over both."""
    sys.path.insert(0, str(ROOT / "examples" / "ngram"))
    import ngram

    texts = ["abcabc", "abcd\n"]
    parameters = tmp_path / "parameters.json"
    parameters.write_text('{"order": 2}')
    for number, text in enumerate(texts):
        shards, output = tmp_path / f"shards-{number}", tmp_path / "results" / str(number)
        shards.mkdir()
        output.mkdir(parents=True)
        (shards / "text").write_text(text)
        variables = {"TRAINQ_SHARDS": shards, "TRAINQ_PARAMETERS": parameters, "TRAINQ_OUTPUT": output}
        command = [sys.executable, "examples/ngram/train.py"]
        subprocess.run(command, cwd=ROOT, env={key: str(path) for key, path in variables.items()}, check=True)
    merge = [sys.executable, "examples/ngram/merge.py", str(tmp_path / "results"), str(tmp_path / "model.json")]
    subprocess.run(merge, cwd=ROOT, check=True, capture_output=True)
    merged = ngram.load(tmp_path / "model.json")
    assert merged == ngram.count(texts[0], 2) + ngram.count(texts[1], 2)
    assert merged["abc"] == 3
    assert ngram.Model(merged, 2).sample(50, seed=1) == ngram.Model(merged, 2).sample(50, seed=1)
