"""Worker processes that do not outlive the process that started them."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process


@contextmanager
def worker_pool(count: int, *, one_thread: bool = False) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes (spawn: threads and GPUs do not survive a fork).

    A worker ends when its parent has died, even by SIGKILL; otherwise it would finish its task, wait for more, and hold
    its memory forever. If the parent is told to end, the workers also end at once. After an error in one of them, the
    others may finish what they have begun, which is then kept.

    Args:
        count: number of processes.
        one_thread: whether OpenCV uses only one thread in each, since together they keep all cores busy.
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
