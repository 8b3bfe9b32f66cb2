"""Whether two faces are the same person's: by the look of the aligned face, and by dlib's recognizer.

The look is cheap and says "the same as a moment ago" or "ask"; the recognizer (dlib's ResNet, 128 numbers a face; on
the benchmark Labeled Faces in the Wild its author gives 99.38 % at a distance of 0.6) decides. Nothing of either is
written anywhere: they serve to keep people of one video apart, not to say who they are.
"""

from typing import Protocol

import numpy as np

from openmer.clip import Array, Gray
from openmer.errors import InputError
from openmer.face.align import align
from openmer.face.dlib_model import dlib_library, model_file
from openmer.face.track import Located

RECOGNIZER_FILE = "dlib_face_recognition_resnet_model_v1.dat"
LOOK_PX = 32


class Recognizer(Protocol):
    """Describes faces so that the same person's are near each other."""

    def __call__(self, gray: Gray, face: Located, /) -> Array:
        """(D,) numbers for a face in a (H, W) uint8 picture; the distance is Euclidean."""
        ...


class DlibRecognizer:
    """dlib's 128 numbers of a face; two pictures of one person are usually less than 0.6 apart.

    Raises:
        InputError: dlib or the recognizer's file is missing.
    """

    def __init__(self) -> None:
        try:
            self._dlib = dlib_library()
            path = model_file(RECOGNIZER_FILE)
        except InputError as error:
            raise InputError(
                "to keep several people apart, dlib's recognizer is needed, with either face model: `pip install "
                "dlib-bin face-recognition-models`, or leave out --faces all"
            ) from error
        self._model = self._dlib.face_recognition_model_v1(str(path))

    def __call__(self, gray: Gray, face: Located, /) -> Array:
        """(128,) of a face."""
        dlib, points = self._dlib, face.landmarks
        low, high = points.min(0), points.max(0)
        margin = float((high - low).max())
        height, width = gray.shape
        left, top = (int(max(0, v)) for v in np.floor(low - margin))
        right, bottom = min(width, int(high[0] + margin) + 1), min(height, int(high[1] + margin) + 1)
        patch = np.ascontiguousarray(np.repeat(gray[top:bottom, left:right, None], 3, axis=2))
        if not patch.size:
            return np.full(128, np.inf, np.float32)
        moved = np.rint(points - (left, top)).astype(int)
        box = dlib.rectangle(*(int(v) for v in (*moved.min(0), *moved.max(0))))
        shape = dlib.full_object_detection(box, [dlib.point(int(x), int(y)) for x, y in moved])
        return np.array(self._model.compute_face_descriptor(patch, shape), np.float32)


def look(gray: Gray, face: Located) -> Array:
    """(LOOK_PX^2,) the aligned face, small, without its mean and contrast: the product of two is their correlation."""
    alignment = align(face.landmarks, size=LOOK_PX, aligned=LOOK_PX * 9 // 8)
    crop = alignment.warp(gray).astype(np.float32).ravel()
    crop -= crop.mean()
    return np.asarray(crop / max(1e-6, float(np.linalg.norm(crop))), np.float32)
