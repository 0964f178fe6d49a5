"""The package as people install it: from a wheel, into an environment of its own."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from local.program import ROOT
from tests.helpers.deployed import Deployed
from tests.helpers.waiting import DEADLINE_SECONDS
from tests.helpers.working import dispatch
from trainq.protocol import layout

# They share an environment.
pytestmark = pytest.mark.xdist_group("wheel")

IMPORT_ALL = """
import importlib, pkgutil, trainq
names = [each.name for each in pkgutil.walk_packages(trainq.__path__, "trainq.")]
for name in names:
    name.endswith("__main__") or importlib.import_module(name)
print(trainq.__file__, *names, sep="\\n")
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what it depends on is lent from this one, without the checkout's `trainq`."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: setuptools keeps what it has built beside the sources, and would put modules in that are gone from there.
    shutil.copytree(ROOT / "trainq", folder / "source" / "trainq", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*build, "--wheel-dir", str(folder), "./source"], check=True, cwd=folder, timeout=5 * DEADLINE_SECONDS
    )
    (wheel,) = folder.glob("trainq-*.whl")
    made = folder / "environment"
    venv.create(made)
    (site,) = made.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(made / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True, timeout=DEADLINE_SECONDS)
    # A .pth file in a folder that a .pth file names is not read: the checkout's does not count.
    (lent,) = (each for each in sys.path if each.endswith("site-packages"))
    (site / "lent.pth").write_text(lent)
    return made


def run(environment: Path, *arguments: str, variables: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(environment / "bin" / arguments[0]), *arguments[1:]],
        cwd=environment,
        env={"PATH": os.environ["PATH"]} | (variables or {}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_of_the_checkout_is_in_the_wheel_and_can_be_imported(environment: Path) -> None:
    """`pyproject.toml` names no package by hand, or a new one would be dropped without a word."""
    where, *names = run(environment, "python", "-c", IMPORT_ALL).splitlines()
    assert where.startswith(str(environment))
    found = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "trainq").rglob("*.py")}
    modules = {name.removesuffix("/__init__").replace("/", ".") for name in found} - {"trainq"}
    assert set(names) == modules


def test_the_command_line_and_a_worker_run_from_the_wheel(environment: Path, deployed: Deployed) -> None:
    assert "Submit training jobs" in run(environment, "trainq", "--help")
    dispatch(deployed)
    variables = deployed.emulator.environment(deployed.worker_credentials)
    work = ("trainq", "--stack", str(deployed.stack_file), "work", "--max-tasks", "1", "--poll", "1", "--", "true")
    run(environment, *work, variables=variables)
    assert deployed.keys(layout.results("j"))


def test_the_wheel_says_what_it_needs(environment: Path) -> None:
    """Nobody is lent anything elsewhere."""
    (wheel,) = environment.parent.glob("trainq-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (metadata,) = (opened.read(name).decode() for name in opened.namelist() if name.endswith("/METADATA"))
    needs = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    assert sorted(each.split(">")[0].split("<")[0] for each in needs) == ["boto3", "click", "matplotlib", "rich"]
