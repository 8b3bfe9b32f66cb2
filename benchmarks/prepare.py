"""Preparing a dataset: `openmer prepare` against the procedure of MOL's authors, rebuilt from its description.

Run: python benchmarks/prepare.py [--clips 60] [--theirs 2] [--frames 68]

Rendered faces in pictures of 640 x 480, at 200 frames a second. Theirs: on every frame, dlib's detector on the picture
enlarged twice, then 68 points; one alignment per frame; five random crops from each of the eight clips of a recording,
with OpenCV's TV-L1 on all seven pairs of each. It runs on only a few recordings, one after another, and is given per
recording. Ours runs on all of them, on all cores, through the same function as the command; its stages are timed on one
recording in one process. Also: TV-L1 of a clip's seven pairs at once in torch, against OpenCV's.
"""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import dlib
import numpy as np
import record
import torch
import tyro

from openmer.clip import CROP_PX, Sample
from openmer.clips.build import build_clip
from openmer.clips.flow import clip_flow, optical_flow
from openmer.clips.sampling import interleaved
from openmer.clips.tvl1 import tvl1_flow
from openmer.datasets.prepare import prepare, read_frames
from openmer.datasets.settings import PrepareSettings
from openmer.face.align import align
from openmer.face.dlib_model import find_predictor
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import RecordingSettings

SIZE = (640, 480)
FACE_PX = 340
CROPS = 5


def main(clips: int = 60, theirs: int = 2, frames: int = 68) -> None:
    """Render, measure, write."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
            samples = list(pool.map(_rendered, [root] * clips, range(clips), [frames] * clips))
        before = [_theirs(sample) for sample in samples[:theirs]]
        parts = {stage: float(np.mean([b[stage] for b in before])) for stage in before[0]}
        start = perf_counter()
        _, problems = prepare(samples, root / "store", PrepareSettings(), processes=cores)
        all_s = perf_counter() - start
        stages = _ours(samples[0])
        figures: dict[str, Any] = {
            "theirs_s_a_recording": {**_rounded(parts), "all": round(sum(parts.values()), 2)},
            "ours_s_a_recording_one_process": {**_rounded(stages), "all": round(sum(stages.values()), 2)},
            "ours_s_a_recording_all_cores": round(all_s / clips, 3),
            "ratio_one_process": round(sum(parts.values()) / sum(stages.values()), 1),
            "ratio_all_cores": round(sum(parts.values()) / (all_s / clips), 1),
            "left_out": len(problems),
            "tvl1_s_a_pair": _tvl1(samples[0]),
        }
    print(figures)
    record.write("prepare", {"clips": clips, "theirs": theirs, "frames": frames, "processes": cores}, figures)


def _rounded(parts: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in parts.items()}


def _rendered(root: Path, number: int, frames: int) -> Sample:
    """A recording of one person in front of a wall."""
    recording, _ = draw_recording(
        (5, number, 0), draw_person((5, number)), "surprise", RecordingSettings(fps=200, size=FACE_PX)
    )
    folder = root / "frames" / f"{number:03d}"
    folder.mkdir(parents=True)
    left, top = (SIZE[0] - FACE_PX) // 2, (SIZE[1] - FACE_PX) // 2
    rims = (top, SIZE[1] - FACE_PX - top, left, SIZE[0] - FACE_PX - left)
    for k in range(frames):
        image = recording.image(min(k, len(recording) - 1))
        whole = cv2.copyMakeBorder(image, *rims, cv2.BORDER_REPLICATE)
        cv2.imwrite(str(folder / f"img{k + 1}.jpg"), cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))
    return Sample(
        dataset="rendered",
        subject=f"{number:03d}",
        name="one",
        source=folder,
        fps=Fraction(200),
        label="surprise",
        onset=1,
        offset=frames,
    )


def _theirs(sample: Sample) -> dict[str, float]:
    """Seconds by stage."""
    detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(find_predictor()))
    paths = sorted(sample.source.iterdir(), key=lambda p: int(p.stem[3:]))
    spent = dict.fromkeys(("reading", "detection", "landmarks", "alignment", "flow"), 0.0)

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        start = perf_counter()
        result = work()
        spent[stage] += perf_counter() - start
        return result

    images = [timed("reading", partial(cv2.imread, str(path), cv2.IMREAD_GRAYSCALE)) for path in paths]
    aligned = []
    for image in images:
        box = timed("detection", partial(detector, image, 1))[0]
        shape = timed("landmarks", partial(predictor, image, box))
        points = np.array([(p.x, p.y) for p in shape.parts()], np.float32)
        aligned.append(timed("alignment", lambda i=image, p=points: align(p).warp(i)))
    rng = np.random.default_rng(0)
    for row in interleaved(len(aligned)):
        for _ in range(CROPS):
            left, top = rng.integers(0, 144 - CROP_PX + 1, 2)
            crops = [aligned[k][top : top + CROP_PX, left : left + CROP_PX] for k in row]
            for a, b in pairwise(crops):
                timed("flow", partial(optical_flow, a, b, "tvl1"))
    return spent


def _ours(sample: Sample) -> dict[str, float]:
    """Seconds by stage, in this process."""
    start = perf_counter()
    found = read_frames(sample)
    read = perf_counter()
    rows = interleaved(len(found.images))
    cut = [build_clip([found.images[k] for k in row], found.landmarks[row], found.times_s[row]) for row in rows]
    aligned = perf_counter()
    for clip in cut:
        clip_flow(clip.frames, "tvl1")
    done = perf_counter()
    return {"reading, faces, landmarks": read - start, "alignment": aligned - read, "flow": done - aligned}


def _tvl1(sample: Sample) -> dict[str, float]:
    """OpenCV's, one pair after another, and ours in torch, all pairs at once; their difference in px."""
    found = read_frames(sample)
    row = interleaved(len(found.images))[0]
    frames = build_clip([found.images[k] for k in row], found.landmarks[row], found.times_s[row]).frames
    crops = np.ascontiguousarray(frames[:, 8:-8, 8:-8])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gray = torch.from_numpy(crops).to(device)
    start = perf_counter()
    opencv = clip_flow(crops, "tvl1")
    middle = perf_counter()
    flow = tvl1_flow(gray[:-1], gray[1:]).cpu().numpy()
    end = perf_counter()
    return {
        "opencv": round((middle - start) / 7, 4),
        f"torch, {device}": round((end - middle) / 7, 4),
        "mean_difference_px": round(float(np.linalg.norm(flow - opencv, axis=1).mean()), 4),
    }


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
