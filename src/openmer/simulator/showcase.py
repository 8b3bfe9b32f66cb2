"""A real face with something to find: a photograph in the public domain, filmed, without and with one implant.

The photograph of Grace Hopper (U.S. Navy, public domain) comes with matplotlib. It is "filmed" by a camera that sways
and has noise, so it shows a real face and no real movement of it; the expression is simulated.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from openmer.errors import InputError
from openmer.face.align import align
from openmer.face.registry import face_model
from openmer.face.track import FaceTracker
from openmer.media.reader import VideoReader, as_gray
from openmer.media.writer import VideoWriter
from openmer.simulator.facial_motion import draw_expression
from openmer.simulator.head import draw_identity
from openmer.simulator.implant import QUALITY, Implant, ImplantedVideo, follow_face
from openmer.simulator.reenact import Picture
from openmer.timeline import Timeline

PHOTO = Path("sample_data") / "grace_hopper.jpg"
SIDE, STRIP = 400, 32  # px: of a picture, and of the line above it
MAGNIFIED, SLOWER = 3.0, 4.0
FACE_SHARE = 0.75  # of the picture's side that the aligned square takes
NOISE = 1.5  # gray levels
SWAY_PX, TURN, GROWTH = 1.5, 0.006, 0.004  # of the camera: px of the picture, radians, share
PERIODS_S = (3.1, 5.3)


@dataclass(frozen=True)
class Showcase:
    """What was made.

    Attributes:
        untouched: the video without an implant.
        implanted: the same with it.
        comparison: both side by side, and with the motion MAGNIFIED times as large, around it and slowed down.
        truth: when it is shown.
        emotion: what was implanted.
    """

    untouched: Path
    implanted: Path
    comparison: Path
    truth: Timeline
    emotion: str


def write_showcase(
    folder: Path,
    *,
    emotion: str = "happiness",
    peak_px: float = 2.5,
    seconds: float = 4.0,
    fps: int = 60,
    seed: int = 0,
) -> Showcase:
    """Film the photograph, and implant one micro-expression in the middle of it.

    Args:
        folder: where `untouched.mp4`, `implanted.mp4` and `comparison.mp4` are written.
        emotion: which.
        peak_px: its size, px of the 128 crop.
        seconds: of the video; the expression begins in the middle.
        fps: frames a second.
        seed: of noise and expression.

    Raises:
        InputError: the photograph is missing.
    """
    rng = np.random.default_rng(seed)
    untouched, implanted = folder / "untouched.mp4", folder / "implanted.mp4"
    with VideoWriter(untouched, SIDE, SIDE, Fraction(fps), crf=QUALITY) as writer:
        for frame, picture in enumerate(_filmed(_photograph(), round(seconds * fps), fps, rng)):
            writer.write(picture, frame / fps)
    event = draw_expression(np.random.default_rng(seed), emotion, seconds / 2)
    made = ImplantedVideo(untouched, follow_face(untouched), (Implant(event, peak_px),), draw_identity(rng))
    made.write(implanted)
    titles = ("untouched", f"implanted: {emotion}, {peak_px:g} px", f"{MAGNIFIED:g} times as large")
    larger = replace(made, implants=(Implant(event, MAGNIFIED * peak_px),))
    _compare(folder / "comparison.mp4", made, larger, titles)
    return Showcase(untouched, implanted, folder / "comparison.mp4", made.truth, emotion)


def _compare(path: Path, made: ImplantedVideo, larger: ImplantedVideo, titles: tuple[str, str, str]) -> None:
    """Three panels, from a while before the implant until a while after it, slowed down."""
    event = made.implants[0].event
    rows = np.flatnonzero(np.abs(made.face.times_s - event.apex_s) < event.offset_s - event.onset_s)
    times = made.face.times_s[rows] * SLOWER
    with VideoWriter(path, 3 * SIDE, SIDE + STRIP, Fraction(60), crf=QUALITY) as writer:
        for row, frame in enumerate(VideoReader(made.source)):
            if row in rows:
                panels = (frame.image, made.picture(row, frame.image), larger.picture(row, frame.image))
                canvas = np.full((SIDE + STRIP, 3 * SIDE, 3), 255, np.uint8)
                canvas[STRIP:] = np.concatenate(panels, 1)
                for k, title in enumerate(titles):
                    place = (k * SIDE + 8, STRIP - 10)
                    cv2.putText(canvas, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (30, 30, 30), 1, cv2.LINE_AA)
                writer.write(canvas, float(times[rows.tolist().index(row)] - times[0]))


def _photograph() -> Picture:
    """The face and around it, twice as large as it is shown."""
    path = Path(matplotlib.get_data_path()) / PHOTO
    stored = cv2.imread(str(path))
    if stored is None:
        raise InputError(f"the photograph that comes with matplotlib is not there: {path}")
    picture = np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.uint8)
    face = FaceTracker(face_model()).update(as_gray(picture))
    if face is None:
        raise InputError(f"no face was found in {path}")
    return align(face.landmarks, size=2 * SIDE, aligned=round(2 * SIDE * FACE_SHARE)).warp(picture)


def _filmed(picture: Picture, count: int, fps: int, rng: np.random.Generator) -> Iterator[Picture]:
    """A camera that sways as a hand or a stand does, with a sensor's noise."""
    phase = rng.uniform(0, 2 * np.pi, (len(PERIODS_S), 4))
    middle = SIDE - 0.5
    for moment in np.arange(count) / fps:
        waves = [np.sin(2 * np.pi * moment / period + p) for period, p in zip(PERIODS_S, phase, strict=True)]
        right, down, turn, grow = np.mean(waves, axis=0) * (2 * SWAY_PX, 2 * SWAY_PX, TURN, GROWTH)
        matrix = cv2.getRotationMatrix2D((middle, middle), float(np.degrees(turn)), float(1 + grow))
        matrix[:, 2] += right, down
        moved = cv2.warpAffine(
            picture, matrix, (2 * SIDE, 2 * SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        small = cv2.resize(moved, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        yield np.clip(np.rint(small + rng.normal(0, NOISE, small.shape)), 0, 255).astype(np.uint8)
