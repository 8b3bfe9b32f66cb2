"""Which action units are likely to have moved: regional motion compared with the units of the simulator's head.

A guess, and a coarse one: twelve regions cannot tell every unit from every other. `benchmarks/attribution.py` measures
how often it is right on simulated faces; on real faces this has not been measured.

Shape legend: R regions, U units.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from safetensors.numpy import load_file
from sklearn.linear_model import Lasso

from openmer.clip import Array

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

    From the simulator's head (`tools/build_signatures.py`); read once.
    """
    with resources.as_file(resources.files("openmer.explain") / "signatures.safetensors") as path:
        motions = load_file(path)
    return {unit: motions[f"AU{unit}"] for unit in sorted(int(name.removeprefix("AU")) for name in motions)}


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
