"""Optical flow between two gray frames, optical strain, and pictures of both.

Flow is (2, H, W) float32: (dx, dy) in pixels, from the first frame to the second, x right, y down: what is at
(x, y) in the first frame is at (x + dx, y + dy) in the second.
"""

import threading
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from openmer.choices import FlowDevice, FlowMethod
from openmer.clip import Array, Gray
from openmer.errors import InputError

MOTION_PX = 28  # what STSTNet and Off-ApexNet read


_made = threading.local()


def _solver(method: FlowMethod) -> Any:
    """One for each thread: OpenCV's solvers keep buffers, and two threads in one of them end the process."""
    kept: dict[str, Any] = _made.__dict__
    if method not in kept:
        kept[method] = _new_solver(method)
    return kept[method]


def _new_solver(method: FlowMethod) -> Any:
    if method == "tvl1":
        # Zach, Pock, Bischof 2007; OpenCV's defaults, as in the released MOL recipe.
        return cv2.optflow.createOptFlow_DualTVL1()
    if method == "dis":
        # Kroeger et al. 2016. The presets stop at half resolution, which halves the motion of a mouth corner
        # (docs/LOG.md); at full resolution it is less biased than TV-L1, and thirty times faster.
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
        dis.setFinestScale(0)
        return dis
    raise InputError(f"unknown flow method {method!r}; choose dis, tvl1 or farneback")


def optical_flow(first: Gray, second: Gray, method: FlowMethod = "tvl1") -> Array:
    """Dense flow from `first` to `second`.

    Args:
        first: (H, W) uint8.
        second: (H, W) uint8, the same size.
        method: `tvl1` (DualTVL1 with OpenCV's default parameters), `dis` or `farneback`.

    Returns:
        (2, H, W) float32 pixels.

    Raises:
        InputError: the two frames differ in size, or the method is unknown.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise InputError(f"flow needs two gray frames of the same size, got {first.shape} and {second.shape}")
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    if method == "farneback":
        # Farnebäck 2003, with the parameters of OpenCV's own example.
        start = np.zeros((*first.shape, 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(first, second, start, 0.5, 3, 15, 3, 5, 1.1, 0)
    else:
        flow = _solver(method).calc(first, second, None)
    return np.ascontiguousarray(np.moveaxis(flow, -1, 0), dtype=np.float32)


def clip_flow(frames: Gray, method: FlowMethod = "tvl1", device: FlowDevice = "cpu") -> Array:
    """Flow between all neighbouring frames: (T, H, W) uint8 -> (T-1, 2, H, W) float32 pixels.

    On a GPU all pairs are solved at once; this is available only for TV-L1, and differs from OpenCV's by about a
    hundredth of a pixel.
    """
    if device == "cuda" and method == "tvl1":
        import torch

        from openmer.clips.tvl1 import tvl1_flow

        gray = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
        return np.asarray(tvl1_flow(gray[:-1], gray[1:]).cpu().numpy(), np.float32)
    return np.stack([optical_flow(a, b, method) for a, b in pairwise(frames)])


def optical_strain(flow: Array) -> Array:
    """Magnitude of the infinitesimal strain of a flow, after Shreve et al. 2011.

    Args:
        flow: (2, H, W) pixels.

    Returns:
        (H, W) float32, pixels per pixel: the Frobenius norm of (J + J^T) / 2, J the flow's Jacobian.
    """
    u_y, u_x = np.gradient(flow[0])
    v_y, v_x = np.gradient(flow[1])
    shear = 0.5 * (u_y + v_x)
    return np.asarray(np.sqrt(u_x**2 + v_y**2 + 2 * shear**2), np.float32)


def stacked_motion(flow: Array) -> Array:
    """(2, H, W) px -> (3, 28, 28): dx, dy and strain, as STSTNet (Liong et al. 2019) reads them."""
    stacked = np.concatenate([flow, optical_strain(flow)[None]])
    small = [cv2.resize(part, (MOTION_PX, MOTION_PX), interpolation=cv2.INTER_AREA) for part in stacked]
    return np.asarray(np.stack(small), np.float32)


def flow_to_color(flow: Array, max_px: float) -> npt.NDArray[np.uint8]:
    """Flow as colour: hue is the direction, saturation the length, white is no motion.

    Args:
        flow: (2, H, W) pixels; NaN is drawn white.
        max_px: length drawn in full colour.

    Returns:
        (H, W, 3) uint8 RGB. Right is red, down is yellow-green, left is cyan, up is violet.
    """
    dx, dy = np.nan_to_num(flow)
    hsv = np.empty((*dx.shape, 3), np.float32)
    hsv[..., 0] = np.degrees(np.arctan2(dy, dx)) % 360
    hsv[..., 1] = np.clip(np.hypot(dx, dy) / max_px, 0, 1)
    hsv[..., 2] = 1
    return np.rint(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).astype(np.uint8)


def color_wheel(size: int) -> npt.NDArray[np.uint8]:
    """The legend of `flow_to_color`: a disc of all directions, (size, size, 3) uint8 RGB."""
    half = (size - 1) / 2
    y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32(half)
    y, x = y / half, x / half
    flow = np.stack([x, y])
    flow[:, np.hypot(x, y) > 1] = 0
    return flow_to_color(flow, 1.0)


def draw_arrows(
    image: npt.NDArray[np.uint8], flow: Array, *, step: int = 8, magnify: float = 4.0, min_px: float = 0.1
) -> npt.NDArray[np.uint8]:
    """A copy of `image` with the flow as arrows.

    Args:
        image: (H', W', 3) uint8 RGB; if larger than the flow, the arrows are scaled to it.
        flow: (2, H, W) pixels.
        step: spacing of the arrows, pixels of the flow.
        magnify: how many times longer an arrow is than its motion.
        min_px: shorter motion gets no arrow.
    """
    canvas = image.copy()
    zoom = image.shape[1] / flow.shape[2]
    for y in range(step // 2, flow.shape[1], step):
        for x in range(step // 2, flow.shape[2], step):
            dx, dy = flow[:, y, x]
            if not np.hypot(dx, dy) >= min_px:
                continue
            start = (round(x * zoom), round(y * zoom))
            end = (round((x + dx * magnify) * zoom), round((y + dy * magnify) * zoom))
            cv2.arrowedLine(canvas, start, end, (20, 20, 20), 3, cv2.LINE_AA, tipLength=0.35)
            cv2.arrowedLine(canvas, start, end, (255, 255, 255), 1, cv2.LINE_AA, tipLength=0.35)
    return canvas
