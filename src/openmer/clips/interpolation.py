"""Frames between frames, for recordings that are too short for a clip.

At 25 or 30 frames a second most micro-expressions have fewer frames than a clip needs. Two ways to make more of them:
along a curve through all frames (TIM), or along the flow between neighbours.

Shape legend: L frames of the recording, T frames wanted, H rows, W columns.
"""

from typing import TypeVar

import cv2
import numpy as np

from openmer.choices import FlowMethod, Interpolation
from openmer.clip import Array, Gray, Times
from openmer.clips.flow import optical_flow
from openmer.errors import InputError

Rows = TypeVar("Rows", Array, Times)
MIN_FRAMES = 2  # without two frames there is no motion
_BETWEEN: FlowMethod = "dis"  # the flow to warp along; at full resolution it is less biased than TV-L1 for large steps


def even_places(length: int, frames: int) -> Times:
    """(T,) places, evenly from the first to the last of L frames; 1.5 is halfway between the second and the third.

    Raises:
        InputError: there are fewer than two frames.
    """
    if length < MIN_FRAMES:
        raise InputError(f"{length} frame cannot be interpolated: at least {MIN_FRAMES} are needed")
    return np.linspace(0, length - 1, frames)


def interpolated(frames: Gray, places: Times, how: Interpolation) -> Gray:
    """(L, H, W) -> (T, H, W): the pictures at these places; at a whole number it is the frame itself.

    Raises:
        InputError: a place lies outside, or `how` names no interpolation.
    """
    if len(places) and not (places.min() >= 0 and places.max() <= len(frames) - 1):
        raise InputError(f"places must lie within 0 to {len(frames) - 1}")
    if how == "tim":
        mixed = np.tensordot(tim_weights(len(frames), places), frames.astype(np.float32), 1)
    elif how == "flow":
        mixed = np.stack([_along_flow(frames, float(place)) for place in places])
    else:
        raise InputError(f"unknown interpolation {how!r}; choose tim or flow")
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def tim_weights(length: int, places: Times) -> Array:
    """(T, L): how much of each frame the temporal interpolation model takes.

    Source: Zhou, Zhao, Pietikäinen, Towards a practical lipreading system, CVPR 2011. Frames are the vertices of a path
    graph; the eigenvectors of its Laplacian are samples of the curve f_k(t) = sin(pi k t + pi (L - k) / (2 L)) at
    t = 1/L ... 1, and frames follow from the curve linearly. The paper finds that map by a singular value
    decomposition of the centered pictures. As long as the pictures are linearly independent it is exact, and then the
    pictures cancel out of it: what is left is this matrix, an interpolation by cosines.
    """
    k = np.arange(1, length)
    vertices, wanted = (np.arange(length) + 1) / length, (places + 1) / length
    phase = np.pi * (length - k) / (2 * length)
    curve = np.sin(np.pi * np.outer(vertices, k) + phase)  # (L, L-1); its columns are orthogonal, of squared length L/2
    return (1 / length + np.sin(np.pi * np.outer(wanted, k) + phase) @ curve.T * (2 / length)).astype(np.float32)


def _along_flow(frames: Gray, place: float) -> Array:
    """(H, W): both neighbours, each warped to the moment, mixed by nearness.

    The flow from the moment to its neighbours comes from the flows between them in both directions (Jiang et al., Super
    SloMo, CVPR 2018, equation 4), which assumes that motion changes little within the step.
    """
    k = min(int(place), len(frames) - 2)
    s = place - k
    first, second = frames[k], frames[k + 1]
    if s in (0.0, 1.0):
        return np.asarray(first if s == 0 else second, np.float32)
    forth, back = optical_flow(first, second, _BETWEEN), optical_flow(second, first, _BETWEEN)
    to_first = -(1 - s) * s * forth + s**2 * back
    to_second = (1 - s) ** 2 * forth - s * (1 - s) * back
    return np.asarray((1 - s) * _warped(first, to_first) + s * _warped(second, to_second), np.float32)


def _warped(frame: Gray, flow: Array) -> Array:
    """(H, W): at each pixel, what `frame` shows where the flow leads."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    moved = cv2.remap(
        frame.astype(np.float32), x + flow[0], y + flow[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.float32)


def interpolated_rows(values: Rows, places: Times) -> Rows:
    """(L, ...) -> (T, ...): times or landmarks at these places, linear between frames; NaN where a neighbour is."""
    before, after = np.floor(places).astype(np.int64), np.ceil(places).astype(np.int64)
    s = (places - before).reshape(-1, *[1] * (values.ndim - 1))
    return ((1 - s) * values[before] + s * values[after]).astype(values.dtype)
