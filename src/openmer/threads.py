"""A pipeline of steps, each in a thread of its own: for work whose libraries let other threads run meanwhile.

The results come in order and are the same as without threads. Nothing runs far ahead, so memory stays flat. What a
step raises is raised where its result is taken, after the results before it.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAITING = 3  # results of a step that may wait for the next step


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(
    items: Iterable[Item], step: Callable[[Item], Result], *, threads: int = 1, waiting: int = WAITING
) -> Generator[Result, None, None]:
    """`step(item)` for every item, computed ahead of whoever takes the results.

    Args:
        items: the items; they are taken by the thread that takes the results.
        step: with one thread it is called for one item after another, so it may keep a state; with more it may not.
        threads: how many run it; 0 runs it here, when a result is taken.
        waiting: how many results may wait, besides those in work.
    """
    if threads < 1:
        yield from map(step, items)
        return
    pool = ThreadPoolExecutor(threads)
    running: deque[Future[Result]] = deque()
    try:
        for item in items:
            running.append(pool.submit(step, item))
            if len(running) >= threads + waiting:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_ahead(items: Iterable[Item], *, threads: int = 1, waiting: int = WAITING) -> Generator[Item, None, None]:
    """The same items, taken in a thread of their own; `threads` is 1, or 0 for none."""
    iterator, end = iter(items), object()

    def take(_: Any) -> Any:
        return next(iterator, end)

    for item in ahead(repeat(None), take, threads=threads, waiting=waiting):
        if item is end:
            return
        yield item
