"""Many videos: time beside one after another, memory, and whether runs that are killed lose or change anything.

Run: python benchmarks/many.py [--videos 200] [--kills 10] [--workers 2] [--ray] [--engine classical]

Each video is the demo's real sequence (carphone), played there and back from another place of it, enlarged to 400x300,
at 30 frames a second, a minute long. They are analysed one by one, each with all cores, as a loop in a shell would;
then all by one command; then by one that is killed with SIGKILL K times, each time at a random moment after a new
result was finished, and begun again. With --ray, the folder is analysed on a local Ray, whose worker processes are
killed while it runs. All results must be the same.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import tyro
from analyze import FPS

from openmer.cli.demo import demo_video
from openmer.media.reader import VideoReader
from openmer.media.writer import VideoWriter
from openmer.threads import cores

WIDTH, HEIGHT = 400, 300
COMPARED = ("timeline.json", "timeline.csv", "frames.csv", "windows.csv")  # the last only of a network
POLL_S = 0.2


@dataclass(frozen=True)
class Command:
    """How a folder of videos is analysed."""

    folder: Path
    arguments: tuple[str, ...]
    more: tuple[str, ...]

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        """Begin, in a group of processes of its own."""
        words = [sys.executable, "-m", "openmer", "analyze", str(self.folder), "--out", str(out)]
        return subprocess.Popen(
            [*words, *self.arguments, *self.more], stderr=subprocess.DEVNULL, start_new_session=True
        )


def main(
    videos: int = 8,
    kills: int = 2,
    seconds: float = 60,
    workers: int = 0,
    engine: str = "mol-lite",
    ray: bool = False,
    seed: int = 0,
) -> None:
    """Measure and write.

    Args:
        videos: how many.
        kills: how many times the run is killed.
        seconds: length of each.
        workers: cores to use; 0 means all.
        engine: of the analysis; the annotated video is not drawn.
        ray: analyse on a local Ray.
        seed: of the moments of the kills.
    """
    if ray and importlib.util.find_spec("ray") is None:
        sys.exit("Ray is not installed; run `pip install 'openmer[cluster]'`")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        written = write_videos(root / "videos", videos, round(seconds * FPS))
        workers = workers or cores()
        arguments = ("--no-overlay", "--engine", engine, "--workers", str(workers))
        command = Command(root / "videos", arguments, ("--executor", "ray") if ray else ())
        start = time.perf_counter()
        for video in written:
            one = [sys.executable, "-m", "openmer", "analyze", str(video), "--out", str(root / "alone" / video.stem)]
            subprocess.run([*one, *arguments], check=True, stderr=subprocess.DEVNULL)
        figures: dict[str, Any] = {"one_after_another_s": round(time.perf_counter() - start, 1)}
        figures |= watched(command.start(root / "many"), root / "many", videos)
        killed = workers_killed if ray else run_killed
        figures |= killed(command, root / "killed", rng, kills, figures["one_command_s"] / videos)
        names = [video.stem for video in written]
        figures["same_results"] = all(same(root, names, place) for place in ("many", "killed"))
    print(figures)
    settings = {"videos": videos, "seconds": seconds, "workers": workers, "engine": engine, "overlay": False}
    record.write("many-ray" if ray else "many", settings | {"executor": "ray" if ray else "processes"}, figures)
    if not figures["same_results"] or figures["finished_results_made_again"]:
        sys.exit("results were lost or changed")


def write_videos(folder: Path, count: int, frames: int) -> list[Path]:
    """The sequence there and back, each video from another place of it, so that no two are the same."""
    folder.mkdir()
    pictures = [
        np.asarray(cv2.resize(f.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
        for f in VideoReader(demo_video())
    ]
    round_trip = pictures + pictures[-2:0:-1]
    paths = [folder / f"v{number:03d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        with VideoWriter(path, WIDTH, HEIGHT, FPS) as writer:
            for k in range(frames):
                writer.write(round_trip[(k + number) % len(round_trip)], float(k / FPS))
    return paths


def watched(process: subprocess.Popen[bytes], out: Path, videos: int) -> dict[str, Any]:
    """Time of the command, and the most memory that its parent, half way and in all, and a worker had."""
    start, early, peak, worker = time.perf_counter(), 0.0, 0.0, 0.0
    while process.poll() is None:
        peak = max(peak, peak_mb(process.pid))
        worker = max([worker, *map(peak_mb, descendants(process.pid))])
        if 2 * len(finished(out)) <= videos:
            early = peak
        time.sleep(POLL_S)
    if process.returncode:
        raise RuntimeError(f"openmer analyze failed in {out}")
    return {
        "one_command_s": round(time.perf_counter() - start, 1),
        "parent_peak_mb": round(peak, 1),
        "parent_peak_mb_until_half_was_done": round(early, 1),
        "largest_worker_peak_mb": round(worker, 1),
    }


def run_killed(command: Command, out: Path, rng: np.random.Generator, kills: int, a_video_s: float) -> dict[str, Any]:
    """SIGKILL to the whole group some time after a result was finished; each run goes on where the last was killed."""
    done, before, again, start = 0, [], 0, time.perf_counter()
    kept: dict[Path, int] = {}
    while done < kills:
        process = command.start(out)
        while process.poll() is None and len(finished(out)) == len(kept):
            time.sleep(POLL_S)
        time.sleep(float(rng.uniform(0, a_video_s)))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            done += 1
        process.wait()
        again += changed(kept)
        kept = finished(out)
        before.append(len(kept))
        if process.returncode == 0:  # all is done, and nothing left to kill
            break
    if command.start(out).wait():
        raise RuntimeError(f"openmer analyze failed in {out}")
    again += changed(kept)
    return {
        "kills": done,
        "finished_after_each_kill": before,
        "finished_results_made_again": again,
        "with_kills_s": round(time.perf_counter() - start, 1),
        "left_half_written": len(list(out.glob(".*"))),
    }


def workers_killed(
    command: Command, out: Path, rng: np.random.Generator, kills: int, a_video_s: float
) -> dict[str, Any]:
    """SIGKILL to Ray's worker processes while they analyse; Ray starts others and gives them the videos anew."""
    process, done, start = command.start(out), 0, time.perf_counter()
    kept: dict[Path, int] = {}
    while done < kills and process.poll() is None:
        time.sleep(float(rng.uniform(1, max(2, a_video_s))))
        busy = [pid for pid in descendants(process.pid) if "ray::_analyze" in words_of(pid)]
        kept |= {path: at for path, at in finished(out).items() if path not in kept}
        if busy:
            os.kill(int(rng.choice(busy)), signal.SIGKILL)
            done += 1
    if process.wait():
        raise RuntimeError("openmer analyze on Ray gave up")
    seconds = round(time.perf_counter() - start, 1)
    return {"kills": done, "finished_results_made_again": changed(kept), "with_kills_s": seconds}


def finished(out: Path) -> dict[Path, int]:
    """The finished results, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("v*/timeline.json")}


def changed(kept: dict[Path, int]) -> int:
    """How many of these results are gone or were written anew."""
    return sum(not path.exists() or path.stat().st_mtime_ns != before for path, before in kept.items())


def same(root: Path, names: list[str], place: str) -> bool:
    """Whether the results are those of one by one, byte by byte."""

    def content(file: Path) -> bytes | None:
        return file.read_bytes() if file.exists() else None

    pairs = [(root / place / n / f, root / "alone" / n / f) for n in names for f in COMPARED]
    return all(content(here) == content(there) for here, there in pairs)


def descendants(pid: int) -> list[int]:
    """The processes that this one began, and those that they began."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


def peak_mb(pid: int) -> float:
    """The most resident memory that a process has had, in millions of bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


def words_of(pid: int) -> str:
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
