"""Worker processes that do not outlive the process that started them."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from typing import Any, TypeVar

from openmer.errors import OutputError

Result = TypeVar("Result")


def mapped(
    function: Callable[..., Result],
    work: Sequence[tuple[Any, ...]],
    processes: int,
    *,
    on_item: Callable[[], None],
    one_thread: bool = False,
) -> list[Result]:
    """The function's results for each item of work, in order, computed here or in several processes.

    Args:
        function: of a module, so that another process can import it.
        work: the function's arguments, one tuple per item.
        processes: 1 computes in this process.
        on_item: called here after each item.
        one_thread: see `worker_pool`.

    Raises:
        OutputError: a worker was killed.
    """
    done = []
    if processes == 1 or not work:
        for item in work:
            done.append(function(*item))
            on_item()
        return done
    with worker_pool(processes, one_thread=one_thread) as pool:
        for result in pool.map(function, *zip(*work, strict=True)):
            done.append(result)
            on_item()
    return done


@contextmanager
def worker_pool(count: int, *, one_thread: bool = False) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes (spawn: threads and GPUs do not survive a fork).

    A worker ends when its parent has died, even by SIGKILL; otherwise it would finish its task, wait for more, and hold
    its memory forever. If the parent is told to end, the workers also end at once. After an error in one of them, the
    others may finish what they have begun, which is then kept.

    Args:
        count: number of processes.
        one_thread: whether OpenCV uses only one thread in each, since together they keep all cores busy.

    Raises:
        OutputError: a worker was killed.
    """
    others = set(active_children())
    context = get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(one_thread,)) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(active_children()) - others:
                child.terminate()
            raise
        except BrokenProcessPool as error:
            raise OutputError(
                "a worker process was killed, for example because memory ran out; run the same command again, "
                "perhaps with fewer processes at once (what a store or an evaluation has finished is kept)"
            ) from error


def _begin(one_thread: bool) -> None:
    if one_thread:
        import cv2  # imported only here: not every worker needs it

        cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, name="openmer-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
