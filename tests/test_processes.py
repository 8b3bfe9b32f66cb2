"""Workers end with whoever started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openmer import OutputError
from openmer.processes import completed, mapped, report

PARENT = """
import sys, time
from openmer.processes import worker_pool

def busy(path):
    import os
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    with worker_pool(1, one_thread=True) as pool:
        pool.submit(busy, sys.argv[1]).result()
"""


# As `openmer` does, which clears away what is half written.
ENDS_POLITELY = "import signal, sys; signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))\n"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended and is waited for by nobody counts as ended.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _started(script: Path, said: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A parent, and the number of its worker, which is busy."""
    parent = subprocess.Popen([sys.executable, str(script), str(said)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (said.is_file() and said.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    worker = int(said.read_text())
    assert _runs(worker)
    return parent, worker


def _ends(worker: int) -> bool:
    deadline = time.monotonic() + 20
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not _runs(worker)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into Linux's /proc")
def test_a_killed_parent_leaves_no_worker_behind(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent, worker = _started(script, tmp_path / "pid")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _ends(worker)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into Linux's /proc")
def test_a_parent_that_is_told_to_end_does_not_wait_for_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(ENDS_POLITELY + PARENT)
    parent, worker = _started(script, tmp_path / "pid")
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 128 + signal.SIGTERM, "the worker sleeps for a minute"
    assert _ends(worker)


def test_a_worker_that_is_ended_is_an_error_in_a_sentence() -> None:
    with pytest.raises(OutputError, match="was killed"):
        mapped(os._exit, [(1,), (1,)], 2, on_item=lambda: None)


def test_results_come_in_the_order_of_the_work_with_one_process_and_with_two() -> None:
    counted: list[int] = []
    for processes in (1, 2):
        found = mapped(divmod, [(9, 2), (8, 3), (7, 4)], processes, on_item=lambda: counted.append(1))
        assert found == [(4, 1), (2, 2), (1, 3)] and len(counted) == 3 * processes
    assert mapped(divmod, [], 2, on_item=lambda: None) == []


def _square_but_of_2(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number * number


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_worker_loses_its_own_task_alone(processes: int) -> None:
    found = dict(completed(_square_but_of_2, [1, 2, 3, 4], processes))
    assert found == {0: 1, 1: None, 2: 9, 3: 16}


def _half_done(told: Path) -> None:
    report(0.5)
    deadline = time.monotonic() + 60
    while not told.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def test_what_tasks_report_is_added_up(tmp_path: Path) -> None:
    told = tmp_path / "told"

    def watch(share: float) -> None:
        assert share in (0.0, 0.5, 1.0), "of two tasks none, one or both are half done"
        if share == 1.0:
            told.touch()

    assert sorted(place for place, _ in completed(_half_done, [told, told], 2, watch=watch)) == [0, 1]
    assert told.exists()
    report(0.5)  # nobody asked: nothing happens
