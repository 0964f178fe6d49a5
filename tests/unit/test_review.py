"""What reviewers rely on: the workflows, and the table of checks in docs/security.md."""

import ast
import json
import re
from typing import Any

import pytest
import yaml

from local.program import ROOT
from local.snapshot import STACKS
from tests.helpers.documents import blocks

SECURITY = (ROOT / "docs" / "security.md").read_text()


def workflow(name: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


def checks() -> list[list[str]]:
    """The rows of the table of checks: what, ids, how, tests."""
    text = SECURITY.split("## Checks that reviewers run")[1]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def test_every_check_names_a_test_that_exists() -> None:
    tests = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    rows = checks()[2:]
    assert len(rows) >= 18
    for what, *_, shown_by in rows:
        named = re.findall(r"`(\w+)`", shown_by)
        assert named, f"{what}: names no test"
        assert set(named) <= tests, f"{what}: {set(named) - tests}"


def test_every_check_of_the_list_has_a_row() -> None:
    """Ids of cdk-nag, Checkov and Security Hub that concern what this program creates."""
    ids = ["SQS2", "SQS3", "SQS4", "SQS.1", "S1", "S2", "S10", "IAM4", "IAM5", "L1", "SNS3"]
    ids += [f"CKV_AWS_{n}" for n in (18, 19, 21, 26, 27, 50, 53, 54, 55, 56, 62, 63, 66, 72, 115, 158, 168)]
    ids += [f"CKV_AWS_{n}" for n in (286, 287, 288, 289, 290, 300, 301, 338, 355, 363, 364, 379, 387)]
    ids += [f"CKV2_AWS_{n}" for n in (6, 61, 65)]
    listed = [each for row in checks()[2:] for each in row[1].split(", ")]
    assert not set(ids) - set(listed)
    assert len(listed) == len(set(listed)), "each id once"


@pytest.mark.parametrize("name", ["ci", "preview"])
def test_actions_are_pinned_by_hash_with_their_version_beside_it(name: str) -> None:
    """A tag can be moved to other code, a hash cannot."""
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_ci_runs_what_a_person_runs() -> None:
    (job,) = workflow("ci")["jobs"].values()
    assert job["steps"][-1] == {"run": "make test"}
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert workflow("ci")["permissions"] == {"contents": "read"}


def test_a_pull_request_is_previewed_for_each_stack_with_short_lived_credentials() -> None:
    (job,) = workflow("preview")["jobs"].values()
    assert set(job["strategy"]["matrix"]["stack"]) == set(STACKS) - {"local"}, "one job for each stack on AWS"
    steps = {step["uses"].split("@")[0]: step["with"] for step in job["steps"] if "uses" in step}
    assert steps["pulumi/actions"]["command"] == "preview"
    assert steps["pulumi/actions"]["comment-on-summary"] is True
    assert steps["pulumi/actions"]["stack-name"] == "${{ matrix.stack }}"
    assert steps["aws-actions/configure-aws-credentials"]["role-to-assume"] == "${{ vars.AWS_PREVIEW_ROLE_ARN }}"
    text = (ROOT / ".github" / "workflows" / "preview.yml").read_text()
    assert "aws-access-key-id" not in text
    assert "pull_request_target" not in text, "would run a fork's program with our credentials"


def test_a_pull_requests_program_runs_only_after_a_review_and_can_write_nothing() -> None:
    """The environment has reviewers, and what is in it is for its jobs alone, whatever a branch changes."""
    preview = workflow("preview")
    (job,) = preview["jobs"].values()
    assert job["environment"] == "preview"
    assert preview["permissions"] == {}
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    (trust,) = (json.loads(each) for each in blocks("operations.md", "json") if "AssumeRoleWithWebIdentity" in each)
    (statement,) = trust["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": f"repo:OWNER/REPOSITORY:environment:{job['environment']}",
        }
    }


def test_a_preview_asks_aws_for_nothing_that_needs_a_right() -> None:
    """Or its role would need a policy. Who one is, everybody may ask; the region is the provider's own."""
    program = [*ROOT.glob("*.py"), *(ROOT / "policies").glob("*.py")]
    asked = {name for path in program for name in re.findall(r"\bget_\w+_output\b", path.read_text())}
    assert asked == {"get_region_output", "get_caller_identity_output"}


def test_lint_audits_the_workflows() -> None:
    assert "\n\t$(BIN)/zizmor --offline --quiet .github\n" in (ROOT / "Makefile").read_text()
