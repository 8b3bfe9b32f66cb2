"""Map a face upright into a square crop, and points back.

The alignment of the MOL recipe: five points (eye centres, nose tip, mouth corners); the picture is rotated until the
eyes are level; a square box with 2.5 times the larger extent of the five points, centred on them, is scaled to 144
pixels, of which the central 128 are the crop.

Pixel centres are at whole numbers in the picture and in the crop. Landmarks are in iBUG 68 order.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from openmer.choices import AlignMode
from openmer.clip import ALIGNED_PX, CROP_PX, Array
from openmer.errors import InputError

BOX_FACTOR = 2.5


def five_points(landmarks: Array) -> Array:
    """Eye centres (image left, image right), nose tip, mouth corners (left, right): (68, D) -> (5, D)."""
    return np.stack(
        [
            landmarks[36:42].mean(0),
            landmarks[42:48].mean(0),
            landmarks[30],
            landmarks[48],
            landmarks[54],
        ]
    ).astype(np.float32)


@dataclass(frozen=True)
class Alignment:
    """A similarity from the picture to an aligned square.

    Attributes:
        matrix: (2, 3) float64; maps picture (x, y, 1) to square (x, y).
        size: side of the square in pixels.
    """

    matrix: npt.NDArray[np.float64]
    size: int

    @property
    def scale(self) -> float:
        """Pixels of the square per pixel of the picture."""
        return float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))

    def warp(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The aligned square, (size, size) or (size, size, 3), of a gray or colour picture.

        If the picture has a higher resolution than the square, it is sampled more densely and averaged: plain sampling
        would alias, and aliasing patterns move.
        """
        times = min(8, max(1, round(1 / self.scale)))
        matrix = self.matrix.copy()
        if times > 1:
            matrix *= times
            matrix[:, 2] += (times - 1) / 2
        side = self.size * times
        warped = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        if times > 1:
            warped = cv2.resize(warped, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.asarray(warped, np.uint8)

    def to_crop(self, points: Array) -> Array:
        """Map points (..., 2) from the picture to the square."""
        return (points @ self.matrix[:, :2].T + self.matrix[:, 2]).astype(np.float32)

    def to_image(self, points: Array) -> Array:
        """Map points (..., 2) from the square to the picture."""
        inverse = cv2.invertAffineTransform(self.matrix)
        return (points @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)


def align(landmarks: Array, *, size: int = CROP_PX, aligned: int = ALIGNED_PX) -> Alignment:
    """The alignment for one face.

    Args:
        landmarks: (68, 2) pixels of the picture.
        size: side of the returned square: 128 for the crop, 144 for the whole aligned box.
        aligned: side to which the box is scaled; the square is its middle.

    Raises:
        InputError: the points span no face (all in one place, or not finite).
    """
    points = five_points(landmarks)
    eyes = points[1] - points[0]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    cos, sin = np.cos(angle), np.sin(angle)
    upright = np.array([[cos, sin], [-sin, cos]])
    turned = points @ upright.T
    low, high = turned.min(0), turned.max(0)
    extent = float((high - low).max())
    if not np.isfinite(extent) or extent < 1e-3:
        raise InputError("these landmarks span no face, so nothing can be aligned with them")
    scale = aligned / (BOX_FACTOR * extent)
    matrix = np.empty((2, 3))
    matrix[:, :2] = scale * upright
    matrix[:, 2] = (size - 1) / 2 - scale * (low + high) / 2
    return Alignment(matrix, size)


def align_clip(landmarks: Array, mode: AlignMode = "per_clip", *, size: int = CROP_PX) -> list[Alignment]:
    """One alignment per frame.

    Args:
        landmarks: (T, 68, 2) pixels of the picture.
        mode: `per_frame` follows each frame's points, as the authors of MOL do; `per_clip` uses one alignment,
            that of the median points, for all frames, because landmark jitter is larger than a micro-expression.
        size: side of the square.
    """
    if mode == "per_frame":
        return [align(points, size=size) for points in landmarks]
    return [align(np.nanmedian(landmarks, axis=0), size=size)] * len(landmarks)


class SteadyAlignment:
    """`per_clip` alignment for a stream: one alignment is kept until the face has left it.

    The head's slow motion would carry a face out of any fixed crop. So the alignment is kept as long as the five points
    stay within `tolerance_px` of where they were when it was made, and is then made anew. Motion across such a change
    must be measured within a single alignment.

    Args:
        mode: `per_frame` makes a new alignment for every frame.
        tolerance_px: tolerance, pixels of the crop.
    """

    def __init__(self, mode: AlignMode = "per_clip", *, tolerance_px: float = 6.0) -> None:
        self._mode = mode
        self._tolerance = tolerance_px
        self._current: Alignment | None = None
        self._home: Array | None = None

    def update(self, landmarks: Array) -> tuple[Alignment, bool]:
        """The alignment for a frame with these (68, 2) landmarks, and whether it is a new one."""
        if self._current is not None and self._home is not None and self._mode == "per_clip":
            moved = self._current.to_crop(five_points(landmarks)) - self._home
            if float(np.linalg.norm(moved.mean(0))) < self._tolerance and np.abs(moved).max() < 2 * self._tolerance:
                return self._current, False
        self._current = align(landmarks)
        self._home = self._current.to_crop(five_points(landmarks))
        return self._current, True

    def reset(self) -> None:
        """Forget the face, after it was lost."""
        self._current = self._home = None
