"""Many videos: whether runs that are killed lose or change anything; processor time and memory of one command.

Run: python benchmarks/many.py [--videos 200] [--kills 10] [--rate 10] [--workers 2] [--ray] [--engine classical]

Each video is the demo's real sequence (carphone), played there and back from another place of it, at the given size and
rate; the number of its frames decides what it costs. All are analysed by one command, which is killed with SIGKILL K
times, each time at a random moment after some new results were finished, and begun again: in turn the whole group of
processes, and its parent alone, whose workers must end by themselves. With --ray, all are analysed on a local Ray,
whose worker processes are killed while it runs. The last run is watched: its memory, and its processor time a video.
Some of the videos are also analysed one by one, as a loop in a shell would; all that are must give the same results.
"""

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import record
import tyro

from openmer.choices import CLASSICAL
from openmer.cli.demo import demo_video
from openmer.media.reader import VideoReader
from openmer.media.writer import VideoWriter
from openmer.threads import cores

COMPARED = ("timeline.json", "timeline.csv", "frames.csv", "windows.csv")  # the last only of a network
POLL_S = 0.2
ENDS_S = 60.0  # within which workers must have ended after their parent was killed; the machine may be busy


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


@dataclass(frozen=True)
class Videos:
    """What is analysed.

    Attributes:
        videos: how many.
        seconds: length of each.
        rate: frames a second.
        width: of a picture; height: likewise.
    """

    videos: int = 8
    seconds: float = 60
    rate: float = 30
    width: int = 400
    height: int = 300

    def write(self, folder: Path) -> list[Path]:
        """The sequence there and back, each video from another place of it, so that no two are the same."""
        folder.mkdir()
        pictures = [
            np.asarray(cv2.resize(f.image, (self.width, self.height), interpolation=cv2.INTER_CUBIC), np.uint8)
            for f in VideoReader(demo_video())
        ]
        round_trip, rate = pictures + pictures[-2:0:-1], Fraction(self.rate).limit_denominator(1001)
        paths = [folder / f"v{number:03d}.mp4" for number in range(self.videos)]
        for number, path in enumerate(paths):
            with VideoWriter(path, self.width, self.height, rate) as writer:
                for k in range(round(self.seconds * rate)):
                    writer.write(round_trip[(k + number) % len(round_trip)], float(k / rate))
        return paths


def main(
    of: Annotated[Videos, tyro.conf.arg(name="")] = Videos(),
    kills: int = 2,
    alone: int = 20,
    workers: int = 0,
    engine: str = "mol-lite",
    ray: bool = False,
    seed: int = 0,
) -> None:
    """Measure and write.

    Args:
        of: what is analysed.
        kills: how many times the run is killed.
        alone: how many of the videos are also analysed one by one.
        workers: videos at a time; 0 means one for each core.
        engine: of the analysis; the annotated video is not drawn.
        ray: analyse on a local Ray.
        seed: of the moments of the kills.
    """
    if ray and importlib.util.find_spec("ray") is None:
        sys.exit("Ray is not installed; run `pip install 'openmer[cluster]'`")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        written = of.write(root / "videos")
        workers, alone = workers or cores(), min(alone, of.videos)
        arguments = ("--no-overlay", "--engine", engine, "--workers", str(workers))
        command = Command(root / "videos", arguments, ("--executor", "ray") if ray else ())
        figures = one_by_one(
            [written[k] for k in rng.choice(of.videos, alone, replace=False)], root / "alone", arguments
        )
        killed = workers_killed if ray else run_killed
        figures |= killed(command, root / "many", rng, kills, of.videos)
        names = sorted(path.name for path in (root / "alone").iterdir())
        figures["finished"] = len(finished(root / "many"))
        figures["compared"], figures["same_results"] = len(names), same(root, names)
    print(figures)
    settings = asdict(of) | {"workers": workers, "engine": engine, "overlay": False}
    name = f"many{'-ray' if ray else ''}{'' if engine == CLASSICAL else f'-{engine}'}"
    record.write(name, settings | {"executor": "ray" if ray else "processes"}, figures)
    if not figures["same_results"] or figures["finished_results_made_again"] or figures["finished"] < of.videos:
        sys.exit("results were lost or changed")


def one_by_one(videos: list[Path], out: Path, arguments: tuple[str, ...]) -> dict[str, Any]:
    """A command for each video, with all cores."""
    before = children_s()
    for video in videos:
        words = [sys.executable, "-m", "openmer", "analyze", str(video), "--out", str(out / video.stem)]
        subprocess.run([*words, *arguments], check=True, stderr=subprocess.DEVNULL)
    return {"alone_cpu_s_per_video": round((children_s() - before) / len(videos), 2)}


def children_s() -> float:
    """Processor seconds of all processes that were begun here or by those, and have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_killed(command: Command, out: Path, rng: np.random.Generator, kills: int, videos: int) -> dict[str, Any]:
    """SIGKILL some time after results were finished; each run goes on where the last was killed, half of them to go."""
    before, again, outlived = [], 0, 0
    kept: dict[Path, int] = {}
    for kill in range(kills):
        process, start = command.start(out), time.monotonic()
        until = max(len(kept) + 1, round((kill + 1) * videos / (2 * kills)))
        while process.poll() is None and len(finished(out)) < until:
            time.sleep(POLL_S)
        took = (time.monotonic() - start) / max(1, len(finished(out)) - len(kept))
        time.sleep(float(rng.uniform(0, took)))
        group = [process.pid, *descendants(process.pid)]
        if process.poll() is not None:  # all is done, and nothing left to kill
            break
        if kill % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        outlived += alive_after(group, ENDS_S)
        again += changed(kept)
        kept = finished(out)
        before.append(len(kept))
    last = watched(command.start(out), out, videos)
    return {
        "kills": len(before),
        "finished_after_each_kill": before,
        "finished_results_made_again": again + changed(kept),
        "processes_that_outlived_a_kill": outlived,
        "left_half_written": len(list(out.glob(".*"))),
        **last,
    }


def watched(process: subprocess.Popen[bytes], out: Path, videos: int) -> dict[str, Any]:
    """Processor time of the command a video; the most memory of its parent, half way and in all, and of a worker."""
    at_first, before, early, peak, worker = len(finished(out)), children_s(), 0.0, 0.0, 0.0
    while process.poll() is None:
        peak = max(peak, peak_mb(process.pid))
        worker = max([worker, *map(peak_mb, descendants(process.pid))])
        if 2 * len(finished(out)) <= at_first + videos:
            early = peak
        time.sleep(POLL_S)
    if process.returncode:
        raise RuntimeError(f"openmer analyze failed in {out}")
    made = videos - at_first
    return {
        "last_run_videos": made,
        "last_run_cpu_s_per_video": round((children_s() - before) / made, 2) if made else None,
        "parent_peak_mb_half_way": round(early, 1),
        "parent_peak_mb": round(peak, 1),
        "largest_worker_peak_mb": round(worker, 1),
    }


def workers_killed(command: Command, out: Path, rng: np.random.Generator, kills: int, videos: int) -> dict[str, Any]:
    """SIGKILL to Ray's worker processes while they analyse; Ray starts others and gives them the videos anew."""
    process, done, before = command.start(out), 0, []
    kept: dict[Path, int] = {}
    while process.poll() is None:
        until = round((done + 1) * videos / (kills + 1))
        busy = [pid for pid in descendants(process.pid) if "ray::_analyze" in words_of(pid)]
        kept = finished(out) | kept
        if busy and done < kills and len(kept) >= until:
            time.sleep(float(rng.uniform(0, 2)))
            os.kill(int(rng.choice(busy)), signal.SIGKILL)
            done += 1
            before.append(len(kept))
        time.sleep(POLL_S)
    if process.returncode:
        raise RuntimeError("openmer analyze on Ray gave up")
    return {
        "kills": done,
        "finished_before_each_kill": before,
        "finished_results_made_again": changed(kept),
        "left_half_written": len(list(out.glob(".*"))),
    }


def alive_after(pids: list[int], seconds: float) -> int:
    """How many of these processes have not ended in this time."""
    end = time.monotonic() + seconds
    while (alive := sum(bool(words_of(pid)) for pid in pids)) and time.monotonic() < end:
        time.sleep(POLL_S)
    return alive


def finished(out: Path) -> dict[Path, int]:
    """The finished results, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("v*/timeline.json")}


def changed(kept: dict[Path, int]) -> int:
    """How many of these results are gone or were written anew."""
    return sum(not path.exists() or path.stat().st_mtime_ns != before for path, before in kept.items())


def same(root: Path, names: list[str]) -> bool:
    """Whether the results are those of one by one, byte by byte."""

    def content(file: Path) -> bytes | None:
        return file.read_bytes() if file.exists() else None

    pairs = [(root / "many" / n / f, root / "alone" / n / f) for n in names for f in COMPARED]
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
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


def words_of(pid: int) -> str:
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
