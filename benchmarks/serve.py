"""Analyses one after another through a running `openmer serve`: whether its memory or disk use grows.

Run: python benchmarks/serve.py [--count 20] [--seconds 1]

Each analysis is a separate session, like that of a user who drops a video, waits, downloads the zip and closes the
page.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import record
import tyro

from openmer.cli.demo import demo_video
from openmer.media.reader import VideoReader
from openmer.media.writer import VideoWriter

EVERY = 10
TIMEOUT_S = 600


def main(count: int = 20, engine: str = "mol-lite", seconds: float | None = None) -> None:
    """Measure and write.

    Args:
        count: number of analyses.
        engine: as on the page.
        seconds: of the demo's video from its beginning; by default all.
    """
    if importlib.util.find_spec("uvicorn") is None:
        sys.exit("the page is not installed; run `pip install 'openmer[web]'`")
    with tempfile.TemporaryDirectory() as name:
        video = demo_video() if seconds is None else _beginning(demo_video(), Path(name) / "short.mp4", seconds)
        figures = measured(video, count, engine)
    record.write("serve", {"video": demo_video().name, "seconds": seconds, "count": count, "engine": engine}, figures)


def _beginning(video: Path, out: Path, seconds: float) -> Path:
    reader = VideoReader(video, end_s=seconds)
    width, height = reader.info.width // 2 * 2, reader.info.height // 2 * 2  # H.264 takes even sides
    with VideoWriter(out, width, height, reader.info.fps or Fraction(30)) as writer:
        for frame in reader:
            writer.write(frame.image[:height, :width], frame.time_s)
    return out


def measured(video: Path, count: int, engine: str) -> dict[str, Any]:
    """Memory and leftover files after every tenth analysis, and the seconds per analysis."""
    with tempfile.TemporaryDirectory() as name, _server(Path(name)) as (process, address):
        folder = Path(name)
        rows = [_row(0, process, folder)]
        took = []
        for k in range(1, count + 1):
            start = time.perf_counter()
            _analyse(address, video, engine)
            took.append(time.perf_counter() - start)
            if k % EVERY == 0:
                rows.append(_row(k, process, folder))
    return {"rows": rows, "median_s": round(float(np.median(took)), 1)}


@contextmanager
def _server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "openmer", "serve", "--port", "7999"]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr or ():
            if "in a browser" in line:
                break
        yield process, "http://localhost:7999/"
    finally:
        process.terminate()
        process.wait()


def _analyse(address: str, video: Path, engine: str) -> None:
    def ask(path: str, data: bytes | None = None) -> bytes:
        with urlopen(Request(address + path, data), timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())

    page = f"api/sessions/{json.loads(ask('api/sessions', b''))['session']}"
    with urlopen(f"{address}{page}/events", timeout=TIMEOUT_S) as events:  # the open page, until it listens no more
        ask(f"{page}/analyse?{urlencode({'name': video.name, 'engine': engine})}", video.read_bytes())
        for line in events:
            view = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
            if view.get("state") == "done":
                found = re.search(r"results/[\w-]+/all\.zip", view["html"])
                if found is None:
                    raise SystemExit(f"no result: {view['html'][-2000:]}")
                ask(found[0])
                return
            if view.get("html") and view["state"] == "free":
                raise SystemExit(f"refused: {view['html']}")


def _row(done: int, process: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    """One row, once the end of the last session has been noticed."""
    time.sleep(8)
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    resident = int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024
    disk = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    row = {"analyses": done, "resident_mib": round(resident), "temporary_mb": round(disk, 2)}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    tyro.cli(main)
