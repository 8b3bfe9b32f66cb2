"""The network on a real face: its landmarks against dlib's, the jitter of both, its flow against TV-L1 and DIS.

Run: python benchmarks/real_video.py [--video FILE] [--weights mol-lite] [--overlay overlay.png]

No truth is known here. Landmarks are held against dlib's as NME; flow by how well it explains the next frame: the mean
absolute gray difference that is left after warping it back, over the crop's middle. Jitter is the standard deviation of
a landmark's place while one and the same picture is shown with fresh camera noise.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import tyro

from openmer.cli.videos import demo_video
from openmer.clip import Array, Gray
from openmer.clips.build import build_clip
from openmer.clips.flow import optical_flow
from openmer.clips.transforms import CROP_PX, middle
from openmer.evaluation.metrics import landmark_errors
from openmer.face.align import align
from openmer.face.detect import DlibFaceModel, FaceTracker
from openmer.video.reader import VideoReader, as_gray
from openmer.video.recognition import Engine, load_engine, look

NOISE = 2.0  # gray levels of added camera noise
SPACING = 3  # frames of the video between frames of a clip


def main(video: Path | None = None, weights: str = "mol-lite", overlay: Path | None = None) -> None:
    """Measure, draw, write."""
    video = video or demo_video()
    engine = load_engine(weights, "cpu")
    frames = engine.frames
    tracker = FaceTracker(DlibFaceModel())
    seen = [(as_gray(f.image), f.time_s) for f in VideoReader(video)]
    faces = [tracker.update(gray) for gray, _ in seen]
    errors, left, pictures = [], [], []
    for start in range(0, len(seen) - SPACING * (frames - 1), SPACING):
        rows = range(start, start + SPACING * frames, SPACING)
        if any(faces[k] is None for k in rows):
            continue
        points = np.stack([faces[k].landmarks for k in rows])  # type: ignore[union-attr]
        clip = build_clip([seen[k][0] for k in rows], points, np.array([seen[k][1] for k in rows]))
        crops, dlib_points = middle(clip.frames), np.asarray(clip.landmarks) - 8
        answer = look(engine, crops)
        flow, network_points = answer.flow, answer.landmarks
        if flow is None or network_points is None:
            raise SystemExit("these weights have no flow or no landmarks")
        errors.append(landmark_errors(network_points, dlib_points[1:]))
        left.append(_photometric(crops, flow))
        pictures.append(_dotted(crops[1], network_points[0], dlib_points[1]))
    figures = {
        "clips": len(errors),
        "nme_against_dlib": {
            "mean": round(float(np.concatenate(errors).mean()), 4),
            "median": round(float(np.median(np.concatenate(errors))), 4),
        },
        "gray_difference_left": {n: round(float(np.mean([row[n] for row in left])), 3) for n in left[0]},
        "jitter_px_of_the_crop": _jitter(engine, seen[0][0], tracker),
    }
    print(figures)
    if overlay is not None:
        chosen = [pictures[k] for k in np.linspace(0, len(pictures) - 1, 8).astype(int)]
        cv2.imwrite(str(overlay), np.concatenate([np.concatenate(chosen[:4], 1), np.concatenate(chosen[4:], 1)]))
    record.write("real_video", {"video": video.name, "weights": weights, "spacing_frames": SPACING}, figures)


def _photometric(crops: Gray, network: Array) -> dict[str, float]:
    """Mean absolute gray difference left between a frame and the next one warped back onto it."""
    y, x = np.mgrid[:CROP_PX, :CROP_PX].astype(np.float32)
    found: dict[str, list[float]] = {"no flow": [], "network": [], "tvl1": [], "dis": []}
    for k, (a, b) in enumerate(pairwise(crops)):
        flows = {"no flow": np.zeros_like(network[k]), "network": network[k]}
        flows |= {"tvl1": optical_flow(a, b, "tvl1"), "dis": optical_flow(a, b, "dis")}
        for name, (dx, dy) in flows.items():
            back = cv2.remap(b.astype(np.float32), x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            found[name].append(float(np.abs(back - a)[8:-8, 8:-8].mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _jitter(engine: Engine, gray: Gray, tracker: FaceTracker, times: int = 32) -> dict[str, Any]:
    """Of both, on one picture with fresh noise; in one alignment."""
    rng = np.random.default_rng(0)
    shown = [np.clip(np.rint(gray + rng.normal(0, NOISE, gray.shape)), 0, 255).astype(np.uint8) for _ in range(times)]
    tracker = FaceTracker(DlibFaceModel())
    faces = [tracker.update(picture) for picture in shown]
    points = np.stack([f.landmarks for f in faces if f is not None])
    home = np.repeat(np.median(points, 0)[None], len(shown), 0)
    clip = build_clip(shown, home, np.arange(float(len(shown))))
    in_crop = align(home[0], size=CROP_PX).to_crop(points)
    length = engine.frames
    crops = middle(clip.frames)
    network = [look(engine, crops[k : k + length]).landmarks for k in range(0, times - length + 1, length - 1)]
    found = np.concatenate([n for n in network if n is not None])
    return {
        "dlib": round(float(np.linalg.norm(in_crop.std(0), axis=1).mean()), 3),
        "network": round(float(np.linalg.norm(found.std(0), axis=1).mean()), 3),
        "noise_gray_levels": NOISE,
    }


def _dotted(crop: Gray, network: Array, dlib: Array) -> np.ndarray[Any, Any]:
    """The crop at 256 px, dlib's points green, the network's orange (BGR)."""
    picture = cv2.cvtColor(cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    for points, colour in ((dlib, (120, 255, 60)), (network, (60, 190, 255))):
        for x, y in (points + 0.5) * 2 - 0.5:
            cv2.circle(picture, (round(float(x)), round(float(y))), 2, colour, -1, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
