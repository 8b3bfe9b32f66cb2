"""The head in depth: how far away each place of a face is, and how the whole head moves between two frames.

A similarity or an affine map cannot describe a head that turns: near places then move more than far ones. So the
head's motion is a similarity and two terms with the depth z of each place,

    u = a + s x - w y + p z
    v = b + w x + s y + q z

which is a rigid motion to first order, seen from afar. The depth is that of a mean head, posed by the landmarks: any
person's shape serves nearly as well as the own one.

Pixels: x and y from the middle of the picture, right and down; z away from the camera, in the same unit, from the mean
depth of the landmarks that pose the head.

Shape legend: H rows, W columns, N places.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import cv2
import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from openmer.clip import CROP_PX, Array

Matrix = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

# Landmarks that the face's own motion moves least: the ends of the jaw's line, the nose, the eyes.
POSED_BY = (*range(4), *range(13, 17), *range(27, 48))
NOISE_PX = 0.02  # the noise of any flow: smaller residuals count equally
LAD_STEPS, BISQUARE_STEPS = 10, 3
BISQUARE = 4.685  # residuals beyond so many standard deviations count for nothing (Beaton, Tukey 1974)
SEARCH_STEPS = 8


@dataclass(frozen=True)
class MeanHead:
    """A mean head, symmetric; mm, x right, y down, z away from the camera.

    Attributes:
        landmarks: (68, 3).
        depth: (H, W) z of the surface, every `step_mm`; its middle is x = y = 0.
        step_mm: between neighbors of `depth`.
    """

    landmarks: Matrix
    depth: Array
    step_mm: float


@cache
def mean_head() -> MeanHead:
    """The one that ships with the package (`tools/build_mean_head.py`; CC0); read once."""
    with (
        resources.as_file(resources.files("openmer.face") / "mean_head.safetensors") as path,
        safe_open(path, "np") as stored,
    ):
        step = json.loads(stored.metadata()["provenance"])["step_mm"]
        return MeanHead(stored.get_tensor("landmarks").astype(np.float64), stored.get_tensor("depth"), float(step))


@dataclass(frozen=True)
class HeadPose:
    """Where a head is, as if seen from afar: picture = scale * rotation * head + shift.

    Attributes:
        rotation: (3, 3), from the mean head's axes to those of the picture.
        scale: pixels per mm.
        shift: (2,) pixels of the picture.
    """

    rotation: Matrix
    scale: float
    shift: Matrix

    @property
    def degrees(self) -> tuple[float, float, float]:
        """Yaw to the subject's left, pitch downwards, roll clockwise in the picture; as the simulator's `Pose`."""
        r = self.rotation
        yaw, pitch, roll = np.arctan2(r[2, 0], r[2, 2]), np.arcsin(r[2, 1]), np.arctan2(-r[0, 1], r[1, 1])
        return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def head_pose(landmarks: Array) -> HeadPose:
    """Pose the mean head: (68, 2) landmarks, iBUG order -> the scaled turn that fits them best.

    The affine map of least squares, then the nearest scaled rotation (weak perspective).
    """
    chosen = list(POSED_BY)
    head, picture = mean_head().landmarks[chosen], landmarks[chosen].astype(np.float64)
    affine = np.linalg.lstsq(head - head.mean(0), picture - picture.mean(0), rcond=None)[0].T
    left, stretch, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
    scale = float(stretch.mean())
    return HeadPose(rotation, scale, picture.mean(0) - scale * rows @ head.mean(0))


def head_depth(landmarks: Array, size: int = CROP_PX) -> Array:
    """How far away the head's surface is at each pixel of a square picture.

    Along each line of sight, the depth is looked up where the last one says that the surface is, and so on; no more is
    needed for a head that shows its face.

    Args:
        landmarks: (68, 2) pixels of that picture.
        size: its side.

    Returns:
        (size, size) pixels; 0 is the mean depth of the landmarks that pose the head, nearer is negative.
    """
    pose, head = head_pose(landmarks), mean_head()
    r = pose.rotation
    y, x = (np.mgrid[:size, :size] - pose.shift[::-1, None, None]) / pose.scale
    rows, columns = head.depth.shape
    middle = (columns - 1) / 2, (rows - 1) / 2
    # A place at (x, y, z) lies on the map at start + z * along, and on the surface if z = near + far * map.
    start = [np.float32((r[0, k] * x + r[1, k] * y) / head.step_mm + middle[k]) for k in (0, 1)]
    along = [np.float32(r[2, k] / head.step_mm) for k in (0, 1)]
    far = np.float32(1 / max(float(r[2, 2]), 0.3))
    near = np.float32(-(r[0, 2] * x + r[1, 2] * y)) * far
    zero = np.float32((head.landmarks[list(POSED_BY)] @ r[2]).mean())
    z: Array = np.full((size, size), zero, np.float32)
    for _ in range(SEARCH_STEPS):
        surface = cv2.remap(
            head.depth,
            start[0] + along[0] * z,
            start[1] + along[1] * z,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        # Half of each step is taken, else the search swings to and fro beside the nose of a head that has turned.
        z = np.asarray((z + near + far * surface) / 2, np.float32)
    return np.asarray((z - zero) * np.float32(pose.scale), np.float32)


@dataclass(frozen=True)
class HeadMotion:
    """The head's motion between two frames; x and y from the middle of the picture.

    Attributes:
        terms: (6,) a, b (px), s, w, p, q of the formula above.
    """

    terms: Matrix

    @property
    def shift_px(self) -> tuple[float, float]:
        """(dx, dy) of the middle of the picture, at the head's mean depth."""
        return float(self.terms[0]), float(self.terms[1])

    @property
    def growth_pct(self) -> float:
        """How much larger the head appears, percent."""
        return 100 * float(self.terms[2])

    @property
    def turn_deg(self) -> tuple[float, float, float]:
        """Yaw to the subject's left, pitch downwards, roll clockwise in the picture.

        Yaw and pitch are about a tenth too large before a near camera: a face that turns also moves sideways, and so
        shows the camera another side.
        """
        _, _, s, w, p, q = self.terms
        return float(np.degrees(-p)), float(np.degrees(-q)), float(np.degrees(np.arctan2(w, 1 + s)))

    def field(self, depth: Array) -> Array:
        """The flow (2, H, W) of this motion, for a head with this (H, W) depth."""
        height, width = depth.shape
        a, b, s, w, p, q = self.terms.astype(np.float32)
        x = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
        y = (np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2))[:, None]
        return np.stack([a + s * x - w * y + p * depth, b + w * x + s * y + q * depth])


def fit_head_motion(flow: Array, depth: Array, rigid: Places) -> HeadMotion:
    """The motion in depth that most of the rigid skin follows.

    First the least absolute deviations, which are convex, so that nothing depends on a start or on chance; from there
    Tukey's bisquare, which forgets the places that move otherwise (an MM-estimate, Yohai 1987).

    Args:
        flow: (2, H, W) pixels, from one frame to another.
        depth: (H, W) of the first frame, from `head_depth`.
        rigid: (N,) flat indices of pixels that move with the skull.
    """
    design, target = _equations(flow, depth, rigid)
    weight: Matrix = np.ones(len(rigid))
    terms: Matrix = np.zeros(6)
    for step in range(LAD_STEPS + BISQUARE_STEPS):
        weighted = design.T * np.tile(weight, 2)
        terms = np.asarray(np.linalg.lstsq(weighted @ design, weighted @ target, rcond=None)[0], np.float64)
        u, v = (target - design @ terms).reshape(2, -1)
        length: Matrix = np.asarray(np.hypot(u, v), np.float64)
        weight = _bisquare(length) if step >= LAD_STEPS - 1 else _absolute(length)
    return HeadMotion(terms)


def _equations(flow: Array, depth: Array, rigid: Places) -> tuple[Matrix, Matrix]:
    """(2N, 6) and (2N,): design @ terms should be the flow, first all u, then all v."""
    height, width = depth.shape
    x, y = rigid % width - (width - 1) / 2, rigid // width - (height - 1) / 2
    z = depth.ravel()[rigid].astype(np.float64)
    one, none = np.ones_like(z), np.zeros_like(z)
    design = np.concatenate([np.stack([one, none, x, -y, z, none], 1), np.stack([none, one, y, x, none, z], 1)])
    return design, flow.reshape(2, -1)[:, rigid].astype(np.float64).ravel()


def _absolute(residual: Matrix) -> Matrix:
    """Weights of residual lengths under which least squares become least absolute deviations."""
    return np.asarray(1 / np.maximum(residual, NOISE_PX), np.float64)


def _bisquare(residual: Matrix) -> Matrix:
    """Weights of residual lengths; the standard deviation of each component is taken from their median (Rayleigh)."""
    deviation = max(float(np.median(residual)) / 1.1774, NOISE_PX)
    return np.asarray(np.maximum(1 - (residual / (BISQUARE * deviation)) ** 2, 0) ** 2, np.float64)
