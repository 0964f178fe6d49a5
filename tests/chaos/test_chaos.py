"""The short form of `make chaos`."""

from local.faults import KINDS
from tests.chaos.fleet import FAULTS
from tests.chaos.run import run


def test_under_chaos_nothing_is_lost_or_counted_twice() -> None:
    """The seed is fixed here, so that a failure can be looked at again; `make chaos` takes others, and kills functions
    too, which takes half a minute each time."""
    happened = run(seed=20261121, tasks=40, faults=10, fleet=3, rate=0.03, deadline=300, kinds=FAULTS[:-1], pause=1.2)
    assert happened.keys() & set(FAULTS), "workers were struck"
    assert happened.keys() & set(KINDS), "requests failed"
