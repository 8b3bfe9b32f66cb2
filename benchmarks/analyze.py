"""Speed by stage and memory by video length of `openmer analyze`, on the demo's real sequence.

Run: python benchmarks/analyze.py
"""

import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import record
import tyro

from openmer import AnalyzeSettings, analyze
from openmer.cli.videos import demo_video
from openmer.media.reader import VideoReader
from openmer.media.writer import VideoWriter

# Name of a stage -> the function that is timed.
STAGES = {
    "decode": ("reader.py", "_from_file"),
    "detect faces": ("detect.py", "detect"),
    "landmarks": ("detect.py", "landmarks"),
    "align": ("align.py", "warp"),
    "flow": ("flow.py", "optical_flow"),
    "head motion": ("motion.py", "head_motion"),
    "paint overlay": ("overlay.py", "paint"),
    "encode overlay": ("overlay.py", "write"),
    "report": ("report.py", "write_report"),
}
FPS = Fraction(30000, 1001)


def repeated(video: Path, frames: int, path: Path) -> Path:
    """The sequence forwards and backwards up to `frames` frames, so that nothing jumps, with even side lengths."""
    pictures = [f.image[: f.image.shape[0] // 2 * 2, : f.image.shape[1] // 2 * 2] for f in VideoReader(video)]
    round_trip = pictures + pictures[-2:0:-1]
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width, height, FPS) as writer:
        for k in range(frames):
            writer.write(round_trip[k % len(round_trip)], float(k / FPS))
    return path


def speed(video: Path, frames: int, folder: Path, settings: AnalyzeSettings) -> dict[str, Any]:
    """Frames per second, and the share of each stage."""
    start = time.perf_counter()
    analyze(video, folder / "plain", settings, overwrite=True)
    seconds = time.perf_counter() - start
    profile = cProfile.Profile()
    profile.runcall(analyze, video, folder / "plain", settings, overwrite=True)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent = {
        name: sum(v[3] for (file, _, function), v in stats.items() if file.endswith(end) and function == wanted)
        for name, (end, wanted) in STAGES.items()
    }
    return {
        "frames_per_s": round(frames / seconds, 1),
        "ms_a_frame": {name: round(1000 * s / frames, 2) for name, s in spent.items() if s > 0},
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


def main(short: int = 600, lengths: tuple[int, ...] = (2_000, 10_000)) -> None:
    """Measure and write.

    Args:
        short: frames of the video used to time stages.
        lengths: frames of the videos used to measure memory.
    """
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = repeated(demo_video(), short, folder / "short.mp4")
        analyze(long, folder / "warm", AnalyzeSettings(end_s=1))
        figures["with_overlay"] = speed(long, short, folder, AnalyzeSettings())
        figures["without_overlay"] = speed(long, short, folder, AnalyzeSettings(overlay=False))
        figures["by_length"] = {}
        for frames in lengths:
            video = repeated(demo_video(), frames, folder / f"{frames}.mp4")
            figures["by_length"][str(frames)] = whole_command(video, frames, folder / f"out{frames}")
            print(frames, figures["by_length"])
    print(figures)
    record.write("analyze", {"video": "carphone, 176x144, 30 fps, there and back", "flow": "dis"}, figures)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
