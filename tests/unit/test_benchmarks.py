"""The committed figures agree with each other, and what computes them is right; no test depends on how fast it is."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import program, record
from benchmarks.figures import at_least_shown, at_most_shown, longest_chain, ratio, slope, summary
from benchmarks.growth import REQUEST_SECONDS, million_seconds
from benchmarks.report import readme, report
from benchmarks.requests import Trace
from benchmarks.tables import TABLES, table
from benchmarks.targets import Target, targets, verdicts
from local.program import ROOT
from local.requestlog import PATH, logged
from local.standins import CountingSqs, LargeS3
from tests.helpers.dispatching import dispatcher
from tests.helpers.recordings import Recording
from trainq.protocol import messages

RESULTS = record.load()


def test_the_committed_report_is_that_of_the_committed_results() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    assert record.with_generated(text, report(RESULTS)) == text, "run: venv/bin/python -m benchmarks report"


def test_the_readmes_figures_are_those_of_the_committed_results() -> None:
    text = (ROOT / "README.md").read_text()
    assert record.with_generated(text, readme(RESULTS)) == text, "run: venv/bin/python -m benchmarks report"
    assert len(readme(RESULTS).splitlines()) == 2 + 3


def test_all_benchmarks_are_in_the_committed_results() -> None:
    assert list(RESULTS["benchmarks"]) == list(TABLES)
    for name, found in RESULTS["benchmarks"].items():
        assert found["command"].startswith(f"python -m benchmarks run {name}")
    assert len(list(targets(RESULTS["benchmarks"]))) >= 17, "each target of the issue has its row"


def test_the_committed_picture_shows_the_committed_results() -> None:
    shown = (ROOT / "docs/performance.svg").read_text()
    for each in RESULTS["benchmarks"]["worker"]["contestants"].values():
        assert f">{each['tasks_per_second']['median']:,.0f}<" in shown


def test_the_same_results_give_the_same_picture(tmp_path: Path) -> None:
    # Takes a second to import, in each process that collects tests.
    from benchmarks import plot

    for name in ("one", "two"):
        plot.draw(RESULTS, tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    for kind in ("svg", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_what_is_generated_replaces_what_was_and_nothing_else() -> None:
    text = f"before\n{record.BEGIN}\nold\n{record.END}\nafter"
    assert record.with_generated(text, "new") == f"before\n{record.BEGIN}\n\nnew\n\n{record.END}\nafter"


def test_what_is_kept_has_six_digits() -> None:
    assert record.rounded({"a": [1.23456789, 2, "x"], "b": 1234567.8}) == {"a": [1.23457, 2, "x"], "b": 1234570.0}


def test_no_figure_is_rounded_in_our_favour() -> None:
    assert at_most_shown(1.999) == 1.99
    assert at_least_shown(1.001) == 1.01
    assert at_most_shown(0.85) == at_least_shown(0.85) == 0.85, "what is exact stays so"


def test_rates_are_compared_round_by_round() -> None:
    """So a round in which the machine was busy does not count against one side: here each is twice as fast."""
    assert ratio([200, 20, 400], [100, 10, 200]) == 2
    assert summary([3, 1, 2]) == {"median": 2, "low": 1, "high": 3, "all": [3, 1, 2]}
    assert slope([10, 1000], [1, 100]) == pytest.approx(1)


def test_a_target_is_met_at_its_limit_and_says_by_how_much_it_is_missed() -> None:
    """The share is rounded up, also where the shown value would look like the limit."""

    def said(value: float, limit: float, at_least: bool) -> tuple[str, str]:
        target = Target("b", "what", limit, lambda found: found["value"], at_least)
        return target.shown({"value": value}), target.verdict({"value": value})

    assert said(0.85, 0.85, True) == ("0.85", "met")
    assert said(0.8499, 0.85, True) == ("0.84", "**missed by 1%**")
    assert said(1.0, 2.0, True) == ("1.00", "**missed by 50%**")
    assert said(2.0, 2.0, False) == ("2.00", "met")
    assert said(3.0, 2.0, False) == ("3.00", "**missed by 50%**")
    assert said(0.0, 0.0, False)[1] == "met"
    assert said(0.1, 0.0, False)[1] == "**missed by 0.1**"


def test_trainq_is_measured_against_one_bare_loop_and_against_several_at_once() -> None:
    """Of the loop that waits for each answer and the one with as many in flight, whichever is harder on us."""
    rates = {"trainq, prefetch 10": 80, "bare loop": 100, "bare loop, 3 in flight": 160, "Celery solo, S3 results": 40}
    found = {
        "in_flight": 3,
        "contestants": {
            name: {"tasks_per_second": summary([rate]), "sqs_requests_per_task": 0.3, "heartbeats": 0}
            for name, rate in rates.items()
        },
    }
    reached = {what: (value, verdict) for what, _, value, verdict in verdicts({"worker": found})}
    assert reached["short tasks: of the bare loop"] == ("0.80", "**missed by 6%**")
    assert reached["short tasks: of the bare loop, 3 in flight"] == ("0.50", "**missed by 42%**")
    assert reached["short tasks: Celery with S3 results"] == ("2.00 x", "met")


def test_a_table_has_its_head_and_rows() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


TRACE = Trace.of(
    [
        [1.0, 3.5, "sqs:ReceiveMessage"],
        [2.0, 4.0, "s3:PUT"],
        [3.0, 5.0, "s3:PUT"],
        [5.0, 6.0, "sqs:DeleteMessageBatch"],
        [7.0, None, "sqs:ReceiveMessage"],
    ]
)


def test_a_run_lasts_from_its_first_receive_to_its_last_effect() -> None:
    """The receive that waits for more is not part of it."""
    assert TRACE.first("sqs:ReceiveMessage") == 1.0
    assert TRACE.last("s3:PUT", "sqs:DeleteMessageBatch") == 6.0
    assert TRACE.between(1.0, 6.0).per_task(2) == {
        "s3:PUT": 1.0,
        "sqs:DeleteMessageBatch": 0.5,
        "sqs:ReceiveMessage": 0.5,
    }


def test_requests_are_in_flight_together_if_they_overlap() -> None:
    """One that begins as another ends is not; and a receive that waits does not count."""
    assert TRACE.most_in_flight() == 2
    assert Trace([]).most_in_flight() == 0


def test_the_longest_chain_counts_resources_and_goes_through_components() -> None:
    depends_on = {
        "queue": [],
        "role": [],
        "component": ["role"],
        "function": ["component", "queue"],
        "trigger": ["function"],
    }
    counted = set(depends_on) - {"component"}
    assert longest_chain(depends_on, counted) == ["role", "function", "trigger"]


def test_the_programs_longest_chain_is_short(dev: Recording) -> None:
    """It bounds `pulumi up`, which makes one after the other."""
    found = program.chain(dev.resources)
    assert 3 <= len(found) <= 6, found


def test_the_stand_ins_page_and_count_as_aws_does() -> None:
    s3, sqs = LargeS3("datasets/d/", 2_345), CountingSqs()
    job = messages.Job(job_id="j", dataset="datasets/d/")
    assert dispatcher(s3, sqs).dispatch(job) == 2_345
    assert s3.requests["LIST"] == 3
    assert sqs.counted() == (235, 2_345)


def test_a_million_takes_as_long_as_what_takes_longest() -> None:
    """Answers or computing, whichever is more; listing comes before either."""
    requests, listing = {"LIST": 10, "SendMessageBatch": 1_600}, 10 * REQUEST_SECONDS
    assert million_seconds(requests, 0.5, in_flight=16) == pytest.approx(listing + 1.0)
    assert million_seconds(requests, 0.5, in_flight=16, share=0.25) == pytest.approx(listing + 2.0)
    slow = million_seconds(requests, 0.5, in_flight=16, send=0.01, page=0.1)
    assert slow == pytest.approx(listing + 0.5 + 16 + 1)


def test_requests_are_told_apart_by_service_and_action_in_either_of_sqs_protocols() -> None:
    log = requests_of(
        [
            ("POST", "/", {"x-amz-target": "AmazonSQS.ReceiveMessage", "authorization": signed("sqs")}, b"{}"),
            ("POST", "/0/q", {"authorization": signed("sqs")}, b"Version=2012-11-05&Action=SendMessage"),
            ("PUT", "/b/key", {"authorization": signed("s3")}, b"body&Action=none"),
            ("GET", "/b?list-type=2", {"authorization": signed("s3")}, b""),
            ("GET", "/b/key", {"authorization": signed("s3"), "user-agent": "Boto3 onlooker"}, b""),
        ]
    )
    assert [what for _, _, what in log] == ["sqs:ReceiveMessage", "sqs:SendMessage", "s3:PUT", "s3:LIST"]
    assert all(begun <= ended for begun, ended, _ in log)


def signed(service: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host"


def requests_of(calls: list[tuple[str, str, dict[str, str], bytes]]) -> Any:
    """The log after these calls to a server that answers nothing."""
    answers: list[dict[str, Any]] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    async def ask() -> None:
        app = logged(server)
        for method, path, headers, body in [*calls, ("GET", PATH, {}, b"")]:
            plain, _, query = path.partition("?")
            named = [(name.encode(), value.encode()) for name, value in headers.items()]
            scope = {"type": "http", "method": method, "path": plain, "query_string": query.encode(), "headers": named}

            async def receive(body: bytes = body) -> dict[str, Any]:
                return {"type": "http.request", "body": body}

            await app(scope, receive, send)

    asyncio.run(ask())
    return json.loads(answers[-1]["body"])
