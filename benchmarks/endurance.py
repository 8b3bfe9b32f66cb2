"""Memory and open files over a thousand clips, and two processes filling one store at the same time.

Run: python benchmarks/endurance.py [--clips 1000]

A few simulated recordings are written once as pictures; each clip is then a separate recording in samples.csv, read,
prepared and stored as `openmer prepare folder` does, read back and judged by the shipped network.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import torch
import tyro

from openmer.clips.store import ClipStore
from openmer.clips.transforms import evaluation_input
from openmer.datasets.folder import FolderDataset
from openmer.datasets.prepare import prepare
from openmer.datasets.settings import PrepareSettings
from openmer.models.weights import load_model
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import RecordingSettings

FILMS = 4
FRAMES = 8
SETTINGS = PrepareSettings(flow="dis", sampling="uniform")


def now() -> dict[str, float]:
    """Resident memory, its peak, and open files of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return {
        "rss_mb": round(pages * resource.getpagesize() / 1e6, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
        "open_files": len(list(Path("/proc/self/fd").iterdir())),
    }


def films(root: Path) -> list[Path]:
    """Folders of pictures of simulated faces."""
    folders = []
    for number in range(FILMS):
        recording, _ = draw_recording(
            (6, number, 0), draw_person((6, number)), "surprise", RecordingSettings(fps=100, size=200)
        )
        folder = root / f"film{number}"
        folder.mkdir(parents=True)
        for k, frame in enumerate(np.linspace(0, len(recording) - 1, FRAMES).astype(int)):
            picture = cv2.cvtColor(recording.image(int(frame)), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"img{k:03d}.png"), picture)
        folders.append(folder)
    return folders


def dataset(root: Path, clips: int) -> Path:
    """A samples.csv with this many recordings of a few films."""
    names = [folder.name for folder in films(root)]
    rows = [f"s{k % 20},v{k:04d},{names[k % FILMS]},100,surprise" for k in range(clips)]
    (root / "samples.csv").write_text("\n".join(["subject,sample,source,fps,label", *rows, ""]))
    return root


def endure(root: Path, clips: int) -> dict[str, Any]:
    """Prepare, store, read back and judge one clip after another."""
    samples = FolderDataset(dataset(root / "data", clips)).samples
    model = load_model("mol-lite")
    marks = {1, 2, *(round(clips * share) for share in (0.1, 0.5, 1.0))}  # what is loaded only once is loaded after two
    found: dict[str, Any] = {"start": now()}
    start = time.perf_counter()
    left_out = 0
    for number, sample in enumerate(samples, start=1):
        store, problems = prepare([sample], root / "stores" / str((number - 1) // 50), SETTINGS)
        left_out += len(problems)
        entry = next(e for e in store if e.sample == sample.name)
        clip = store.read(entry)
        with torch.inference_mode():
            model(torch.from_numpy(evaluation_input(clip.frames))[None])
        if number in marks:
            found[f"after {number}"] = now()
    return found | {"seconds": round(time.perf_counter() - start), "left_out": left_out}


def contents(root: Path) -> dict[str, list[Any]]:
    """A store's index and content, clip by clip; archives cannot be compared by bytes, which include the time."""
    store = ClipStore(root)
    found: dict[str, list[Any]] = {}
    for entry in store:
        clip = store.read(entry)
        flow = None if clip.flow is None else clip.flow.sum().item()
        said = [*entry.video, entry.label, entry.frames_digest]
        found[f"{entry.key} {entry.number}"] = [*said, clip.landmarks.sum().item(), flow]
    return found


def together(root: Path, clips: int) -> dict[str, Any]:
    """Two commands into one store at once, twice: from recordings, and from the simulator."""
    data = dataset(root / "few", clips)
    people = str(max(2, clips // 10))
    commands = {
        "prepare folder": ("prepare", "folder", str(data), "--flow", "dis", "--processes", "1"),
        "prepare-simulated": ("prepare-simulated", "--subjects", people, "--processes", "1"),
    }
    results: dict[str, Any] = {}
    for name, command in commands.items():
        alone, shared = root / f"{name} alone", root / f"{name} shared"
        codes = [_finish([_start(command, alone)]), _finish([_start(command, shared), _start(command, shared)])]
        same = contents(alone) == contents(shared)
        strays = [p.name for p in shared.rglob("*") if p.name.startswith(".")]
        results[name] = {"exit_codes": codes, "clips": len(ClipStore(shared)), "same_as_one": same, "strays": strays}
    return results


def _start(command: tuple[str, ...], out: Path) -> "subprocess.Popen[bytes]":
    line = [sys.executable, "-m", "openmer", *command, "--out", str(out)]
    return subprocess.Popen(line, stderr=subprocess.PIPE)


def _finish(processes: list["subprocess.Popen[bytes]"]) -> list[int]:
    for process in processes:
        said = process.communicate()[1].decode()
        if process.returncode:
            print(said)
    return [process.returncode for process in processes]


def main(clips: int = 1000, shared: int = 40) -> None:
    """Measure and write.

    Args:
        clips: Number of clips, one after another.
        shared: Recordings that two processes prepare at once.
    """
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        two = together(Path(name), shared)
        print(json.dumps(two, indent=2), flush=True)
        figures = {"one_after_the_other": endure(Path(name), clips), "two_processes_one_store": two}
    print(json.dumps(figures, indent=2))
    record.write("endurance", {"clips": clips, "shared": shared, "films": FILMS, "frames": FRAMES}, figures)
    if not all(r["same_as_one"] and r["exit_codes"] == [[0], [0, 0]] and not r["strays"] for r in two.values()):
        sys.exit("two processes at once made another store than one")


if __name__ == "__main__":
    tyro.cli(main)
