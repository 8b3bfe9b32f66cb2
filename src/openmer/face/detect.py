"""Find one face in a video and follow it: a box, a score and 68 landmarks per frame.

Coordinates are pixels of the picture, x right, y down, with pixel centres at whole numbers. Landmarks are in iBUG
68 order. The detector is dlib's frontal HOG detector, the landmarks come from dlib's predictor (Kazemi, Sullivan
2014), as in the MOL recipe; anything that implements `FaceModel` can replace them.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import dlib
import numpy as np

from openmer.clip import NUM_LANDMARKS, Array, Gray
from openmer.errors import InputError

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"


@dataclass(frozen=True)
class Box:
    """A rectangle in the picture: left, top, right, bottom in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def area(self) -> float:
        """Square pixels."""
        return max(0.0, self.width) * max(0.0, self.bottom - self.top)

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0 to 1."""
        shared = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )
        if shared.right <= shared.left or shared.bottom <= shared.top:
            return 0.0
        return shared.area / (self.area + other.area - shared.area)

    def grown(self, factor: float) -> "Box":
        """The box with the same centre and `factor` times the sides."""
        dx, dy = (factor - 1) / 2 * self.width, (factor - 1) / 2 * (self.bottom - self.top)
        return Box(self.left - dx, self.top - dy, self.right + dx, self.bottom + dy)


@dataclass(frozen=True)
class Detection:
    """A face found by a detector; the score is the detector's own, higher is more certain."""

    box: Box
    score: float


@dataclass(frozen=True)
class Face:
    """The followed face in one frame.

    Attributes:
        box: where it is.
        score: the detector's score.
        landmarks: (68, 2) float32 pixels of the picture.
        track: track number; changes whenever the followed face may be another person's.
    """

    box: Box
    score: float
    landmarks: Array
    track: int


class FaceModel(Protocol):
    """What the tracker needs from a face library."""

    def detect(self, gray: Gray) -> list[Detection]:
        """All faces of about 80 px or more in an (H, W) picture."""
        ...

    def landmarks(self, gray: Gray, box: Box) -> Array:
        """(68, 2) points of the face in `box`."""
        ...


def find_predictor() -> Path:
    """Where the `face-recognition-models` package keeps dlib's 68-point predictor; nothing is imported.

    Raises:
        InputError: the package or its file is missing.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders: Sequence[str] = (spec.submodule_search_locations or ()) if spec else ()
    for folder in folders:
        path = Path(folder) / "models" / PREDICTOR_FILE
        if path.is_file():
            return path
    looked = f"looked in {', '.join(folders)}" if folders else "the package is not installed"
    raise InputError(
        f"the 68-point predictor was not found ({looked}); install it with "
        f"`pip install face-recognition-models`, or give the path of {PREDICTOR_FILE} with --predictor"
    )


class DlibFaceModel:
    """dlib's frontal detector and 68-point predictor.

    The predictor returns whole pixels, so the face is first scaled to 300 px: one step is then a
    three-hundredth of the face.

    Args:
        predictor: the predictor's file; by default the one in `face-recognition-models`.

    Raises:
        InputError: the file is missing or is not a predictor.
    """

    face_px = 300

    def __init__(self, predictor: Path | None = None) -> None:
        path = predictor or find_predictor()
        if not path.is_file():
            raise InputError(f"there is no landmark predictor at {path}")
        self._detector = dlib.get_frontal_face_detector()
        try:
            self._predictor = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise InputError(f"{path} is no dlib shape predictor: {error}") from error
        count = self._predictor(np.zeros((8, 8), np.uint8), dlib.rectangle(0, 0, 7, 7)).num_parts
        if count != NUM_LANDMARKS:
            raise InputError(f"{path} predicts {count} points; a predictor of {NUM_LANDMARKS} is needed")

    def detect(self, gray: Gray) -> list[Detection]:
        """All frontal faces of about 80 px or more, most certain first."""
        boxes, scores, _ = self._detector.run(np.ascontiguousarray(gray), 0, 0.0)
        return [
            Detection(Box(b.left(), b.top(), b.right() + 1, b.bottom() + 1), float(s))
            for b, s in zip(boxes, scores, strict=True)
        ]

    def landmarks(self, gray: Gray, box: Box) -> Array:
        """(68, 2) float32 points of the face in `box`."""
        patch, scale, corner = _cut(gray, box.grown(1.6), self.face_px / box.width)
        rectangle = dlib.rectangle(
            *(
                round(v)
                for v in (
                    (box.left - corner[0]) * scale,
                    (box.top - corner[1]) * scale,
                    (box.right - corner[0]) * scale - 1,
                    (box.bottom - corner[1]) * scale - 1,
                )
            )
        )
        shape = self._predictor(patch, rectangle)
        points = np.array([(p.x, p.y) for p in shape.parts()], np.float32)
        # Scaling maps areas, so pixel centres shift by half a pixel at both scales.
        return ((points + 0.5) / scale - 0.5 + corner).astype(np.float32)


def _cut(gray: Gray, area: Box, scale: float) -> tuple[Gray, float, Array]:
    """The part of the picture inside `area`, scaled: (patch, true scale, its corner in the picture)."""
    height, width = gray.shape
    left, top = max(0, int(area.left)), max(0, int(area.top))
    right, bottom = min(width, int(np.ceil(area.right))), min(height, int(np.ceil(area.bottom)))
    patch = gray[top:bottom, left:right]
    corner = np.array([left, top], np.float32)
    if patch.size == 0:
        return np.zeros((1, 1), np.uint8), scale, corner
    return _scaled(patch, scale), scale, corner


def _scaled(gray: Gray, scale: float) -> Gray:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
    return np.asarray(cv2.resize(gray, size, interpolation=method), np.uint8)


class FaceTracker:
    """Follows one face through a video.

    The first face is the largest in the whole picture. From then on only the surroundings of the last box are
    searched, and only a face that overlaps it is accepted, so that the track does not jump between people. The whole
    picture is searched again when the face is lost, and every `full_every` frames: if faces are found but none is where
    the track is, the track has drifted and is dropped.

    A face that returns within `patience` frames to where it was lost keeps its track number; otherwise the largest
    face begins a new track.

    Args:
        model: finds faces and landmarks.
        full_every: frames between searches of the whole picture.
        patience: frames to wait for a lost face.
    """

    # Longer side to which a picture is scaled for a search; finds faces of an eighth and of a sixteenth of that side.
    coarse_px, fine_px = 640, 1280
    fine_every = 10
    local_face_px = 100

    def __init__(self, model: FaceModel, *, full_every: int = 150, patience: int = 30) -> None:
        self._model = model
        self._full_every = full_every
        self._patience = patience
        self._box: Box | None = None
        self._since_full = 0
        self._lost_for: int | None = None
        self._track = -1

    def update(self, gray: Gray) -> Face | None:
        """Find the followed face in the next frame, (H, W) uint8; None if it is not seen."""
        found = self._search_near(gray) if self._lost_for is None and self._box is not None else None
        self._since_full += 1
        if found is None or self._since_full >= self._full_every:
            found = self._search_all(gray, found)
        if found is None:
            self._lost_for = 0 if self._lost_for is None else self._lost_for + 1
            return None
        self._lost_for = None
        self._box = self._steadied(found.box)
        return Face(self._box, found.score, self._model.landmarks(gray, self._box), self._track)

    def _search_near(self, gray: Gray) -> Detection | None:
        assert self._box is not None  # noqa: S101  (update asks only when there is one)
        patch, scale, corner = _cut(gray, self._box.grown(2.0), self.local_face_px / self._box.width)
        found = [_placed(d, scale, corner) for d in self._model.detect(patch)]
        return self._best_overlap(found, least=0.3)

    def _search_all(self, gray: Gray, near: Detection | None) -> Detection | None:
        self._since_full = 0
        fine = near is None and (self._lost_for is None or self._lost_for % self.fine_every == 0)
        found = self._detect_at(gray, self.coarse_px)
        if not found and fine:
            found = self._detect_at(gray, self.fine_px)
        if near is not None and (not found or any(near.box.iou(d.box) > 0.3 for d in found)):
            return near
        if not found:
            return None
        waited = self._lost_for if self._lost_for is not None else 0
        same = self._best_overlap(found, least=0.3) if waited <= self._patience else None
        if same is None:
            self._track += 1
            self._box = None
        return same or max(found, key=lambda d: d.box.area)

    def _detect_at(self, gray: Gray, longer_side: int) -> list[Detection]:
        # Enlarging more than four times reveals no further faces.
        scale = min(4.0, longer_side / max(gray.shape))
        none = np.zeros(2, np.float32)
        return [_placed(d, scale, none) for d in self._model.detect(_scaled(gray, scale))]

    def _best_overlap(self, found: list[Detection], *, least: float) -> Detection | None:
        if self._box is None:
            return None
        last = self._box
        best = max(found, key=lambda d: last.iou(d.box), default=None)
        return best if best is not None and last.iou(best.box) > least else None

    def _steadied(self, box: Box) -> Box:
        """Keep the last box while the new one is nearly the same: the predictor's points depend on the box."""
        if self._box is not None and self._box.iou(box) > 0.75:
            return self._box
        return box


def _placed(detection: Detection, scale: float, corner: Array) -> Detection:
    b, (x, y) = detection.box, (float(corner[0]), float(corner[1]))
    return Detection(
        Box(b.left / scale + x, b.top / scale + y, b.right / scale + x, b.bottom / scale + y), detection.score
    )
