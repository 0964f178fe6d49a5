"""The pages say what the program does: names, tables, commands and links in them are compared with the program."""

import errno
import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from local import reference
from local.program import ROOT
from settings import Settings
from tests.helpers.attempts import World, raising
from tests.helpers.documents import PAGES, README, anchors, blocks, lines, rows, section
from tests.helpers.recordings import Recording
from trainq.cli import trainq
from trainq.protocol import layout
from trainq.protocol.messages import Job, Task
from trainq.worker.outcome import Outcome

README_WORDS = 1_300
MARKS = {"sh run", "sh trainq", "sh make", "sh aws", "json", "text"}
MAKEFILE = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def cog_check(page: Path) -> subprocess.CompletedProcess[str]:
    """What `make lint` runs."""
    command = [sys.executable, "-m", "cogapp", "--check", "-I", ".", str(page)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_reference_is_the_programs_and_a_stale_one_is_told(tmp_path: Path) -> None:
    page = ROOT / "docs" / "reference.md"
    checked = cog_check(page)
    assert checked.returncode == 0, f"run: make docs\n{checked.stdout}{checked.stderr}"
    stale = tmp_path / "reference.md"
    stale.write_text(page.read_text().replace("| `function_memory` | `512` |", "| `function_memory` | `511` |"))
    assert cog_check(stale).returncode == 5


def test_the_reference_names_everything_that_there_is(dev: Recording) -> None:
    """So that a generator which finds nothing is not taken for one with nothing to say."""
    assert [row[0] for row in rows(section("reference.md", "Settings"))] == [f"`{f.name}`" for f in fields(Settings)]
    outputs = [row[0] for row in rows(section("reference.md", "Outputs"))]
    assert {f"`{name}`" for name in dev.outputs} <= set(outputs)
    assert {f"trainq {name}" for name in trainq.available} <= set(
        re.findall(r"^### `(.*)`$", section("reference.md", "Commands") + PAGES["reference.md"], re.MULTILINE)
    )
    assert len(rows(section("reference.md", "Events"))) > 20


def test_a_name_without_a_sentence_ends_the_generator() -> None:
    with pytest.raises(ValueError, match=r"differ in new, old$"):
        reference.explained({"old": "what was", "same": ""}, ["same", "new"])


def test_the_messages_shown_are_accepted() -> None:
    job, task = (json.loads(block) for block in blocks("reference.md", "json"))
    assert Job.from_dict(job).grid_points == 2
    assert Task.from_dict(task).to_dict() == task


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    words = len(PAGES[README.name].split())
    assert words <= README_WORDS, words
    assert {f"docs/{name}" for name in PAGES if name != README.name} <= set(links(README.name))


def links(page: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]) if not link.startswith("https://")]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (ROOT if page == README.name else ROOT / "docs") / name if name else None
        assert target is None or target.exists(), link
        assert not anchor or anchor in anchors(target.name if target else page), link


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_code_says_whether_it_is_run(page: str) -> None:
    begins = re.findall(r"^```(.*)$", PAGES[page], re.MULTILINE)[::2]
    assert {mark for mark in begins if not re.fullmatch(r"python \w+\.py", mark)} <= MARKS


@pytest.mark.parametrize("page", PAGES)
def test_what_needs_aws_is_marked_so(page: str) -> None:
    for mark in MARKS - {"sh aws", "text"}:
        assert not [line for line in lines(page, mark) if line.startswith(("pulumi ", "aws "))]


def shown(page: str) -> list[str]:
    """The trainq commands in the page's blocks."""
    return [line for mark in MARKS for line in lines(page, mark) if mark != "text" and line.startswith("trainq ")]


@pytest.mark.parametrize("page", [page for page in PAGES if shown(page)])
def test_every_trainq_command_shown_exists_with_its_options(page: str) -> None:
    for line in shown(page):
        _, name, *arguments = shlex.split(line, comments=True)
        command = trainq.load(name)
        try:
            while isinstance(command, click.Group):
                name, *arguments = arguments
                command = command.commands[name]
            command.make_context(name, arguments, resilient_parsing=False)
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES)
def test_every_name_within_a_sentence_exists(page: str) -> None:
    """Commands, settings, outputs, targets, files."""
    text = PAGES[page]
    assert set(re.findall(r"`trainq ([a-z-]+)", text)) <= set(trainq.available)
    assert set(re.findall(r"pulumi config set ([a-z_]+) ", text)) <= {field.name for field in fields(Settings)}
    assert set(re.findall(r"pulumi stack output (\w+)", text)) <= set(reference.OUTPUTS)
    assert set(re.findall(r"`make (\w+)`", text)) | {line.split()[1] for line in lines(page, "sh make")} <= set(
        MAKEFILE
    )


def test_contributors_learn_of_every_target() -> None:
    explained = re.findall(r"`make (\w+)`", PAGES["contributing.md"])
    assert set(MAKEFILE) <= set(explained)


def test_every_file_that_contributors_are_sent_to_exists() -> None:
    named = re.findall(
        r"`((?:[\w.]+/)*[\w]+\.(?:py|yaml|md)|\w[\w/]*/)`", section("contributing.md", "Where things are")
    )
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_environment_of_a_command_is_the_one_explained() -> None:
    table = section("workers.md", "Writing a training command")
    explained = set(re.findall(r"`(TRAINQ_\w+)`", " ".join(row[0] for row in rows(table))))
    set_by = set(re.findall(r'"(TRAINQ_\w+)"', (ROOT / "trainq" / "machine" / "command.py").read_text()))
    assert explained == set_by == set(re.findall(r"`(TRAINQ_\w+)`", reference.environment()))


def test_the_runbook_says_what_to_do_about_each_alarm(dev: Recording) -> None:
    assert set(dev.all(":MetricAlarm")) == {
        name for row in rows(PAGES["operations.md"].split("\n## ")[0]) for name in re.findall(r"`([\w-]+)`", row[0])
    }


def test_a_fleet_can_be_scaled_by_what_the_dashboard_shows(dev: Recording) -> None:
    """The runbook's policy for an Auto Scaling group has the dashboard's formula, of the same metrics."""
    (policy,) = (json.loads(each) for each in blocks("operations.md", "json") if "TargetValue" in each)
    widgets = json.loads(dev.inputs(":Dashboard")["dashboardBody"])["widgets"]
    (graph,) = (each["properties"] for each in widgets if each["properties"].get("title") == "Backlog per worker")
    formula, *metrics = graph["metrics"]
    given = {each["Id"]: each for each in policy["CustomizedMetricSpecification"]["Metrics"]}
    assert given.pop(formula[0]["id"])["Expression"] == formula[0]["expression"]
    assert {name: each["MetricStat"]["Metric"]["MetricName"] for name, each in given.items()} == {
        metric[-1]["id"]: metric[1] for metric in metrics
    }
    assert {each["MetricStat"]["Stat"] for each in given.values()} == {graph["stat"]}


def test_the_outcomes_of_the_page_are_the_programs() -> None:
    table = rows(section("architecture.md", "The states of an attempt"))
    assert [row[:2] for row in table] == [[each.name, f"`{each.value}`"] for each in Outcome]


def test_the_fields_of_records_are_the_ones_explained(world: Callable[..., World]) -> None:
    done, failed, full = world(), world(), world()
    done.run()
    done.attempt.record.report(done.store, "a problem")
    failed.run(raising(ValueError("no")))
    full.run(raising(OSError(errno.ENOSPC, "No space left on device")))
    written = {"results": done, "workers": done, "failures": failed, "interruptions": full}
    table = rows(section("reference.md", "Records"))
    for kind, one in written.items():
        explained = {name.strip("`") for name, kinds, _ in table if kinds == "all" or kind in kinds}
        assert [set(each) for each in one.records(f"runs/j/{kind}/")] == [explained]


def test_the_objects_of_the_page_are_the_layouts() -> None:
    own: dict[str, Any] = {"job_id": "JOB", "task": "TASK", "attempt": "ATTEMPT", "worker": "WORKER"}
    own["groups"] = layout.plan_groups("JOB", "ATTEMPT")
    # Written by earlier versions only.
    functions = [each for each in vars(layout).values() if inspect.isfunction(each) and each != layout.former_report]
    keys = [each(**{name: own[name] for name in inspect.signature(each).parameters}) for each in functions]
    named = [row[0].strip("`…") for row in rows(section("architecture.md", "What is in the bucket"))]
    assert not [key for key in [*keys, layout.DATASETS] if not any(each.startswith(key) for each in named)]
    assert set(named) - {"datasets/NAME/"} <= set(keys)


def test_every_path_of_a_test_that_a_page_names_exists() -> None:
    texts = [*PAGES.values(), (ROOT / "Makefile").read_text()]
    named = {path for text in texts for path in re.findall(r"tests/[\w/]+\.(?:py|txt|json)", text)}
    assert len(named) >= 3
    assert {path for path in named if not (ROOT / path).exists()} == set()
