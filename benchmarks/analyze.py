"""Speed by stage and memory by video length of `openmer analyze`, on the demo's real sequence.

Run: python benchmarks/analyze.py [--width 400 --height 300] [--short 600] [--lengths 2000 10000]

A stage's own time is the processor time of the threads that run it, so it is the same whatever else runs. The floor is
the processor time of the whole run, shared out over the cores: no order of the same work is faster. `near_floor` is the
floor over the time that the run took; it is only worth reading on a machine that does nothing else.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import record
import tyro

from openmer import AnalyzeSettings, analyze
from openmer.cli.demo import demo_video
from openmer.face.track import FaceTracker
from openmer.media.reader import Frame, VideoReader
from openmer.media.writer import VideoWriter
from openmer.threads import cores
from openmer.video import analyze as analysis
from openmer.video import windows
from openmer.video.overlay import FlowCache, OverlayPainter
from openmer.video.regions import MotionMeter
from openmer.video.report import MomentPictures

# Name of a stage -> where the function that is timed hangs, and its name.
STAGES: dict[str, tuple[Any, str]] = {
    "find the face": (FaceTracker, "update"),
    "measure motion": (MotionMeter, "update"),
    "network": (windows, "predict_windows"),
    "keep the flow": (FlowCache, "append"),
    "draw": (OverlayPainter, "paint"),
    "encode": (VideoWriter, "write"),
    "key moments": (MomentPictures, "_row"),
    "report": (analysis, "write_report"),
}
FPS = Fraction(30000, 1001)


@contextmanager
def own_times() -> Iterator[Counter[str]]:
    """Processor seconds of each stage while the context is open, whichever threads run it."""
    spent: Counter[str] = Counter()
    lock = threading.Lock()

    def add(name: str, start: float) -> None:
        with lock:
            spent[name] += time.thread_time() - start

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                add(name, start)

        return run

    read = VideoReader.__iter__

    def frames(reader: VideoReader) -> Iterator[Frame]:
        iterator = read(reader)
        take = timed("read", lambda: next(iterator, None))
        yield from iter(take, None)

    with ExitStack() as stack:
        stack.enter_context(patch.object(VideoReader, "__iter__", frames))
        for name, (owner, attribute) in STAGES.items():
            stack.enter_context(patch.object(owner, attribute, timed(name, getattr(owner, attribute))))
        yield spent


def repeated(video: Path, frames: int, path: Path, width: int, height: int) -> Path:
    """The sequence forwards and backwards up to `frames` frames, so that nothing jumps, enlarged."""
    pictures = [
        np.asarray(cv2.resize(f.image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        for f in VideoReader(video)
    ]
    round_trip = pictures + pictures[-2:0:-1]
    with VideoWriter(path, width, height, FPS) as writer:
        for k in range(frames):
            writer.write(round_trip[k % len(round_trip)], float(k / FPS))
    return path


def speed(video: Path, frames: int, folder: Path, settings: AnalyzeSettings) -> dict[str, Any]:
    """Frames per second with one core and with all, and in the latter run each stage's own time and the floor."""
    seconds = {}
    for workers in (1, 0):
        with own_times() as spent:
            processor, start = time.process_time(), time.perf_counter()
            analyze(video, folder / "plain", replace(settings, workers=workers), overwrite=True)
            seconds[workers], processor = time.perf_counter() - start, time.process_time() - processor
    floor = processor / cores()
    return {
        "frames_per_s": round(frames / seconds[0], 1),
        "frames_per_s_one_core": round(frames / seconds[1], 1),
        "own_ms_a_frame": {name: round(1000 * s / frames, 2) for name, s in spent.most_common()},
        "sum_of_stages_ms_a_frame": round(1000 * sum(spent.values()) / frames, 2),
        "processor_ms_a_frame": round(1000 * processor / frames, 2),
        "floor_ms_a_frame": round(1000 * floor / frames, 2),
        "near_floor": round(floor / seconds[0], 2),
    }


def whole_command(video: Path, frames: int, out: Path, *arguments: str) -> dict[str, float]:
    """Peak memory (MB) and speed of the command in its own process, including start-up."""
    command = [sys.executable, "-m", "openmer", "analyze", str(video), "--out", str(out), *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"analyze failed on {video}")
    seconds = time.perf_counter() - start
    return {"peak_mb": round(usage.ru_maxrss / 1024, 1), "frames_per_s": round(frames / seconds, 1)}


def main(short: int = 600, lengths: tuple[int, ...] = (2_000, 10_000), width: int = 400, height: int = 300) -> None:
    """Measure and write.

    Args:
        short: frames of the video used to time stages.
        lengths: frames of the videos used to measure memory.
        width: of the pictures, an even number.
        height: of the pictures, an even number.
    """
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = repeated(demo_video(), short, folder / "short.mp4", width, height)
        analyze(long, folder / "warm", AnalyzeSettings(end_s=1))
        figures["with_overlay"] = speed(long, short, folder, AnalyzeSettings())
        figures["without_overlay"] = speed(long, short, folder, AnalyzeSettings(overlay=False))
        figures["by_length"] = {}
        for frames in lengths:
            video = repeated(demo_video(), frames, folder / f"{frames}.mp4", width, height)
            figures["by_length"][str(frames)] = whole_command(video, frames, folder / f"out{frames}")
            print(frames, figures["by_length"])
    print(figures)
    record.write(
        "analyze", {"video": f"carphone enlarged to {width}x{height}, 30 fps, there and back", "flow": "dis"}, figures
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
