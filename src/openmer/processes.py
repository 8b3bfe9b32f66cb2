"""Worker processes that do not outlive whoever started them."""

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, get_context, parent_process


def worker_pool(count: int, *, one_thread: bool = False) -> ProcessPoolExecutor:
    """A pool of fresh processes (spawn: threads and GPUs do not survive a fork).

    A worker ends when its parent has died, even by SIGKILL; left alone it would finish what it does, wait for more, and
    hold its memory for ever.

    Args:
        count: of processes.
        one_thread: whether OpenCV keeps to one thread in each, where together they have all cores busy.
    """
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin, initargs=(one_thread,))


def _begin(one_thread: bool) -> None:
    if one_thread:
        import cv2  # only here: not all that runs in a worker needs it

        cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, name="openmer-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
