"""The simulation of fair queues does as AWS documents them."""

from collections import Counter

from benchmarks.fairqueue import Job, disproportionate, finish_times


def test_a_small_job_waits_for_the_big_one_only_without_groups() -> None:
    jobs = [Job("big", 1_000, submitted=0), Job("small", 10, submitted=0.5)]
    assert finish_times(jobs, 50, grouped=True)["small"] == 2, "one task's time until workers are free, and its own"
    assert finish_times(jobs, 50, grouped=False)["small"] == 21, "all of the big job's 20 rounds, then its own"


def test_with_few_in_flight_a_group_is_noisy_by_its_share_of_the_time() -> None:
    """Fewer than 30 in flight are never too many; from the first finished tasks on, the time tells."""
    jobs = [Job("big", 1_000, submitted=0), Job("small", 4, submitted=0.5)]
    assert finish_times(jobs, 4, grouped=True)["small"] < 4
    assert finish_times(jobs, 4, grouped=False)["small"] == 251


def test_a_group_is_noisy_from_30_in_flight_or_a_tenth_of_the_time() -> None:
    """AWS's thresholds: more than 10% of what is in flight and at least 30, or more than 10% of the time."""
    nothing: Counter[str] = Counter()
    assert disproportionate(Counter(a=30, b=1), nothing) == {"a"}
    assert disproportionate(Counter(a=29, b=1), nothing) == set()
    assert disproportionate(Counter(a=30, b=270), nothing) == {"b"}
    assert disproportionate(Counter(a=1, b=1), Counter(a=10, b=90)) == {"b"}


def test_fair_queues_do_not_make_the_work_longer() -> None:
    """They only change the order: the last of all tasks is done at the same time."""
    jobs = [Job("big", 100, submitted=0), Job("small", 20, submitted=0)]
    ends = [max(finish_times(jobs, 8, grouped=grouped).values()) for grouped in (True, False)]
    assert ends == [15, 15]
    assert finish_times([Job("late", 1, submitted=5)], 2, grouped=True) == {"late": 6}
