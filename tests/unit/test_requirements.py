"""What is installed from a package index: pinned, with hashes, and the same for Pulumi and for the tests."""

import re
from pathlib import Path

import pytest

from local.program import ROOT

LISTS = ("requirements.txt", "requirements-dev.txt", "requirements-bench.txt")
REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)(.*)$", re.MULTILINE)


def pins(path: Path) -> set[tuple[str, str]]:
    return {(name.lower().replace("_", "-"), version) for name, version, _ in REQUIREMENT.findall(path.read_text())}


@pytest.mark.parametrize("name", LISTS)
def test_every_release_has_the_hashes_of_its_files(name: str) -> None:
    """pip asks for hashes as soon as one requirement has one, also where Pulumi calls it."""
    text = (ROOT / name).read_text()
    releases = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "").splitlines()
    assert len(releases) == len(REQUIREMENT.findall(text)) > 10
    for release in releases:
        assert re.search(r"( +--hash=sha256:[0-9a-f]{64})+$", release), release
    assert "http" not in text, "an index is each machine's own affair"


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_what_people_have_written(name: str) -> None:
    written = pins((ROOT / name).with_suffix(".in"))
    assert written
    assert written <= pins(ROOT / name), "run: make lock"


def test_the_program_is_tested_with_what_pulumi_runs_it_with() -> None:
    assert pins(ROOT / "requirements.txt") <= pins(ROOT / "requirements-dev.txt")


@pytest.mark.parametrize("path", ["Makefile", ".github/workflows/ci.yml", ".github/workflows/preview.yml"])
def test_nothing_is_downloaded_without_a_hash(path: str) -> None:
    for line in (ROOT / path).read_text().splitlines():
        if "pip install" in line and not line.lstrip().startswith("#"):
            assert "--no-index" in line or "--require-hashes --only-binary :all:" in line, line
