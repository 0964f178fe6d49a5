"""The two messages: what is accepted, and how the rest is refused."""

import json
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainq.protocol import copies as refusals
from trainq.protocol import fields
from trainq.protocol.limits import MAX_MESSAGE_BYTES, MAX_REASON_CHARACTERS
from trainq.protocol.messages import Job, MessageError, Task
from trainq.worker.task_queue import Delivery

JOB = {"job_id": "j-1", "dataset": "datasets/a/"}
TASK = {"job_id": "j-1", "task": 0, "tasks": 2, "shards": ["datasets/a/1"], "parameters": {}}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    parameters = draw(st.dictionaries(st.text(min_size=1), VALUES, max_size=3))
    names = st.text(min_size=1).filter(lambda name: name not in parameters)
    grid = draw(st.none() | st.dictionaries(names, st.lists(VALUES, min_size=1, max_size=3), max_size=3))
    split = draw(
        st.just({})
        | st.builds(lambda n: {"shards_per_task": n}, st.integers(1, 100) | st.just("all"))
        | st.builds(lambda n: {"bytes_per_task": n}, st.integers(1, 10**12))
    )
    return Job(job_id="j", dataset="datasets/d/", parameters=parameters, grid=grid, **split)


@given(jobs())
def test_a_job_survives_its_journey_as_json(job: Job) -> None:
    """What the submitter sent is what the function reads, up to defaults spelled out."""
    read = Job.from_json(job.to_json())
    read.refuse_other(job)
    assert read.to_dict() == job.to_dict()


def refusal(kind: type[Job] | type[Task], text: str) -> str | None:
    """Why the text is refused; None if it is accepted. Anything but MessageError is raised."""
    try:
        kind.from_json(text)
    except MessageError as error:
        return str(error)
    return None


@given(st.text() | VALUES.map(json.dumps))
def test_any_text_at_all_is_accepted_or_refused_with_a_reason(text: str) -> None:
    """Anybody may put anything on a queue: nothing but MessageError may come of it."""
    assert refusal(Job, text) != ""
    assert refusal(Task, text) != ""


@given(st.sampled_from(sorted(TASK)), VALUES)
def test_any_value_in_any_field_is_accepted_or_refused_by_name(name: str, value: Any) -> None:
    said = refusal(Task, json.dumps(TASK | {name: value}))
    assert said is None or repr(name) in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"job_id": ""}, "field 'job_id' is \"\": allowed is 1 to 64 of the characters"),
        ({"job_id": "x" * 65}, "field 'job_id' is"),
        ({"job_id": "../etc"}, "field 'job_id' is"),
        ({"job_id": 7}, "field 'job_id' is 7: allowed is"),
        ({"dataset": "a/"}, "field 'dataset' is \"a/\": allowed is a prefix such as 'datasets/NAME/'"),
        ({"dataset": "datasets/a"}, "field 'dataset' is"),
        ({"dataset": "datasets/../runs/"}, "field 'dataset' is"),
        ({"parameters": [1]}, "field 'parameters' is [1]: allowed is an object"),
        (
            {"grid": {"x": []}},
            "field 'grid' is {\"x\": []}: allowed is null, or an object of names and non-empty lists",
        ),
        ({"grid": {"x": 1}}, "field 'grid' is"),
        ({"shards_per_task": 0}, "field 'shards_per_task' is 0: allowed is a whole number from 1, or \"all\""),
        ({"shards_per_task": True}, "field 'shards_per_task' is true"),
        ({"shards_per_task": 1.5}, "field 'shards_per_task' is 1.5"),
        ({"bytes_per_task": -1}, "field 'bytes_per_task' is -1: allowed is a whole number of bytes from 1"),
        ({"shards_per_task": 2, "bytes_per_task": 9}, "'shards_per_task' and 'bytes_per_task' are both given"),
        ({"parameters": {"x": 1}, "grid": {"x": [1]}}, "'x' is both in 'parameters' and in 'grid'"),
        (
            {"grid": {str(n): [0] * 10 for n in range(7)}},
            "field 'grid' has at least 10,000,000 points: allowed are at most",
        ),
        ({"shard_per_task": 2}, "field 'shard_per_task' is 2: there is no such field; the fields are job_id, dataset"),
    ],
)
def test_a_wrong_job_is_refused_with_field_value_and_what_is_allowed(change: dict[str, Any], said: str) -> None:
    with pytest.raises(MessageError) as raised:
        Job.from_dict(JOB | change)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("hello", 'is not JSON (Expecting value: line 1 column 1 (char 0)); it begins with "hello"'),
        ("[]", "the message is []: allowed is a JSON object"),
        ('{"job_id": "a", "job_id": "b"}', 'has the name "job_id" twice'),
        ('{"parameters": {"x": NaN}}', "has NaN in it, which is not a JSON value"),
        ('{"parameters": {"x": 1e999}}', 'has the number "1e999" in it'),
        ("[" * 100_000, "is JSON nested too deeply"),
        ('{"parameters": {"x": ' + "9" * 5_000 + "}}", "has a whole number of 5,000 digits in it: allowed are 640"),
    ],
)
def test_what_is_no_json_object_is_refused(text: str, said: str) -> None:
    with pytest.raises(MessageError) as raised:
        Job.from_json(text)
    assert said in str(raised.value)


def test_all_wrong_fields_are_named_together() -> None:
    with pytest.raises(MessageError) as raised:
        Job.from_dict({"dataset": 1, "colour": "red"})
    for name in ("dataset", "colour", "job_id"):
        assert f"field {name!r}" in str(raised.value)


@pytest.mark.parametrize(
    "shard", ["datasets/a/../b", "datasets/a//b", "/etc/passwd", "runs/j/plan.json", "datasets/./a"]
)
def test_a_task_names_no_shard_outside_of_datasets(shard: str) -> None:
    """A worker turns keys into paths."""
    with pytest.raises(MessageError, match="field 'shards' is"):
        Task.from_dict(TASK | {"shards": [shard]})


def test_a_tasks_number_is_below_the_number_of_tasks() -> None:
    with pytest.raises(MessageError, match="field 'task' is 2: allowed is a whole number below 'tasks'"):
        Task.from_dict(TASK | {"task": 2})


def test_a_job_is_the_same_with_its_defaults_spelled_out_and_in_any_order() -> None:
    job = Job.from_dict({**JOB, "parameters": {"a": 1, "b": 2}})
    job.refuse_other(Job.from_dict({"parameters": {"b": 2, "a": 1}, "shards_per_task": 1, "grid": None, **JOB}))


@pytest.mark.parametrize("other", [{"parameters": {"a": 1.0}}, {"parameters": {"a": True}}, {"shards_per_task": 2}])
def test_a_job_with_other_content_under_the_same_id_is_refused_by_field(other: dict[str, Any]) -> None:
    job = Job.from_dict({**JOB, "parameters": {"a": 1}})
    with pytest.raises(MessageError, match="a job with other content has") as raised:
        job.refuse_other(Job.from_dict({**JOB, "parameters": {"a": 1}} | other))
    assert next(iter(other)) in str(raised.value)


# What is hostile, for its size. Growth is counted, since a second is another one on each machine.


def job_with(**fields: Any) -> str:
    return json.dumps(JOB | fields)


def numbered(count: int, value: Any) -> dict[str, Any]:
    return {f"{number:06}": value for number in range(count)}


HOSTILE: dict[str, Callable[[int], str]] = {
    "unknown fields": lambda n: json.dumps(numbered(n, 0)),
    "unknown fields with long names": lambda n: job_with(**{f"{number:0500}": 0 for number in range(n // 40)}),
    "an unknown field with a long name": lambda n: job_with(**{"x" * 16 * n: 0}),
    "an unknown field with a long text": lambda n: job_with(x="y" * 16 * n),
    "an unknown field with a long list": lambda n: job_with(x=[0] * 5 * n),
    "a wrong field with much in it": lambda n: job_with(grid=numbered(n, 0)),
    "names in parameters and in grid": lambda n: job_with(parameters=numbered(n, 0), grid=numbered(n, [0])),
    "a grid of two to the power of many": lambda n: job_with(grid=numbered(n, [0, 0])),
    "a long dataset": lambda n: job_with(dataset="datasets/" + "a/" * 8 * n),
    "a name twice": lambda n: "{" + ",".join(f'"{number:06}":0' for number in [*range(n), n - 1]) + "}",
    "lists in lists": lambda n: job_with(parameters={"x": json.loads("[" * 300 + "]" * 300)})[:-1] + " " * n + "}",
    "a list of the whole length": lambda n: "[" + "0," * 8 * n + "0]",
    "no JSON": lambda n: "x" * 16 * n,
    "a text without an end": lambda n: '{"job_id": "' + "x" * 16 * n,
    "a whole number without an end": lambda n: '{"parameters": {"x": ' + "1" * 16 * n + "}}",
    "an infinite number": lambda n: '{"parameters": {"x": ' + "1" * 16 * n + ".0}}",
}


def calls(text: str) -> int:
    """How many functions are called until the text is refused, built-in ones counted too."""
    count = 0

    def counting(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        refusal_of(text)
    finally:
        sys.setprofile(None)
    return count


def peak(text: str) -> int:
    """The most bytes that are in use until the text is refused."""
    tracemalloc.start()
    try:
        refusal_of(text)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refusal_of(text: str) -> str:
    said = refusal(Job, text)
    assert said is not None
    return said


@pytest.mark.parametrize("kind", HOSTILE)
def test_however_much_is_wrong_with_a_message_its_reason_has_a_limit(kind: str) -> None:
    """It goes into a line of a log and into an attribute: 1 MB of unknown fields made one of 14 MB."""
    text = HOSTILE[kind](40_000)
    assert len(text) > MAX_MESSAGE_BYTES / 32
    said = refusal_of(text)
    assert len(said) <= MAX_REASON_CHARACTERS
    assert refusals.reason("m", "{}", said)["reason"]["StringValue"] == said, "nothing of it is cut off there"


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_refusal_costs_grows_no_faster_than_the_message(kind: str) -> None:
    small, large = (HOSTILE[kind](size) for size in (2_000, 8_000))
    assert calls(large) <= 4.5 * calls(small) + 500
    # Dictionaries grow in steps, so that it may be more than four times as much; sixteen times is what it must not be.
    assert peak(large) <= 6 * peak(small) + 50_000
    assert peak(large) <= 50 * len(large) + 200_000


class Name(str):
    """A name that counts how often it is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_name_that_comes_twice_is_found_without_comparing_each_with_each() -> None:
    """40,000 names in 360 KB, the last of them twice, took 25 s of processor time."""
    count = 4_000
    Name.compared = 0
    names = [Name(number) for number in [*range(count), count - 1]]
    with pytest.raises(ValueError, match='has the name "3999" twice in one object'):
        fields._without_duplicates([(name, 0) for name in names])
    assert Name.compared < 10 * count


def test_a_value_is_shown_without_making_all_of_its_json() -> None:
    for value in ([0] * 1_000_000, {"x": [["y"] * 100_000] * 10}, "z" * 1_000_000):
        tracemalloc.start()
        said = fields.shown(value)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert said == json.dumps(value)[:97] + "..."
        assert used < 20_000


def test_all_known_fields_are_told_before_the_unknown_ones_of_which_there_may_be_many() -> None:
    wrong = {"job_id": 0, "dataset": 0, "parameters": 0, "grid": 0, "shards_per_task": 0, "bytes_per_task": 0}
    said = refusal_of(json.dumps(numbered(1_000, 0) | wrong))
    for name in [*wrong, "000000"]:
        assert f"field {name!r} is 0: " in said
    assert "the fields are job_id, dataset" in said
    told = said.count("there is no such field")
    assert said.endswith(f"; and {1_000 - told} more")


def nested(levels: int) -> str:
    """A job whose parameters are on so many levels, the job's own included."""
    return json.dumps(JOB)[:-1] + ', "parameters": ' + '{"x":' * (levels - 1) + "0" + "}" * (levels - 1) + "}"


def test_how_deep_a_message_may_be_nested_does_not_depend_on_who_reads_it() -> None:
    """Python gives up at other depths in each version, in its parser and in its encoder, and by what calls them."""
    deepest = Job.from_json(nested(100))
    assert Job.from_json(deepest.to_json()).to_dict() == deepest.to_dict()
    for levels in (101, 300, 900, 2_000, 100_000):
        assert "nested too deeply: allowed are 100 levels" in refusal_of(nested(levels))


def test_a_task_names_no_key_that_s3_cannot_have() -> None:
    """And none that fills logs."""
    assert not refusal(Task, json.dumps(TASK | {"shards": ["datasets/" + "x" * 1_015]}))
    assert "field 'shards' is" in str(refusal(Task, json.dumps(TASK | {"shards": ["datasets/" + "x" * 1_016]})))
    assert "field 'shards' is" in str(refusal(Task, json.dumps(TASK | {"shards": ["datasets/" + "é" * 508]})))


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "9" * 10_000])
def test_what_somebody_else_has_put_into_a_count_ends_no_worker(text: str) -> None:
    """A number of 5,000 digits was an exception where the worker receives, of every worker that received it."""
    delivery = Delivery.of(
        {
            "MessageId": "m",
            "ReceiptHandle": "r",
            "Body": "{}",
            "Attributes": {"ApproximateReceiveCount": "2"},
            "MessageAttributes": {name: {"StringValue": text} for name in ("attempts", "failures")},
        },
        received=0,
    )
    assert (delivery.attempt, delivery.failures) == (2, 1)
