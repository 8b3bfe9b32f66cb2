"""Worker processes that do not outlive the process that started them."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, connection, get_context, parent_process
from typing import Any, Literal, TypeVar

from openmer.errors import InputError, OutputError, to_install

Task = TypeVar("Task")
Result = TypeVar("Result")

Executor = Literal["processes", "ray"]

WATCH_S = 0.5  # between looks at how much is done
RETRIES = 10  # of a task on Ray whose worker died


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where several tasks run.

    Attributes:
        executor: Processes on this machine, or a Ray cluster whose machines share the folders.
        address: Address of the Ray cluster; a local one by default.
    """

    executor: Executor = "processes"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.address is not None and self.executor != "ray":
            raise InputError("--address is the address of a Ray cluster: add --executor ray")


def check_processes(processes: int) -> None:
    """For those who make a folder first.

    Raises:
        InputError: there are fewer than one.
    """
    if processes < 1:
        raise InputError(f"--processes must be at least 1, or 0 for one a core, got {processes}")


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
        InputError: there are fewer processes than one.
        OutputError: a worker was killed.
    """
    check_processes(processes)
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


def completed(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    processes: int,
    *,
    watch: Callable[[float], None] | None = None,
) -> Generator[tuple[int, Result | None], None, None]:
    """The function's results as they come, each with its task's place; a killed worker loses none of the others.

    What was in work when a worker was killed is begun again, one task at a time, to learn which one it was.

    Args:
        function: of a module, so that another process can import it; what it raises is raised here.
        tasks: its argument, once per task.
        processes: how many tasks are in work at a time.
        watch: called now and then with how much the tasks in work have reported (see `report`), added up.

    Yields:
        Place and result; None as the result of a task whose worker was killed while it alone was in work.
    """
    shares = get_context("spawn").RawArray("d", len(tasks))
    waiting, suspects = deque(range(len(tasks))), deque[int]()
    while waiting or suspects:
        queue, count = (suspects, 1) if suspects else (waiting, min(processes, len(waiting)))
        running: dict[Future[Result], int] = {}
        lost: list[int] = []
        with worker_pool(count, shares=shares) as pool:
            try:
                while queue or running:
                    while queue and len(running) < count:
                        running[pool.submit(_at_place, function, tasks[queue[0]], queue[0])] = queue[0]
                        queue.popleft()  # only now: a broken pool takes nothing
                    for future in wait(running, timeout=WATCH_S, return_when=FIRST_COMPLETED).done:
                        yield running[future], future.result()
                        del running[future]
                    if watch is not None:
                        watch(sum(shares[place] for place in running.values()))
            except BrokenProcessPool:
                lost = sorted(running.values())
        if count == 1:
            yield from ((place, None) for place in lost)
        else:
            suspects.extend(lost)


def _at_place(function: Callable[[Task], Result], task: Task, place: int) -> Result:
    _reports.place = place
    report(0.0)
    return function(task)


@dataclass
class _Reports:
    """In a worker: where it says how much of its task is done."""

    shares: Any = None
    place: int = 0


_reports = _Reports()


def report(share: float) -> None:
    """Say how much of the task in work is done, 0 to 1; to be called by a function that `completed` runs."""
    if _reports.shares is not None:
        _reports.shares[_reports.place] = share


def completed_on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, address: str | None, workers: int, gpus: int = 0
) -> Generator[tuple[int, Result | None], None, None]:
    """Like `completed`, on a Ray cluster: each task is a Ray task, and begun again if its worker dies.

    Args:
        function: as for `completed`.
        tasks: its argument, once per task.
        address: of the cluster; None begins a local one.
        workers: of a local one, how many tasks are in work at a time; 0 means one per core.
        gpus: that each task needs.

    Yields:
        Place and result; None as the result of a task whose worker died again and again.

    Raises:
        InputError: Ray is not installed.
        OutputError: Ray itself failed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(f"Ray is not installed; {to_install('cluster', 'ray')}, or omit --executor") from error
    if not tasks:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report usage to its makers
    ray.init(
        address=address,
        num_cpus=None if address else (workers or None),
        include_dashboard=False,
        log_to_driver=False,
        ignore_reinit_error=True,
    )
    try:
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(function)
        waiting = {remote.remote(task): place for place, task in enumerate(tasks)}
        while waiting:
            done, _ = ray.wait(list(waiting))
            for reference in done:
                place = waiting.pop(reference)
                result: Result | None
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                    result = None
                except ray.exceptions.RayError as error:
                    raise OutputError(f"Ray failed: {error}; run the same command again to continue") from error
                yield place, result
    finally:
        ray.shutdown()


@contextmanager
def worker_pool(count: int, *, one_thread: bool = False, shares: Any = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes (spawn: threads and GPUs do not survive a fork).

    A worker ends when its parent has died, even by SIGKILL; otherwise it would finish its task, wait for more, and hold
    its memory forever. If the parent is told to end, the workers also end at once. After an error in one of them, the
    others may finish what they have begun, which is then kept.

    Args:
        count: number of processes.
        one_thread: whether OpenCV uses only one thread in each, since together they keep all cores busy.
        shares: shared memory for what the workers report, a number for each task.

    Raises:
        OutputError: a worker was killed.
    """
    others = set(active_children())
    context = get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(one_thread, shares)) as pool:
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


def _begin(one_thread: bool, shares: Any) -> None:
    _reports.shares = shares
    if one_thread:
        import cv2  # imported only here: not every worker needs it

        cv2.setNumThreads(1)
    end_with_parent()


def end_with_parent() -> None:
    """To be called by a process that `multiprocessing` began: it ends when its parent has died, even by SIGKILL."""
    threading.Thread(target=_wait_for_parent, name="openmer-parent", daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
