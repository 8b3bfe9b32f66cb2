"""Which action units are likely to have moved: regional motion compared with the units of the simulator's head.

A guess, and a coarse one: twelve regions cannot tell every unit from every other. `benchmarks/attribution.py` measures
how often it is right on simulated faces; on real faces this has not been measured.

Shape legend: R regions, U units.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from sklearn.linear_model import Lasso

from openmer.clip import ALIGNED_PX, CROP_PX, Array
from openmer.simulator.camera import exact_flow, rasterize
from openmer.simulator.facial_motion import ACTION_UNITS, action_weights
from openmer.simulator.head import Identity, head_model, landmarks
from openmer.simulator.recording import face_centre
from openmer.simulator.render import crop_camera
from openmer.video.regions import region_flow

MIN_PX = 0.1  # regional motion below which no unit is named
MIN_SHARE = 0.15  # share of the explained motion below which a unit is not named
SPARSITY = 0.05  # of the largest possible penalty: prefers one unit that fits over three that fit slightly better


@dataclass(frozen=True)
class LikelyUnit:
    """An action unit that may have moved.

    Attributes:
        unit: FACS number.
        px: size of its part of the motion in the region that it moves most, px of the 128 crop.
        right: share of it on the subject's right, 0 to 1; about one half if it is symmetric.
    """

    unit: int
    px: float
    right: float


@cache
def signatures() -> dict[int, Array]:
    """What each unit does to an average face in frontal view: unit -> (2, R, 2) px of the crop, right side and left.

    The simulator's exact flow for a tenth of a full expression, minus what passes for head motion, as in a video.
    """
    model = head_model()
    face = Identity(model.mesh_template)
    neutral = face.vertices
    shift = face_centre(neutral) * (1, 0, 1)
    camera = crop_camera(ALIGNED_PX, neutral - shift)
    room = (ALIGNED_PX - CROP_PX) // 2
    points = camera.project(landmarks(neutral - shift))[:, :2] - room

    def moved(unit: int, right: float, left: float) -> Array:
        pair = (neutral - shift, face.posed(action_weights(unit, right, left)) - shift)
        drawn = [rasterize(camera.project(v), model.mesh_faces, ALIGNED_PX, ALIGNED_PX) for v in pair]
        flow, _ = exact_flow((drawn[0], drawn[1]), *pair, model.mesh_faces, camera)
        return 10 * region_flow(flow[:, room:-room, room:-room], points)

    return {unit: np.stack([moved(unit, 0.1, 0.0), moved(unit, 0.0, 0.1)]) for unit in ACTION_UNITS}


def likely_units(motion_R2: Array) -> tuple[LikelyUnit, ...]:
    """Units whose non-negative mixture best fits the motion, largest part first; empty if there is hardly any motion.

    Args:
        motion_R2: (R, 2) px of the crop, regions minus the head's motion, from before the event to its apex.
    """
    target = np.asarray(motion_R2, np.float64).ravel()
    if np.linalg.norm(motion_R2, axis=1).max(initial=0) < MIN_PX or not np.isfinite(target).all():
        return ()
    units = list(signatures())
    columns = np.stack([side.ravel() for unit in units for side in signatures()[unit]], 1).astype(np.float64)
    sizes = np.linalg.norm(columns, axis=0)
    known = sizes > 1e-6
    columns[:, known] /= sizes[known]
    strongest = float((columns.T @ target).max())
    if strongest <= 0:
        return ()
    fit = Lasso(alpha=SPARSITY * strongest / len(target), positive=True, fit_intercept=False, max_iter=10_000)
    weights = fit.fit(columns, target).coef_.reshape(len(units), 2)
    likely = []
    for k, unit in enumerate(units):
        part = (columns[:, 2 * k : 2 * k + 2] @ weights[k]).reshape(-1, 2)
        reach = float(np.linalg.norm(part, axis=1).max())
        if reach > 0:
            sides = signatures()[unit]
            # The simulator's head moves some units on both sides at once, so a side cannot be told.
            share = 0.5 if np.allclose(sides[0], sides[1]) else float(weights[k, 0] / weights[k].sum())
            likely.append(LikelyUnit(unit, reach, share))
    total = sum(u.px for u in likely)
    likely = [u for u in likely if u.px >= MIN_SHARE * total]
    return tuple(sorted(likely, key=lambda u: -u.px))
