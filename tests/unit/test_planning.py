"""From a listing to tasks and batches: nothing lost, nothing twice, balanced, the same every time."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_src import tasks as planning
from lambda_src.tasks import Shard
from trainq.protocol.limits import MAX_MESSAGE_BYTES
from trainq.protocol.messages import Job, MessageError, Task

SHARDS = st.lists(st.integers(0, 1000), min_size=1, max_size=60).map(
    lambda sizes: [Shard(f"datasets/d/{number:05}", size) for number, size in enumerate(sizes)]
)
GRIDS = st.none() | st.dictionaries(
    st.sampled_from("abc"), st.lists(st.integers(), min_size=1, max_size=3, unique=True), max_size=3
)
# Few shards a task, so that most plans have several groups, and uneven ones.
SPLITS = (
    st.just({})
    | st.builds(lambda n: {"shards_per_task": n}, st.integers(2, 7) | st.just("all"))
    | st.builds(lambda n: {"bytes_per_task": n}, st.integers(1, 3000))
)


def job(**fields: object) -> Job:
    return Job.from_dict({"job_id": "j", "dataset": "datasets/d/", "parameters": {"order": 3}, **fields})


@given(SHARDS, GRIDS, SPLITS)
def test_every_shard_is_in_exactly_one_task_for_each_point_of_the_grid(shards, grid, split) -> None:
    asked = job(grid=grid, **split)
    groups = list(planning.groups(asked, shards, len(shards)))
    tasks = [Task.from_json(body) for body in planning.messages(asked, groups, len(groups))]
    points = list(planning.grid_points(asked))
    assert len(points) == asked.grid_points
    seen = Counter((key, json.dumps(task.parameters)) for task in tasks for key in task.shards)
    wanted = Counter((shard.key, json.dumps(point)) for shard in shards for point in points)
    assert seen == wanted
    assert [task.task for task in tasks] == list(range(len(tasks)))
    assert {task.tasks for task in tasks} == {len(tasks)}
    assert all(task.shards for task in tasks), "a task without shards is no work"


def test_however_many_shards_are_split_by_number_none_is_left_out() -> None:
    """Every number of shards up to 30, and every number a task: hypothesis seldom finds uneven groups by itself."""
    uneven = 0
    for count in range(1, 31):
        shards = [Shard(f"datasets/d/{number:05}", 1) for number in range(count)]
        for per_task in range(1, count + 2):
            groups = list(planning.groups(job(shards_per_task=per_task), shards, count))
            assert [key for group in groups for key in group] == [shard.key for shard in shards], (count, per_task)
            uneven += len({len(group) for group in groups}) > 1
    assert uneven > 200


@given(SHARDS, st.integers(1, 70))
def test_groups_by_number_differ_by_at_most_one_shard(shards, per_task) -> None:
    sizes = [len(group) for group in planning.groups(job(shards_per_task=per_task), shards, len(shards))]
    assert max(sizes) <= per_task
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-len(shards) // per_task), "no more tasks than are needed"


@given(SHARDS, st.integers(1, 3000))
def test_groups_by_bytes_are_full_and_never_over(shards, limit) -> None:
    size = {shard.key: shard.size for shard in shards}
    groups = list(planning.groups(job(bytes_per_task=limit), shards, len(shards)))
    for group, following in zip(groups, [*groups[1:], None], strict=True):
        filled = sum(size[key] for key in group)
        assert filled <= limit or len(group) == 1, "only a shard that is larger than the limit may exceed it, alone"
        if following:
            assert filled + size[following[0]] > limit, "the next shard would still have fitted"


@given(SHARDS, GRIDS, SPLITS)
def test_the_same_listing_gives_the_same_plan(shards, grid, split) -> None:
    asked = job(grid=grid, **split)
    plans = [list(planning.messages(asked, planning.groups(asked, iter(shards), len(shards)), 7)) for _ in range(2)]
    assert plans[0] == plans[1]


@given(SHARDS, GRIDS, SPLITS, st.integers(0, 100))
def test_the_messages_from_any_task_on_are_the_last_of_all(shards, grid, split, begin) -> None:
    """An invocation goes on where another one stopped, with the same tasks under the same numbers."""
    asked = job(grid=grid, **split)
    groups = list(planning.groups(asked, shards, len(shards)))
    every = list(planning.messages(asked, groups, len(groups)))
    assert list(planning.messages(asked, groups, len(groups), begin)) == every[begin:]
    assert every == [Task.from_json(body).to_json() for body in every], "as a Task writes itself"


def test_all_shards_in_one_task_give_a_pure_sweep() -> None:
    asked = job(shards_per_task="all", grid={"lr": [1, 2], "seed": [3]})
    shards = [Shard("datasets/d/1", 1), Shard("datasets/d/2", 1)]
    groups = list(planning.groups(asked, shards, 2))
    tasks = [Task.from_json(body) for body in planning.messages(asked, groups, len(groups))]
    found = [(task.shards, task.parameters) for task in tasks]
    assert found == [
        (["datasets/d/1", "datasets/d/2"], {"order": 3, "lr": 1, "seed": 3}),
        (["datasets/d/1", "datasets/d/2"], {"order": 3, "lr": 2, "seed": 3}),
    ]


@given(st.lists(st.integers(1, MAX_MESSAGE_BYTES // 4), min_size=1, max_size=60))
def test_batches_are_within_what_sqs_takes_and_as_full_as_it_takes_them(sizes) -> None:
    bodies = ["x" * size for size in sizes]
    found = list(planning.batches(bodies))
    assert [len(body) for batch in found for body in batch] == sizes
    for batch, following in zip(found, [*found[1:], None], strict=True):
        assert len(batch) <= 10
        assert sum(map(len, batch)) <= MAX_MESSAGE_BYTES
        if following:
            assert len(batch) == 10 or sum(map(len, batch)) + len(following[0]) > MAX_MESSAGE_BYTES


def test_a_job_whose_largest_task_does_not_fit_into_a_message_is_refused_with_what_to_do() -> None:
    group = ["datasets/d/" + "x" * 1000] * 1040
    planning.check_size(job(), 1, group[:1000])
    with pytest.raises(MessageError, match="give it fewer shards"):
        planning.check_size(job(), 1, group)
    with pytest.raises(MessageError, match="smaller parameters"):
        planning.check_size(job(grid={"text": ["", "x" * 50_000]}), 1, group[:1000])


LONG_KEYS = 20_000


def shards_with_long_keys() -> Iterator[Shard]:
    """20 MB of keys, one after the other."""
    return (Shard(f"datasets/d/{number:01013}", 1) for number in range(LONG_KEYS))


@pytest.mark.parametrize("split", [{"shards_per_task": "all"}, {"shards_per_task": 10**9}, {"bytes_per_task": 10**12}])
def test_a_group_that_cannot_fit_into_a_message_is_refused_before_it_is_complete(split: dict[str, object]) -> None:
    """Over 150,000 such keys it took 719 MB, more than the function has, to find that out."""
    tracemalloc.start()
    with pytest.raises(MessageError) as raised:
        for _ in planning.groups(job(**split), shards_with_long_keys(), LONG_KEYS):
            pass
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 3 * MAX_MESSAGE_BYTES
    said = str(raised.value)
    assert "the largest task of this job is at least 1,033,162 bytes, with the keys of its first 1,006 shards" in said
    assert "allowed are 1,032,192 (SQS); give it fewer shards ('shards_per_task', 'bytes_per_task')" in said


@given(SHARDS, SPLITS)
def test_a_group_takes_in_a_message_what_is_counted_while_it_is_gathered(shards, split) -> None:
    for keys in planning.groups(job(**split), shards, len(shards)):
        group = planning._Group()
        for key in keys:
            group.add(key)
        assert group.size == len(planning.encode(keys)) - 1
