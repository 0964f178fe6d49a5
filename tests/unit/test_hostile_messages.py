"""Messages that are hostile, for their size. Growth is counted, since a second is another one on each machine."""

import json
import sys
import tracemalloc
from typing import Any

import pytest

from tests.helpers.messages import HOSTILE, JOB, TASK, numbered, refusal, refusal_of
from trainq.protocol import copies as refusals
from trainq.protocol import fields
from trainq.protocol.limits import MAX_MESSAGE_BYTES, MAX_REASON_CHARACTERS
from trainq.protocol.messages import Job, Task


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
    folders = "datasets/" + ("x" * 202 + "/") * 4
    assert not refusal(Task, json.dumps(TASK | {"shards": [folders + "x" * 203]}))
    assert "field 'shards' is" in str(refusal(Task, json.dumps(TASK | {"shards": [folders + "x" * 204]})))
    assert "field 'shards' is" in str(refusal(Task, json.dumps(TASK | {"shards": [folders + "é" * 102]})))
