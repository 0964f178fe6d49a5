"""The README says what the program does: tables, commands and names in it are compared with the program."""

import ast
import json
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest

import settings_types
from local.program import ROOT
from local.standins import fake_stack
from settings import Settings
from tests.helpers.recordings import Recording
from trainq.cli import trainq
from trainq.protocol.messages import Job, Task
from trainq.worker.training import TrainingTask

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def section(title: str) -> str:
    """The text under a heading, up to the next of the same rank."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of the table in a text, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def blocks(language: str = "", text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def settings_table() -> str:
    """The README's table of settings, as it should be."""
    lines = ["| setting | default | allowed | why |", "| --- | --- | --- | --- |"]
    for field in fields(Settings):
        default = json.dumps(settings_types.shown(field.default))
        lines.append(f"| `{field.name}` | `{default}` | {field.metadata['allowed']} | {field.metadata['why']} |")
    return "\n".join(lines)


def test_the_table_of_settings_is_the_programs() -> None:
    assert settings_table() in section("Settings"), f"README.md should have:\n{settings_table()}"


def test_the_table_of_outputs_is_the_programs(dev: Recording) -> None:
    exported = re.findall(r'^pulumi\.export\("(\w+)"', (ROOT / "__main__.py").read_text(), re.MULTILINE)
    assert set(exported) == set(dev.outputs)
    assert [row[0] for row in rows(section("Outputs"))] == [f"`{name}`" for name in exported]


def test_the_messages_shown_are_accepted_and_their_fields_explained() -> None:
    job, task = (json.loads(block) for block in blocks("json"))
    assert Job.from_dict(job).grid_points == 2
    assert Task.from_dict(task).to_dict() == task
    explained = [row[0] for row in rows(section("The two messages"))]
    assert explained == [f"`{field.name}`" for field in fields(Job)]


def shown(text: str) -> list[str]:
    """The lines of a document's blocks that are trainq commands."""
    lines = [line for block in blocks(text=text) for line in block.splitlines() if line.startswith("trainq ")]
    return [line for line in lines if "─▶" not in line]


@pytest.mark.parametrize("text", [README, OPERATIONS], ids=["README", "operations"])
def test_every_trainq_command_shown_exists_with_its_options(text: str) -> None:
    assert len(shown(text)) >= 5
    for line in shown(text):
        _, name, *arguments = shlex.split(line)
        command = trainq.commands[name]
        try:
            while isinstance(command, click.Group):
                name, *arguments = arguments
                command = command.commands[name]
            command.make_context(name, arguments, resilient_parsing=False)
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")


def test_the_runbook_names_only_what_exists() -> None:
    """Commands within sentences, settings, outputs, alarms, and links within the document and to others."""
    assert set(re.findall(r"`trainq ([a-z-]+)", OPERATIONS)) <= set(trainq.commands)
    configured = re.findall(r"pulumi config set ([a-z_]+) ", OPERATIONS)
    assert set(configured) <= {field.name for field in fields(Settings)}
    assert len(configured) > 5
    exported = re.findall(r'^pulumi\.export\("(\w+)"', (ROOT / "__main__.py").read_text(), re.MULTILINE)
    assert set(re.findall(r"pulumi stack output (\w+)", OPERATIONS)) <= set(exported)
    for name, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", OPERATIONS):
        text = (ROOT / "docs" / name).read_text() if name else OPERATIONS
        assert not anchor or anchor in anchors(text), f"{name}#{anchor}"


def anchors(text: str) -> set[str]:
    """What GitHub makes of headings."""
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)
    }


def test_the_runbook_says_what_to_do_about_each_alarm(dev: Recording) -> None:
    assert set(dev.all(":MetricAlarm")) == {
        name for row in rows(OPERATIONS.split("\n## ")[0]) for name in re.findall(r"`([\w-]+)`", row[0])
    }


def test_a_fleet_can_be_scaled_by_what_the_dashboard_shows(dev: Recording) -> None:
    """The runbook's policy for an Auto Scaling group has the dashboard's formula, of the same metrics."""
    (policy,) = (json.loads(each) for each in blocks("json", OPERATIONS) if "TargetValue" in each)
    widgets = json.loads(dev.inputs(":Dashboard")["dashboardBody"])["widgets"]
    (graph,) = (each["properties"] for each in widgets if each["properties"].get("title") == "Backlog per worker")
    formula, *metrics = graph["metrics"]
    given = {each["Id"]: each for each in policy["CustomizedMetricSpecification"]["Metrics"]}
    assert given.pop(formula[0]["id"])["Expression"] == formula[0]["expression"]
    assert {name: each["MetricStat"]["Metric"]["MetricName"] for name, each in given.items()} == {
        metric[-1]["id"]: metric[1] for metric in metrics
    }
    assert {each["MetricStat"]["Stat"] for each in given.values()} == {graph["stat"]}


def test_every_command_of_the_command_line_is_explained_and_exists() -> None:
    explained = re.findall(r"(?:`|^)trainq ([a-z-]+)", README, re.MULTILINE)
    assert set(trainq.commands) <= set(explained)
    assert set(explained) <= {*trainq.commands, "--help"}


def test_every_make_target_shown_exists() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = set(re.findall(r"\bmake (\w+)$", "\n".join(blocks()), re.MULTILINE)) | set(
        re.findall(r"`make (\w+)`", README)
    )
    assert {"demo", "test"} <= shown <= set(targets)


def test_every_file_named_exists() -> None:
    named = re.findall(r"`([\w./]+\.(?:py|yaml|json|md)|\w+/)`", README) + re.findall(r"\]\(([\w./-]+)\)", README)
    elsewhere = {"stack.json", "datasets/", "runs/JOB/results/TASK.json"}
    missing = [name for name in named if name not in elsewhere and not (ROOT / name).exists()]
    assert not missing
    assert len(named) > 10


def test_the_environment_of_a_command_is_the_one_explained() -> None:
    explained = set(
        re.findall(r"`(TRAINQ_\w+)`", " ".join(row[0] for row in rows(section("Writing a training command"))))
    )
    set_by = set(re.findall(r'"(TRAINQ_\w+)"', (ROOT / "trainq" / "machine" / "command.py").read_text()))
    assert explained == set_by


def test_the_python_example_trains(tmp_path: Path) -> None:
    """Its function on a task, and its last line as far as the stack's file."""
    (example,) = blocks("python")
    program = ast.parse(example)
    run = program.body.pop()
    assert ast.unparse(program.body.pop()).startswith("logging.basicConfig(")
    space: dict = {}
    exec(compile(program, "README.md", "exec"), space)
    task = TrainingTask("j", 0, 1, {}, tmp_path)
    task.shards.mkdir()
    (task.shards / "a").write_text("abc")
    space["train"](task)
    assert json.loads((task.output / "sizes.json").read_text()) == [3]
    ran = []
    space |= {"Stack": type("S", (), {"load": lambda path: fake_stack(None, None)})}
    space |= {"Worker": lambda stack, train: type("W", (), {"run": lambda self: ran.append(train)})()}
    exec(compile(ast.Module([run], []), "README.md", "exec"), space)
    assert ran == [space["train"]]


def test_the_example_trains_and_merges(tmp_path: Path) -> None:
    """examples/ngram as the README runs it, on two tasks' shards; the merged counts are those of one run over both."""
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
        environment = {"TRAINQ_SHARDS": shards, "TRAINQ_PARAMETERS": parameters, "TRAINQ_OUTPUT": output}
        command = [sys.executable, "examples/ngram/train.py"]
        subprocess.run(command, cwd=ROOT, env={key: str(path) for key, path in environment.items()}, check=True)
    merge = [sys.executable, "examples/ngram/merge.py", str(tmp_path / "results"), str(tmp_path / "model.json")]
    subprocess.run(merge, cwd=ROOT, check=True, capture_output=True)
    merged = ngram.load(tmp_path / "model.json")
    assert merged == ngram.count(texts[0], 2) + ngram.count(texts[1], 2)
    assert merged["abc"] == 3
    assert ngram.Model(merged, 2).sample(50, seed=1) == ngram.Model(merged, 2).sample(50, seed=1)
