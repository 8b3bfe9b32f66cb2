"""dlib's frontal HOG detector and its 68-point predictor (Kazemi, Sullivan 2014), as in the MOL recipe."""

import importlib.util
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from openmer.clip import NUM_LANDMARKS, Array, Gray
from openmer.errors import InputError
from openmer.face.track import SAME_PLACE, Box, Detection, Located, best_overlap

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"


def find_predictor() -> Path:
    """Where the `face-recognition-models` package keeps dlib's 68-point predictor; nothing is imported.

    Raises:
        InputError: the package or its file is missing.
    """
    return model_file(PREDICTOR_FILE)


def model_file(name: str) -> Path:
    """Where the `face-recognition-models` package keeps a file; nothing is imported.

    Raises:
        InputError: the package or its file is missing.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders: Sequence[str] = (spec.submodule_search_locations or ()) if spec else ()
    for folder in folders:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    looked = f"looked in {', '.join(folders)}" if folders else "the package is not installed"
    what, else_do = (
        (
            "the 68-point predictor",
            f", give the path of {PREDICTOR_FILE} with --predictor, or choose the other face model with --face mesh",
        )
        if name == PREDICTOR_FILE
        else (f"{name}, which tells people apart,", ", or leave out --faces all")
    )
    raise InputError(f"{what} was not found ({looked}); install it with `pip install face-recognition-models`{else_do}")


def dlib_library() -> Any:
    """The package dlib, which the core can do without.

    Raises:
        InputError: it is not installed.
    """
    try:
        import dlib
    except ImportError as error:
        raise InputError(
            "dlib is not installed; install it with `pip install dlib-bin face-recognition-models`, or choose the "
            "other face model with --face mesh"
        ) from error
    return dlib


_idle: dict[str, list[Any]] = {}  # what dlib has loaded and nobody uses now


def lent(owner: object, name: str, load: Callable[[], Any]) -> Any:
    """A part of dlib that takes up to a second to load; when its owner is gone, the next one gets it.

    Two owners never share one, since dlib's parts hold what they work on.
    """
    idle = _idle.setdefault(name, [])
    try:
        part = idle.pop()
    except IndexError:  # asked first, another thread might take the last one in between
        part = load()

    def give_back() -> None:
        if not idle:
            idle.append(part)

    weakref.finalize(owner, give_back).atexit = False
    return part


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
    # Longer side to which a picture is scaled for a search; finds faces of an eighth and of a sixteenth of that side.
    coarse_px, fine_px = 640, 1280
    local_face_px = 100

    def __init__(self, predictor: Path | None = None) -> None:
        dlib = dlib_library()
        path = predictor or find_predictor()
        if not path.is_file():
            raise InputError(f"there is no landmark predictor at {path}")
        self._rectangle = dlib.rectangle
        self._detector = lent(self, "detector", dlib.get_frontal_face_detector)
        try:
            key = f"{path.resolve()} of {path.stat().st_mtime_ns}"
            self._predictor = lent(self, key, lambda: dlib.shape_predictor(str(path)))
        except RuntimeError as error:
            raise InputError(f"{path} is not a dlib shape predictor: {error}") from error
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

    def search(self, gray: Gray, *, fine: bool) -> list[Detection]:
        """Faces in the whole picture, scaled to a common size; scaled larger if there are none and `fine`."""
        return self._detect_at(gray, self.coarse_px) or (self._detect_at(gray, self.fine_px) if fine else [])

    def locate(self, gray: Gray, face: Detection) -> Located:
        """The landmarks of a face."""
        return Located(face.box, face.score, self.landmarks(gray, face.box))

    def follow(self, gray: Gray, last: Located) -> Located | None:
        """The face near the last box, which it keeps while it is nearly there: the points depend on the box."""
        patch, scale, corner = _cut(gray, last.box.grown(2.0), self.local_face_px / last.box.width)
        face = best_overlap([_placed(d, scale, corner) for d in self.detect(patch)], last.box)
        if face is None:
            return None
        same = last.box.iou(face.box) > SAME_PLACE
        return self.locate(gray, Detection(last.box, face.score) if same else face)

    def _detect_at(self, gray: Gray, longer_side: int) -> list[Detection]:
        # Enlarging more than four times reveals no further faces.
        scale = min(4.0, longer_side / max(gray.shape))
        none = np.zeros(2, np.float32)
        return [_placed(d, scale, none) for d in self.detect(_scaled(gray, scale))]

    def landmarks(self, gray: Gray, box: Box) -> Array:
        """(68, 2) float32 points of the face in `box`."""
        patch, scale, corner = _cut(gray, box.grown(1.6), self.face_px / box.width)
        rectangle = self._rectangle(
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


def _placed(detection: Detection, scale: float, corner: Array) -> Detection:
    b, (x, y) = detection.box, (float(corner[0]), float(corner[1]))
    return Detection(
        Box(b.left / scale + x, b.top / scale + y, b.right / scale + x, b.bottom / scale + y), detection.score
    )
