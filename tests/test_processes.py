"""Workers end with whoever started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
