"""Steps in threads of their own: in order, never far ahead, and what fails is raised where it belongs."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from openmer.threads import ahead, cores, read_ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order(threads: int) -> None:
    def step(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(ahead(range(20), step, threads=threads)) == [k * k for k in range(20)]
    assert list(ahead((), step, threads=threads)) == []


@pytest.mark.parametrize("threads", [0, 1])
def test_one_thread_may_keep_a_state(threads: int) -> None:
    total = 0

    def add(number: int) -> int:
        nonlocal total
        total += number
        return total

    assert list(ahead(range(100), add, threads=threads)) == [k * (k + 1) // 2 for k in range(100)]


def test_nothing_runs_far_ahead() -> None:
    """Besides the result that is looked at, two may wait and one is in work."""
    taken = []

    def items() -> Iterator[int]:
        for k in range(50):
            taken.append(k)
            yield k

    for k in ahead(items(), lambda k: k, waiting=2):
        assert len(taken) <= k + 3
    assert len(taken) == 50


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_a_failure_comes_after_the_results_before_it(threads: int) -> None:
    def step(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = ahead(range(10), step, threads=threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


@pytest.mark.parametrize("threads", [0, 1])
def test_reading_ahead_gives_the_same_items_and_the_same_failure(threads: int) -> None:
    def broken() -> Iterator[int]:
        yield from range(5)
        raise OSError("the disk is gone")

    assert list(read_ahead(range(7), threads=threads)) == list(range(7))
    items = read_ahead(broken(), threads=threads)
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_no_thread_is_left_when_the_results_are_not_wanted() -> None:
    before = threading.active_count()
    with closing(ahead(read_ahead(range(1000)), lambda k: k, threads=2)) as results:
        assert next(results) == 0 and threading.active_count() > before
    assert threading.active_count() == before


def test_there_is_a_core() -> None:
    assert cores() >= 1
