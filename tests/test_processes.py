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


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended and is waited for by nobody counts as ended.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into Linux's /proc")
def test_a_killed_parent_leaves_no_worker_behind(tmp_path: Path) -> None:
    script, said = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), str(said)])
    deadline = time.monotonic() + 60
    while not (said.is_file() and said.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    worker = int(said.read_text())
    assert _runs(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(worker)
