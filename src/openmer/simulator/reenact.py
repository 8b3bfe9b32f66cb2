"""Re-enactment: the motion of a drawn expression, added to pictures of a real face.

A simulated head takes the pose of the face. Its expression gives a field of motion, which a thin-plate spline through
the 68 landmarks carries to the picture; there it is D, in px: what the untouched picture shows at p, the re-enacted
one shows at p + D(p). For each of its pixels q, q = p + D(p) is solved for p by iteration, and the picture is sampled
there with cubic splines. So the added motion is known exactly, whatever the face itself does; it is the truth for what
was added, not for the face.

The field is smooth, as skin is: a warp cannot open a closed mouth, and a lid does not slide over the eye.

Shape legend: T frames, A facial actions, H rows, W columns, S side of the head's picture.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator, RectBivariateSpline
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates, spline_filter

from openmer.clip import ALIGNED_PX, Array, Times
from openmer.errors import InputError
from openmer.face.align import align
from openmer.face.pose import head_pose
from openmer.simulator.camera import Camera, Pose, Surface, rasterize
from openmer.simulator.facial_motion import Event
from openmer.simulator.head import Identity, head_model, seen_landmarks
from openmer.simulator.recording import face_centre, scaled
from openmer.simulator.render import crop_camera

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.floating[Any]]

MARGIN = 1.5  # the head's picture beside the aligned square: forehead and chin belong to it
FINE = 2  # its pixels for one of the crop
MIN_SPREAD_PX = 1.2  # of the crop: over this distance neighbouring skin moves along
SPREAD_OF_PEAK = 0.8  # a larger motion spreads farther, so that the picture never folds
MAX_TURN_DEG = 20.0  # a face turned farther would hide what moves, and its pose is uncertain
STIFFNESS = 50.0  # of the spline; landmarks are off by half a px of the crop
NODES_PX = 2.0  # of the crop, between the places where the spline is evaluated
MAX_STEPS, TOLERANCE_PX = 200, 3e-4
DAMPING = 0.7  # whole steps would not end where skin is stretched to more than twice its length
REST_PX = 1e-3  # motion below this is none


class FoldError(InputError):
    """A motion is so large, or changes so fast from place to place, that it would fold the picture."""


@dataclass(frozen=True)
class Actor:
    """A simulated head in the pose of a real face, seen by a camera that shows the aligned square and around it.

    Attributes:
        identity: its neutral face.
        pose: of the head.
        camera: its picture has FINE pixels for one of the crop.
    """

    identity: Identity
    pose: Pose
    camera: Camera

    @cached_property
    def neutral(self) -> Array:
        """(V, 3) mm."""
        return self.pose.apply(self.identity.vertices)

    @cached_property
    def marks(self) -> Array:
        """(68, 2) px of the head's picture."""
        return seen_landmarks(self.neutral, self.camera)

    @cached_property
    def surface(self) -> Surface:
        """What the camera sees of the neutral face."""
        return rasterize(
            self.camera.project(self.neutral), head_model().mesh_faces, self.camera.height, self.camera.width
        )

    def displacement(self, coefficients: Array) -> Array:
        """(A,) coefficients -> (2, S, S) px of the crop: how the visible surface moves; 0 beside it."""
        posed = self.pose.apply(self.identity.posed(coefficients))
        moved = (self.camera.project(posed) - self.camera.project(self.neutral))[:, :2] / np.float32(FINE)
        return np.moveaxis(self.surface.interpolate(moved.astype(np.float32), head_model().mesh_faces), -1, 0)


def cast(face: Array, identity: Identity) -> Actor:
    """The head in the pose that explains the landmarks of a face best.

    Args:
        face: (68, 2) px of the picture.
        identity: whose motion is borrowed.

    Raises:
        InputError: the landmarks span no face.
    """
    align(face)  # refuses what is no face
    yaw, pitch = (float(np.clip(degrees, -MAX_TURN_DEG, MAX_TURN_DEG)) for degrees in head_pose(face).degrees[:2])
    turned = Pose(np.radians(yaw), np.radians(pitch))
    middle = face_centre(turned.apply(identity.vertices))
    pose = replace(turned, shift=(-float(middle[0]), 0.0, -float(middle[2])))
    side = round(ALIGNED_PX * MARGIN) * FINE
    return Actor(identity, pose, crop_camera(side, pose.apply(identity.vertices), margin=MARGIN))


@dataclass(frozen=True)
class AddedMotion:
    """What is added to one picture.

    Attributes:
        field: (2, H, W) px (dx, dy) of the picture at its pixels from `corner` on; between them it is bilinear, and
            beyond them as at the border, where it is next to nothing. Only these pixels change.
        corner: (x, y) of the first.
    """

    field: Array
    corner: tuple[int, int]

    def at(self, points: Points) -> Points:
        """(..., 2) px of the untouched picture -> (..., 2) px that what is there is moved."""
        places = [points[..., 1] - self.corner[1], points[..., 0] - self.corner[0]]
        return np.stack([map_coordinates(part, places, order=1, mode="nearest") for part in self.field], -1)

    def source(self, points: Points) -> Points:
        """(..., 2) px of the re-enacted picture -> (..., 2) px: where the untouched one shows the same.

        Raises:
            FoldError: the field folds the picture.
        """
        start = np.asarray(points, np.float64)
        source = start - self.at(start)
        for _ in range(0 if self.folds else MAX_STEPS):
            error = start - self.at(source) - source
            if np.abs(error).max(initial=0.0) < TOLERANCE_PX:
                return source
            source = source + DAMPING * error
        raise FoldError(f"a motion of {self.largest_px:.3g} px would fold the picture; ask for a smaller one")

    @cached_property
    def folds(self) -> bool:
        """Whether two places of the untouched picture would come to lie on one."""
        if min(self.field.shape[1:]) < 2:
            return False
        (x_y, x_x), (y_y, y_x) = (np.gradient(part) for part in self.field)
        return bool(((1 + x_x) * (1 + y_y) - x_y * y_x).min() <= 0)

    @property
    def largest_px(self) -> float:
        """The largest motion, px of the picture."""
        return float(np.hypot(*self.field).max(initial=0.0))

    def apply(self, picture: Picture) -> Picture:
        """The re-enacted picture, (H, W) or (H, W, 3)."""
        return self._sampled(picture, self.source)

    def undo(self, picture: Picture) -> Picture:
        """The untouched picture as far as resampling gives it back: what remains is the harm that sampling does."""
        return self._sampled(picture, lambda points: points + self.at(points))

    def _sampled(self, picture: Picture, where: Callable[[Points], Points]) -> Picture:
        """The picture, whose pixels inside the field come from elsewhere."""
        x, y = self.corner
        left, top = max(0, x), max(0, y)
        right = min(picture.shape[1], x + self.field.shape[2])
        bottom = min(picture.shape[0], y + self.field.shape[1])
        if self.largest_px < REST_PX or right <= left or bottom <= top:
            return picture
        rows, columns = np.mgrid[top:bottom, left:right]
        places = where(np.stack([columns, rows], -1).astype(np.float32))
        reach = int(np.ceil(self.largest_px)) + 16  # a spline's coefficients forget the border in some 12 px
        x0, y0 = max(0, left - reach), max(0, top - reach)
        patch = picture[y0 : bottom + reach, x0 : right + reach]
        out = picture.copy()
        at = [places[..., 1] - y0, places[..., 0] - x0]
        for layer in np.ndindex(picture.shape[2:]):
            coefficients = spline_filter(patch[(..., *layer)].astype(np.float64), order=3, mode="mirror")
            value = map_coordinates(coefficients, at, order=3, mode="mirror", prefilter=False)
            out[(slice(top, bottom), slice(left, right), *layer)] = np.clip(np.rint(value), 0, 255)
        return out


def _trimmed(added: AddedMotion) -> AddedMotion:
    """Without the border in which nothing moves."""
    moves: npt.NDArray[np.bool_] = np.linalg.norm(added.field, axis=0) > REST_PX / 10
    rows, columns = np.flatnonzero(moves.any(1)), np.flatnonzero(moves.any(0))
    if not len(rows):
        return AddedMotion(added.field[:, :1, :1], added.corner)
    (x, y), top, left = added.corner, max(0, rows[0] - 1), max(0, columns[0] - 1)
    return AddedMotion(added.field[:, top : rows[-1] + 2, left : columns[-1] + 2], (int(x + left), int(y + top)))


@dataclass(frozen=True)
class Reenactment:
    """An expression that a face is made to show.

    Attributes:
        actor: the head that shows it.
        event: its course.
        spread_px: of the crop, over which skin moves together.
        gain: factor on the field, so that its largest motion at the apex is `event.peak_px` px of the crop.
    """

    actor: Actor
    event: Event
    spread_px: float
    gain: float

    def motion(self, time_s: float) -> Array:
        """(2, S, S) px of the crop, on the head's picture."""
        (coefficients,) = self.event.coefficients(np.array([time_s]))
        return self.gain * _spread(self.actor.displacement(coefficients), self.spread_px)

    def on(self, face: Array, time_s: float) -> AddedMotion:
        """What is added at a moment to a picture with this face.

        Args:
            face: (68, 2) px of the picture, steadied over time (see `steadied`): their jitter would move the field.
            time_s: seconds, in the time of the event.
        """
        square = align(face, size=ALIGNED_PX)
        reach = ALIGNED_PX * (MARGIN - 1) / 2
        edges = np.array([-reach, ALIGNED_PX - 1 + reach], np.float32)
        box = square.to_image(np.stack(np.meshgrid(edges, edges), -1).reshape(-1, 2))
        low, high = np.floor(box.min(0)).astype(int), np.ceil(box.max(0)).astype(int)
        x, y = np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)
        places = self._places(face, x, y, square.scale)
        motion = self.motion(time_s)
        sampled = np.stack([map_coordinates(part, places[::-1], order=1, cval=0.0) for part in motion])
        # Lengths and directions are the crop's, so that a size in px of the crop is exact.
        to_picture = np.linalg.inv(square.matrix[:, :2])
        field = np.einsum("ij,jhw->ihw", to_picture, sampled).astype(np.float32)
        return _trimmed(AddedMotion(field, (int(low[0]), int(low[1]))))

    def _places(
        self, face: Array, x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], scale: float
    ) -> tuple[Array, Array]:
        """Column and row on the head's picture of each pixel, (H, W) each."""
        middle = face.mean(0)
        spline = RBFInterpolator((face - middle) * scale, self.actor.marks, smoothing=STIFFNESS)
        count = [max(4, round(len(axis) * scale / NODES_PX)) for axis in (y, x)]
        nodes = [np.linspace(axis[0], axis[-1], n) for axis, n in zip((y, x), count, strict=True)]
        grid = np.stack(np.meshgrid(nodes[1], nodes[0]), -1)
        values = spline(((grid - middle) * scale).reshape(-1, 2)).reshape(*grid.shape)
        column, row = (RectBivariateSpline(*nodes, values[..., k])(y, x).astype(np.float32) for k in (0, 1))
        return column, row


def reenact(actor: Actor, event: Event, peak_px: float) -> Reenactment:
    """An expression of an exact size.

    Args:
        actor: who shows it.
        event: as drawn; only the relative strengths of its units matter.
        peak_px: the largest motion at the apex, px of the 128 crop.

    Raises:
        InputError: the event moves nothing that can be seen, or the size is not above 0.
    """
    if not peak_px > 0:
        raise InputError(f"the size of an expression must be above 0 px, got {peak_px}")
    sized = scaled(event, peak_px, actor.identity, actor.pose, actor.camera, square=ALIGNED_PX * FINE)
    spread_px = max(MIN_SPREAD_PX, SPREAD_OF_PEAK * peak_px)
    trial = Reenactment(actor, sized, spread_px, 1.0)
    reach = max(float(np.hypot(*trial.motion(moment)).max()) for moment in _apexes(sized))
    if reach < REST_PX:
        raise InputError("this expression moves nothing that a camera sees")
    return Reenactment(actor, replace(sized, peak_px=peak_px), spread_px, peak_px / reach)


def _apexes(event: Event) -> tuple[float, ...]:
    """Moments at which it may be largest: its parts may differ by their lags."""
    first, last = event.apex_s - event.max_lag_s, event.apex_s + event.hold_s + event.max_lag_s
    return (event.apex_s, event.apex_s + event.hold_s / 2, *np.linspace(first, last, 9).tolist())


def _spread(motion: Array, sigma_px: float) -> Array:
    """Neighbouring skin moves along; nothing moves at the border of the head's picture."""
    smooth = np.stack([gaussian_filter(part, sigma_px * FINE, mode="constant") for part in motion])
    side = motion.shape[1]
    edge = np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.1 * side)
    fade = np.clip(edge, 0, 1) ** 2 * (3 - 2 * np.clip(edge, 0, 1))
    return np.asarray(smooth * fade[:, None] * fade, np.float32)


def steadied(faces: Array, times_s: Times, seconds: float = 0.15) -> Array:
    """Landmarks averaged over some frames, without their jitter.

    Args:
        faces: (T, 68, 2) px; NaN where there is no face.
        times_s: (T,) evenly spaced, more or less.
        seconds: standard deviation of the weights.

    Returns:
        (T, 68, 2) px; NaN where there was no face.
    """
    sigma = seconds / float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    if sigma == 0:
        return faces
    known = np.asarray(np.isfinite(faces).all((1, 2)))
    weight = gaussian_filter1d(known.astype(np.float64), sigma, mode="constant")
    total = gaussian_filter1d(np.where(known[:, None, None], faces, 0.0), sigma, axis=0, mode="constant")
    smooth = total / np.where(known, weight, 1.0)[:, None, None]
    return np.where(known[:, None, None], smooth, np.nan).astype(np.float32)
