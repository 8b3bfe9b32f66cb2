"""How facial regions move relative to the head: a small set of numbers per frame.

At 200 frames per second, a micro-expression moves the skin by only a few hundredths of a pixel between neighbouring
frames, so each frame is compared not with its neighbour but with a reference frame up to a second older. The flow from
the reference to the frame, minus the head's own motion, averaged over a region, gives the region's position (its
"displacement"). Each new reference carries over the displacement so far, so that it is one continuous curve.

All lengths are pixels of the 128 crop, x right, y down. `right` and `left` are the subject's own.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from openmer.choices import AlignMode, FlowMethod
from openmer.clip import CROP_PX, Array, Gray
from openmer.clips.flow import optical_flow
from openmer.face.align import Alignment, SteadyAlignment
from openmer.face.pose import HeadMotion, fit_head_motion, head_depth
from openmer.face.track import Face


@dataclass(frozen=True)
class Region:
    """A disc of skin moved by a few muscles.

    Attributes:
        name: its name in the results.
        landmarks: iBUG indices of the points whose mean is the disc's centre.
        raised: how far above that mean the centre is, as a multiple of the distance between the outer eye corners.
    """

    name: str
    landmarks: tuple[int, ...]
    raised: float = 0.0


# Which muscles act where: Ekman, Friesen, Hager 2002 (FACS). The division into twelve discs is our choice.
REGIONS: tuple[Region, ...] = (
    Region("outer_brow_right", (17, 18)),
    Region("inner_brow_right", (20, 21)),
    Region("inner_brow_left", (22, 23)),
    Region("outer_brow_left", (25, 26)),
    Region("eye_right", (36, 37, 38, 39, 40, 41)),
    Region("eye_left", (42, 43, 44, 45, 46, 47)),
    Region("nose", (31, 33, 35), raised=0.08),
    Region("mouth_right", (48,)),
    Region("upper_lip", (50, 51, 52)),
    Region("mouth_left", (54,)),
    Region("lower_lip", (56, 57, 58)),
    Region("chin", (7, 8, 9), raised=0.12),
)
REGION_NAMES: tuple[str, ...] = tuple(r.name for r in REGIONS)
EYES = tuple(i for i, r in enumerate(REGIONS) if r.name.startswith("eye"))

REGION_RADIUS = 0.13  # of the distance between the outer eye corners; about 6 px of the crop
REFERENCE_S = 1.0


@dataclass(frozen=True)
class FrameMotion:
    """What is measured in a frame in which the face was found.

    Attributes:
        displacement: (R, 2) displacement of each region relative to the head since the track began, px.
        head: (6,) the head's motion since the previous frame: dx, dy (px of the crop), roll (degrees, clockwise),
            growth (percent), yaw (degrees, to the subject's left), pitch (degrees, downwards).
        flow_median_px: median length of the flow from the previous frame over the whole crop.
        eyes_open: height over width of the subject's right and left eye.
        alignment: from the image to the crop.
        flow: (2, H, W) from the reference frame, minus the head's motion.
    """

    displacement: Array
    head: Array
    flow_median_px: float
    eyes_open: Array
    alignment: Alignment
    flow: Array


@dataclass(frozen=True)
class _Reference:
    """The frame that others are compared with, and where things are in it."""

    time_s: float
    crop: Gray
    displacement: Array
    discs: tuple[npt.NDArray[np.intp], ...]
    rigid: npt.NDArray[np.intp]
    depth: Array


class MotionMeter:
    """Measures motion frame by frame; keeps only two frames in memory.

    Args:
        method: how flow is computed.
        mode: how the face is aligned, see `openmer.face.align`.
    """

    def __init__(self, method: FlowMethod = "dis", mode: AlignMode = "per_clip") -> None:
        self._method: FlowMethod = method
        self._aligner = SteadyAlignment(mode)
        self._steady = mode == "per_clip"
        self._alignment: Alignment | None = None
        self._previous: Gray | None = None
        self._reference: _Reference | None = None
        self._track = -1

    def update(self, time_s: float, gray: Gray, face: Face | None) -> FrameMotion | None:
        """Measure the next (H, W) frame; None where there is no face."""
        if face is None or face.track != self._track:
            self._forget()
        if face is None:
            return None
        self._track = face.track
        alignment, is_new = self._aligner.update(face.landmarks)
        # Across a change of alignment this frame is measured in the old one, so that both frames share one.
        measured_in = self._alignment if self._alignment is not None and self._steady else alignment
        self._alignment = alignment
        crop = measured_in.warp(gray)
        if self._reference is None or self._previous is None:
            result = self._first(face, alignment)
        else:
            result = self._measure(crop, face, self._reference, self._previous, alignment)
        if is_new and self._steady:
            crop = alignment.warp(gray)
        reference = self._reference
        if reference is None or (is_new and self._steady) or time_s - reference.time_s >= REFERENCE_S:
            points = alignment.to_crop(face.landmarks)
            self._reference = _Reference(time_s, crop, result.displacement, *_places(points), head_depth(points))
        self._previous = crop
        return result

    def _forget(self) -> None:
        self._aligner.reset()
        self._alignment = self._previous = self._reference = None

    def _first(self, face: Face, alignment: Alignment) -> FrameMotion:
        still = np.zeros((2, CROP_PX, CROP_PX), np.float32)
        displacement = np.zeros((len(REGIONS), 2), np.float32)
        return FrameMotion(displacement, np.zeros(6, np.float32), 0.0, eyes_open(face.landmarks), alignment, still)

    def _measure(
        self, crop: Gray, face: Face, reference: _Reference, previous: Gray, alignment: Alignment
    ) -> FrameMotion:
        step = optical_flow(previous, crop, self._method)
        head = fit_head_motion(step, reference.depth, reference.rigid)
        flow = optical_flow(reference.crop, crop, self._method)
        flow -= fit_head_motion(flow, reference.depth, reference.rigid).field(reference.depth)
        moved = np.stack([flow.reshape(2, -1)[:, disc].mean(1) for disc in reference.discs])
        return FrameMotion(
            displacement=(reference.displacement + moved).astype(np.float32),
            head=_step(head),
            flow_median_px=float(np.median(np.hypot(step[0], step[1]))),
            eyes_open=eyes_open(face.landmarks),
            alignment=alignment,
            flow=flow,
        )


def _step(motion: HeadMotion) -> Array:
    """As in `FrameMotion.head`."""
    yaw, pitch, roll = motion.turn_deg
    return np.array([*motion.shift_px, roll, motion.growth_pct, yaw, pitch], np.float32)


def relative_to_head(flow: Array, points: Array) -> Array:
    """A flow (2, CROP_PX, CROP_PX) minus the head's motion; `points` are the (68, 2) landmarks in the crop."""
    depth = head_depth(points)
    return flow - fit_head_motion(flow, depth, _places(points)[1]).field(depth)


def region_flow(flow: Array, points: Array) -> Array:
    """A flow (2, CROP_PX, CROP_PX) minus the head's motion, averaged over each region: (R, 2) px.

    `points` are the (68, 2) landmarks in the crop.
    """
    still = relative_to_head(flow, points).reshape(2, -1)
    return np.stack([still[:, disc].mean(1) for disc in region_discs(points)]).astype(np.float32)


def region_discs(points: Array) -> tuple[npt.NDArray[np.intp], ...]:
    """Flat pixel indices of each region's disc in the crop; `points` are the (68, 2) landmarks in the crop."""
    return _places(points)[0]


def eyes_open(landmarks: Array) -> Array:
    """Eye aspect ratio of the subject's right and left eye (Soukupová, Čech 2016): (68, 2) -> (2,).

    About 0.3 for an open eye, under 0.15 for a closed one.
    """
    ratios = []
    for start in (36, 42):
        p = landmarks[start : start + 6]
        height = np.linalg.norm(p[1] - p[5]) + np.linalg.norm(p[2] - p[4])
        ratios.append(height / max(1e-6, 2 * float(np.linalg.norm(p[0] - p[3]))))
    return np.array(ratios, np.float32)


def _places(points: Array) -> tuple[tuple[npt.NDArray[np.intp], ...], npt.NDArray[np.intp]]:
    """Flat pixel indices of each region's disc, and of the skin that moves with the skull."""
    between_eyes = float(np.linalg.norm(points[45] - points[36]))
    radius = max(2.0, REGION_RADIUS * between_eyes)
    y, x = np.mgrid[:CROP_PX, :CROP_PX]
    discs = []
    for region in REGIONS:
        centre = points[list(region.landmarks)].mean(0) - np.array([0, region.raised * between_eyes])
        centre = np.clip(centre, 0, CROP_PX - 1)
        discs.append(np.flatnonzero((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2))
    return tuple(discs), rigid_skin(points)


def face_skin(points: Array, jaw: slice = slice(17)) -> npt.NDArray[np.uint8]:
    """(CROP_PX, CROP_PX), 1 on the face up to the lower edge of the forehead.

    Args:
        points: (68, 2) landmarks in the crop.
        jaw: which of the jaw's 17 points bound it.
    """
    between_eyes = float(np.linalg.norm(points[45] - points[36]))
    upper = points[17:27] - np.array([0, 0.25 * between_eyes], np.float32)
    mask = np.zeros((CROP_PX, CROP_PX), np.uint8)
    _fill(mask, np.concatenate([points[jaw], upper]), 1)
    return mask


def rigid_skin(points: Array) -> npt.NDArray[np.intp]:
    """Flat indices of skin that moves with the skull: nose bridge, upper cheeks, forehead's edge; every third pixel.

    `points` are the (68, 2) landmarks in the crop.
    """
    between_eyes = float(np.linalg.norm(points[45] - points[36]))
    mask = face_skin(points, slice(1, 16))
    moving = np.zeros_like(mask)
    for part in (points[17:22], points[22:27], points[36:42], points[42:48], points[48:60]):
        _fill(moving, part, 1)
    grown = max(3, round(0.12 * between_eyes))
    moving = np.asarray(cv2.dilate(moving, np.ones((2 * grown + 1, 2 * grown + 1), np.uint8)), np.uint8)
    mouth_top = points[[31, 33, 35], 1].mean() + 0.05 * between_eyes
    y, x = np.mgrid[:CROP_PX, :CROP_PX]
    keep = (mask == 1) & (moving == 0) & (y < mouth_top) & (x % 3 == 0) & (y % 3 == 0)
    indices = np.flatnonzero(keep)
    return indices if len(indices) >= 30 else np.flatnonzero((x % 4 == 0) & (y % 4 == 0))


def _fill(mask: npt.NDArray[np.uint8], points: Array, value: int) -> None:
    hull = cv2.convexHull(np.round(points).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, value)
