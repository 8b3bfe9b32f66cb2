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
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import record
import tyro

from openmer.cli.demo import demo_video
from openmer.media.reader import VideoReader
from openmer.media.writer import VideoWriter

if TYPE_CHECKING:
    import httpx

EVERY = 10
API = "/gradio_api"


def main(count: int = 20, engine: str = "mol-lite", seconds: float | None = None) -> None:
    """Measure and write.

    Args:
        count: number of analyses.
        engine: as on the page.
        seconds: of the demo's video from its beginning; by default all.
    """
    if importlib.util.find_spec("httpx") is None:
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
    with tempfile.TemporaryDirectory() as name, _server(Path(name)) as (process, client):
        folder = Path(name)
        rows = [_row(0, process, folder)]
        took = []
        for k in range(1, count + 1):
            start = time.perf_counter()
            _analyse(client, video, engine)
            took.append(time.perf_counter() - start)
            if k % EVERY == 0:
                rows.append(_row(k, process, folder))
    return {"rows": rows, "median_s": round(float(np.median(took)), 1)}


@contextmanager
def _server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], "httpx.Client"]]:
    import httpx  # comes with the page

    port = "7999"
    command = [sys.executable, "-m", "openmer", "serve", "--port", port]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr or ():
            if "in a browser" in line:
                break
        # Idle connections are given up before the server closes them, which it may do as the next request sets out.
        limits = httpx.Limits(keepalive_expiry=2)
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=600, limits=limits) as client:
            yield process, client
    finally:
        process.terminate()
        process.wait()


def _analyse(client: "httpx.Client", video: Path, engine: str) -> None:
    session = uuid.uuid4().hex
    with client.stream("GET", f"{API}/heartbeat/{session}") as alive:  # the open page, until its heartbeat stops
        beats = alive.iter_raw()
        next(beats)
        with video.open("rb") as file:
            (path,) = client.post(f"{API}/upload", files={"files": (video.name, file, "video/mp4")}).json()
        upload = {"path": path, "orig_name": video.name, "meta": {"_type": "gradio.FileData"}}
        asked = {"data": [upload, engine, False], "fn_index": _analyse_index(client), "session_hash": session}
        client.post(f"{API}/queue/join", json=asked).raise_for_status()
        page = ""
        with client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as events:
            for line in events.iter_lines():
                page += line
                if "process_completed" in line:
                    break
        found = re.search(r"results/[\w-]+/all\.zip", page)
        if found is None:
            raise SystemExit(f"no result: {page[-2000:]}")
        client.get(f"/{found[0]}").raise_for_status()
        beats.close()


def _analyse_index(client: "httpx.Client") -> int:
    """Which of the page's functions takes a video, an engine, and whether to explain."""
    config: dict[str, Any] = json.loads(client.get("/config").text)
    (index,) = (d["id"] for d in config["dependencies"] if len(d["inputs"]) == 3)
    return int(index)


def _row(done: int, process: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    """One row, once the end of the last session has been noticed."""
    time.sleep(3)
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident = int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024
    disk = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    row = {"analyses": done, "resident_mib": round(resident), "temporary_mb": round(disk, 2)}
    print(row, flush=True)
    return row


if __name__ == "__main__":
    tyro.cli(main)
