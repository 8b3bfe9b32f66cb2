"""Glasses: a frame of thin strips that some people wear.

They are part of the head's mesh but no facial action moves them, so rendering, occlusion and exact flow need no special
case. Shapes and sizes are our choice. Lenses are not drawn.

Shape legend: G vertices, F triangles. Lengths are mm; +x the subject's left, -y forward, +z up.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from openmer.clip import Array

_RIM, _BRIDGE, _ARM = 36, 9, 2  # cross-sections of each strip
VERTICES = 2 * (2 * _RIM + _BRIDGE + 2 * _ARM)


@cache
def triangles() -> npt.NDArray[np.int32]:
    """(F, 3) vertex numbers from 0: two closed rims, a bridge, two arms; each strip alternates between its edges."""
    corners, start = [], 0
    for sections, closed in ((_RIM, True), (_RIM, True), (_BRIDGE, False), (_ARM, False), (_ARM, False)):
        for k in range(sections if closed else sections - 1):
            a, b = start + 2 * k, start + 2 * ((k + 1) % sections)
            corners += [(a, a + 1, b), (a + 1, b + 1, b)]
        start += 2 * sections
    return np.array(corners, np.int32)


def none() -> Array:
    """(G, 3): all at one point, so no triangle has an area."""
    return np.zeros((VERTICES, 3), np.float32)


def draw_glasses(rng: np.random.Generator, points: Array) -> Array:
    """(G, 3): a randomly shaped frame that fits this face.

    Args:
        rng: chooses size, shape and thickness.
        points: (68, 3) landmarks of the neutral face.
    """
    right, left = points[36:42].mean(0), points[42:48].mean(0)
    apart = float(left[0] - right[0])
    wide = apart * rng.uniform(0.32, 0.41)
    high = wide * rng.uniform(0.65, 0.95)
    power = 2 / rng.uniform(2, 5)  # of a superellipse: 2 is an ellipse, 5 nearly a rectangle
    thick = rng.uniform(1.2, 3.2)
    drop = rng.uniform(0, 4)
    front = float(points[17:27, 1].min()) - 5.0
    angle = 2 * np.pi * np.arange(_RIM) / _RIM
    across, up = (np.sign(f(angle)) * np.abs(f(angle)) ** power for f in (np.cos, np.sin))
    strips = []
    for eye in (right, left):
        inner = np.stack([eye[0] + wide * across, eye[2] - drop + high * up], 1)
        outer = np.stack([eye[0] + (wide + thick) * across, eye[2] - drop + (high + thick) * up], 1)
        strips.append(np.stack([outer, inner], 1))
    reach = apart / 2 - wide
    middle = (right + left) / 2
    arch = np.linspace(-1, 1, _BRIDGE)
    line = np.stack([middle[0] + reach * arch, middle[2] - drop + high * 0.25 + 2.5 * (1 - arch**2)], 1)
    half = np.array([0, thick / 2])
    strips.append(np.stack([line + half, line - half], 1))
    flat = np.concatenate(strips).reshape(-1, 2)
    # A frame follows the face's curve a little: the outer edges are farther back.
    shaped = np.stack([flat[:, 0], front + 0.0016 * (flat[:, 0] - middle[0]) ** 2, flat[:, 1]], 1)
    arms = []
    for eye, ear, side in ((right, points[0], -1), (left, points[16], 1)):
        x = eye[0] + side * (wide + thick)
        height = eye[2] - drop + high * 0.3
        begin = np.array([x, front + 0.0016 * (x - middle[0]) ** 2, height])
        end = np.array([ear[0] + side * 4.0, ear[1], height])
        half = np.array([0, 0, thick / 2])
        arms.append([[place + half, place - half] for place in (begin, end)])
    return np.concatenate([shaped, np.array(arms).reshape(-1, 3)]).astype(np.float32)
