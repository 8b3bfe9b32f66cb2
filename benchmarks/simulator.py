"""Simulated faces: does dlib find them, how do flow methods do on them, how fast are they made.

Run: python benchmarks/simulator.py --first FOLDER

FOLDER is a checkout of the first edition (2085f60); speeds are CPU time, of both in turn.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import record
import tyro

from openmer.clips.flow import optical_flow
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import FaceTracker
from openmer.simulator.generate import clip_stream
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import SimulateSettings

PEAKS = (0.2, 0.5, 1.0, 2.0)


def detection(faces: int) -> dict[str, float]:
    """Share of faces found, and dlib's landmarks against the truth over the distance of the outer eye corners."""
    model, errors = DlibFaceModel(), []
    for k in range(faces):
        recording, _ = draw_recording((70, k), draw_person((70, k)), "none")
        face = FaceTracker(model).update(cv2.cvtColor(recording.image(0), cv2.COLOR_RGB2GRAY))
        if face is not None:
            truth = recording.landmarks(0)
            distance = np.linalg.norm(truth[45] - truth[36])
            errors.append(np.linalg.norm(face.landmarks - truth, axis=1).mean() / distance)
    return {"faces": faces, "found_share": len(errors) / faces, "nme_median": round(float(np.median(errors)), 4)}


def flow_errors(clips: int, noise: bool) -> dict[str, dict[str, float]]:
    """Mean EPE from onset to apex over visible skin that moves more than a tenth of the peak, px of the 144 square."""
    emotions = ("happiness", "surprise", "disgust", "anger", "sadness", "repression")
    rows: dict[str, dict[str, float]] = {}
    for peak in PEAKS:
        errors: dict[str, list[float]] = {m: [] for m in ("zero", "tvl1", "dis", "farneback")}
        for k in range(clips):
            recording, event = draw_recording(
                (71, k), draw_person((71, k)), emotions[k % 6], peak_px=peak, distractors=False, noise=noise
            )
            if event is None:
                raise RuntimeError("an emotion gave no event")
            apex = int(np.abs(recording.times_s - event.apex_s).argmin())
            truth, visible = recording.flow(0, apex)
            moving = visible & (np.hypot(*truth) > 0.1 * peak)
            first, second = (cv2.cvtColor(recording.image(f), cv2.COLOR_RGB2GRAY) for f in (0, apex))
            for method in errors:
                found = np.zeros_like(truth) if method == "zero" else optical_flow(first, second, method)
                errors[method].append(float(np.hypot(*(found - truth))[moving].mean()))
        rows[str(peak)] = {m: round(float(np.mean(e)), 3) for m, e in errors.items()}
        print("noisy" if noise else "clean", peak, rows[str(peak)])
    return rows


def _clips(first: int, count: int) -> int:
    clips = clip_stream(SimulateSettings(seed=0), first_subject=first)
    for _ in range(count):
        next(clips)
    return count


def throughput(clips: int) -> dict[str, float]:
    """Clips of 8 frames with flow and landmarks per second, with one and two processes."""
    _clips(0, 1)
    start = time.perf_counter()
    _clips(100, clips)
    one = clips / (time.perf_counter() - start)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_clips, (0, 1), (1, 1)))
        start = time.perf_counter()
        done = sum(pool.map(_clips, (200, 300), (clips, clips)))
        two = done / (time.perf_counter() - start)
    return {"clips_per_s_1_process": round(one, 2), "clips_per_s_2_processes": round(two, 2)}


CPU_SECONDS = """
import sys, time
from openmer.simulator import generate
try:
    from openmer.simulator.settings import SimulateSettings
except ImportError:
    SimulateSettings = generate.SimulateSettings
next(generate.clip_stream(SimulateSettings(seed=0)))
clips, start = generate.clip_stream(SimulateSettings(seed=0), first_subject=100), time.process_time()
for _ in range(int(sys.argv[1])):
    next(clips)
print((time.process_time() - start) / int(sys.argv[1]))
"""


def cpu_seconds(clips: int, first: Path | None, rounds: int = 3) -> dict[str, float]:
    """CPU seconds of a clip with flow and landmarks, of this edition and of the first in turn; the median round."""
    sources = {"now": Path(__file__).parents[1]} | ({} if first is None else {"first": first})
    spent: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(rounds):
        for name, folder in sources.items():
            where = os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", CPU_SECONDS, str(clips)]
            spent[name].append(float(subprocess.run(command, env=where, check=True, stdout=subprocess.PIPE).stdout))
    middle = {f"cpu_s_a_clip_{name}": round(float(np.median(values)), 4) for name, values in spent.items()}
    if first is not None:
        middle["times_as_fast"] = round(float(np.median(spent["first"]) / np.median(spent["now"])), 2)
    return middle


def main(faces: int = 500, clips: int = 24, timed: int = 40, first: Path | None = None) -> None:
    """Measure and write.

    Args:
        faces: faces that dlib looks for.
        clips: recordings per row of flow errors.
        timed: clips per process, for the speed.
        first: a checkout of the first edition.
    """
    figures = {"cpu": cpu_seconds(timed, first), "throughput": throughput(timed), "detection": detection(faces)}
    print(figures)
    figures |= {"epe_clean": flow_errors(clips, False), "epe_noisy": flow_errors(clips, True)}
    record.write("simulator", {"size": 144, "clips_a_row": clips, "timed": timed}, figures)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
