"""The two messages: what is accepted, and how the rest is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.messages import JOB, TASK, refusal
from trainq.protocol.messages import Job, MessageError, Task

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    parameters = draw(st.dictionaries(st.text(min_size=1), VALUES, max_size=3))
    names = st.text(min_size=1).filter(lambda name: name not in parameters)
    values = st.lists(VALUES, min_size=1, max_size=3, unique_by=lambda value: json.dumps(value, sort_keys=True))
    grid = draw(st.none() | st.dictionaries(names, values, max_size=3))
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
        ({"grid": {"lr": [0.1, 0.5, 0.10]}}, "field 'grid' has 0.1 twice in 'lr': allowed is each once"),
        ({"grid": {"x": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}}, "field 'grid' has {\"a\": 1, \"b\": 2} twice in 'x'"),
        ({"grid": {"x": [1], "y": ["z"] * 3}}, "field 'grid' has \"z\" twice in 'y'"),
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


def test_values_of_different_types_are_different_points_of_a_grid() -> None:
    assert Job.from_dict(JOB | {"grid": {"x": [1, 1.0, True, "1", [1], None]}}).grid_points == 6


def test_a_grid_of_many_names_is_a_job() -> None:
    assert Job.from_dict(JOB | {"grid": {str(number): [0] for number in range(15_000)}}).grid_points == 1


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


@pytest.mark.parametrize("name", ["task", "tasks"])
@pytest.mark.parametrize("value", [-1, 10**9, 10**600])
def test_a_tasks_numbers_are_bounded(name: str, value: int) -> None:
    """They become keys, log lines and variables of commands."""
    with pytest.raises(MessageError, match=f"field '{name}' is .*: allowed is a whole number from . to 999,999,999"):
        Task.from_dict(TASK | {name: value})


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
