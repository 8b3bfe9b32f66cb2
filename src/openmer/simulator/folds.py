"""Folds of the skin that come with a movement: forehead, glabella, crow's feet, beside nose and mouth, chin.

Each lies where anatomy has it (FACS manual, appearance changes of each unit), glued to the skin, and deepens as the
units that fold it become stronger. How deep, how many and how much of them stays in a neutral face differ from person
to person; sizes are our choice.

Places are mm on the mean face: outwards from the middle, and up. Shape legend: V vertices, B fields, G folds.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from openmer.clip import Array
from openmer.simulator.head import head_model
from openmer.simulator.unit_motion import SIDES

HALF_DEEP = 0.35  # strength of a unit, 1 is full, at which a fold is two thirds as deep as it can be
Line = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Fold:
    """Lines of the skin that the same units fold, on the left side; the right mirrors them.

    Attributes:
        units: unit -> how much it folds.
        lines: (outwards, up) mm.
        reach: mm around the lines within which skin folds with these units.
        aged: share of its depth that an old face keeps at rest.
    """

    units: dict[int, float]
    lines: tuple[Line, ...]
    reach: float
    aged: float


def _arch(height: float) -> Line:
    return ((0, height), (14, height + 2.5), (28, height + 3), (42, height), (52, height - 6))


FOLDS: dict[str, Fold] = {
    "forehead, inner": Fold({1: 1.0, 2: 0.3}, tuple(_arch(h)[:3] for h in (44, 52, 60, 68)), 9, 0.5),
    "forehead, outer": Fold({2: 1.0, 1: 0.2}, tuple(_arch(h)[2:] for h in (44, 52, 60, 68)), 9, 0.5),
    "glabella": Fold({4: 1.0, 9: 0.3}, (((5, 12), (6.5, 22), (6, 36)), ((11, 20), (12.5, 28), (11, 36))), 6, 0.4),
    "nose's root": Fold({9: 0.8, 4: 0.5}, (((0, 14), (6, 13)), ((3, 4), (10, -4)), ((5, -4), (12, -13))), 6, 0.15),
    "crow's feet": Fold(
        {6: 1.0, 12: 0.15, 9: 0.2},
        (((50, 12), (60, 18)), ((51, 7), (63, 8)), ((50, 2), (61, -3)), ((47, -3), (57, -11))),
        7,
        0.5,
    ),
    "below the eye": Fold(
        {6: 0.8, 7: 0.6, 9: 0.3}, (((22, 0), (33, -5), (45, -2)), ((24, -6), (34, -11), (44, -9))), 6, 0.6
    ),
    "nasolabial": Fold(
        {12: 1.0, 10: 0.8, 9: 0.5, 6: 0.2, 20: 0.2}, (((16, -30), (22, -38), (28, -49), (32, -62)),), 7, 0.9
    ),
    "corner": Fold({14: 1.0, 12: 0.4, 20: 0.4, 24: 0.2}, (((29, -55), (31, -61), (30, -67)),), 6, 0.2),
    "below the corner": Fold({15: 1.0, 17: 0.4}, (((25, -66), (28, -76), (29, -84)),), 6, 0.6),
    "chin": Fold(
        {17: 1.0, 15: 0.2}, (((0, -80), (9, -81), (16, -84)), ((3, -90), (8, -92)), ((5, -98), (11, -96))), 8, 0.2
    ),
}


@cache
def _regions() -> Array:
    """(G * 2, V) 0 to 1: which skin folds, for each fold on the right and on the left."""
    model = head_model()
    x, z = model.mean[:, 0], model.mean[:, 2]
    front = (model.part == 0) & (model.mean[:, 1] < 0)
    rows = []
    for fold in FOLDS.values():
        for sign in (-1, 1):
            nearest = np.full(len(x), np.inf)
            for line in fold.lines:
                for place in _dense(line):
                    nearest = np.minimum(nearest, (x - sign * place[0]) ** 2 + (z - place[1]) ** 2)
            rows.append(front * np.exp(-nearest / (2 * fold.reach**2)))
    return np.asarray(rows, np.float32)


def _dense(line: Line) -> Array:
    """(N, 2) places every 2 mm or so."""
    points = np.array(line, np.float32)
    return np.concatenate([np.linspace(a, b, 6) for a, b in pairwise(points)])


@cache
def _strengths() -> Array:
    """(G * 2, B, 2): from the fields' coefficients to how far each fold is driven, along the pull and across it."""
    names = head_model().field_names
    out = np.zeros((2 * len(FOLDS), len(names), 2), np.float32)
    for k, fold in enumerate(FOLDS.values()):
        for s, side in enumerate(SIDES):
            for unit, gain in fold.units.items():
                start = names.index(f"AU{unit}{side}")
                out[2 * k + s, [start, start + 2], 0] = gain
                out[2 * k + s, [start + 1, start + 3], 1] = gain
    return out


def folded(coefficients: Array) -> Array:
    """(B,) coefficients of the fields -> (V + G,) 0 to 1: how deep the skin's folds are; 0 on glasses."""
    driven = np.hypot(*(coefficients @ _strengths()).T)
    deep = 1 - np.exp(-driven / HALF_DEEP)
    out = np.zeros(len(head_model().mesh_template), np.float32)
    some = np.flatnonzero(deep > 1e-4)
    if len(some):
        regions = _regions()[some]
        out[: regions.shape[1]] = np.minimum(deep[some] @ regions, 1.0)
    return out
