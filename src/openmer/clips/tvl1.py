"""Dual TV-L1 flow of many pairs of frames at once, in torch: OpenCV's method and default parameters, for a GPU.

Source: Zach, Pock, Bischof, A Duality Based Approach for Realtime TV-L1 Optical Flow, 2007; Sanchez, Meinhardt-Llopis,
Facciolo, TV-L1 Optical Flow Estimation, IPOL 2013, which also gives the parameters their names. A test checks that it
agrees with `cv2.optflow`'s solver to a few hundredths of a pixel. Each pair stops once its flow no longer changes.

Shape legend: B pairs, H rows, W columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True, kw_only=True)
class TVL1Settings:
    """The defaults are those of OpenCV's `DualTVL1OpticalFlow`.

    Attributes:
        tau: time step of the dual variables.
        attachment: weight of the data (lambda).
        theta: how tightly the two halves of the problem are coupled.
        scales: largest number of pyramid levels.
        step: size of a level relative to the one below.
        warps: number of warps of the second frame at each level.
        epsilon: the flow has converged when it changes by less than this, px on average.
        inner: iterations between median filters.
        outer: median filters per warp.
        median: side of the median filter, px, odd; 1 means no filter.
    """

    tau: float = 0.25
    attachment: float = 0.15
    theta: float = 0.3
    scales: int = 5
    step: float = 0.8
    warps: int = 5
    epsilon: float = 0.01
    inner: int = 30
    outer: int = 10
    median: int = 5


SMALLEST_PX = 16  # sides of the coarsest level
LOOK_EVERY = 5  # iterations; checking whether all pairs have converged makes a GPU wait


def tvl1_flow(first_BHW: Tensor, second_BHW: Tensor, settings: TVL1Settings | None = None) -> Tensor:  # noqa: N803
    """Flow from each first frame to its second, on the device of the frames.

    Args:
        first_BHW: gray levels, 0 to 255, of any type.
        second_BHW: the second frames, likewise.
        settings: OpenCV's defaults if None.

    Returns:
        (B, 2, H, W) float32 px, (dx, dy).

    Raises:
        ValueError: the shapes differ.
    """
    if first_BHW.shape != second_BHW.shape or first_BHW.ndim != 3:
        raise ValueError(f"two batches of frames of the same size are needed: {first_BHW.shape}, {second_BHW.shape}")
    settings = settings or TVL1Settings()
    with torch.no_grad():
        pyramid = [(first_BHW.float()[:, None], second_BHW.float()[:, None])]
        while len(pyramid) < settings.scales:
            smaller = [_resized(image, settings.step) for image in pyramid[-1]]
            if min(smaller[0].shape[2:]) < SMALLEST_PX:
                break
            pyramid.append((smaller[0], smaller[1]))
        coarsest = pyramid[-1][0]
        flow = coarsest.new_zeros(len(coarsest), 2, *coarsest.shape[2:])
        for level, (first, second) in reversed(list(enumerate(pyramid))):
            flow = _solved(first, second, flow, settings)
            if level:
                size = pyramid[level - 1][0].shape[2:]
                flow = F.interpolate(flow, size, mode="bilinear", align_corners=False) / settings.step
    return flow


def _resized(image: Tensor, step: float) -> Tensor:
    size = [round(side * step) for side in image.shape[2:]]
    # The pyramid's exact step, not the ratio of the rounded sizes: a corner-to-corner grid would drift.
    grid = [((torch.arange(n, device=image.device) + 0.5) / step - 0.5) for n in size]
    return _sampled(image, *torch.meshgrid(grid[1], grid[0], indexing="xy"), mode="bilinear", rim="border")


def _sampled(image: Tensor, x: Tensor, y: Tensor, *, mode: str, rim: str) -> Tensor:
    """The image at pixel positions (H', W') or (B, H', W').

    In float64, since float32 positions in units of half the image are inexact enough to move flat skin.
    """
    height, width = image.shape[2:]
    grid = torch.stack([2 * x.double() / (width - 1) - 1, 2 * y.double() / (height - 1) - 1], -1)
    grid = grid.expand(len(image), -1, -1, -1)
    return F.grid_sample(image.double(), grid, mode=mode, padding_mode=rim, align_corners=True).float()


def _solved(first: Tensor, second: Tensor, flow: Tensor, settings: TVL1Settings) -> Tensor:
    """One level of the pyramid."""
    height, width = first.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=first.device), torch.arange(width, device=first.device), indexing="ij"
    )
    stack = torch.cat([second, _slope(second, 3), _slope(second, 2)], 1)
    dual = flow.new_zeros(len(flow), 2, 2, height, width)  # of each component of the flow, along x and y
    for _ in range(settings.warps):
        warped = _sampled(stack, x + flow[:, 0], y + flow[:, 1], mode="bicubic", rim="zeros")
        gradient = warped[:, 1:]
        size = gradient.square().sum(1, keepdim=True)
        constant = warped[:, :1] - (gradient * flow).sum(1, keepdim=True) - first
        flow, dual = _descended(flow, dual, gradient, size, constant, settings)
    return flow


def _descended(
    flow: Tensor, dual: Tensor, gradient: Tensor, size: Tensor, constant: Tensor, settings: TVL1Settings
) -> tuple[Tensor, Tensor]:
    """Iterate at one warp, each pair until it has converged."""
    reach, ascent = settings.attachment * settings.theta, settings.tau / settings.theta
    rest = settings.epsilon**2 * flow.shape[2] * flow.shape[3]
    moving = torch.ones(len(flow), 1, 1, 1, dtype=torch.bool, device=flow.device)
    for _ in range(settings.outer):
        if settings.median > 1:
            flow = torch.where(moving, _median(flow, settings.median), flow)
        for k in range(settings.inner):
            rho = constant + (gradient * flow).sum(1, keepdim=True)
            # Where the residual is large, a full step; elsewhere the step that makes it zero.
            along = torch.where(rho.abs() > reach * size, reach * rho.sign(), rho / size.clamp_min(1e-12))
            after = flow - along * gradient + settings.theta * _divergence(dual)
            slopes = _forward(after)
            risen = (dual + ascent * slopes) / (1 + ascent * slopes.square().sum(2, keepdim=True).sqrt())
            change = (after - flow).square().sum((1, 2, 3), keepdim=True)
            flow, dual = torch.where(moving, after, flow), torch.where(moving[..., None], risen, dual)
            moving = moving & (change > rest)
            if k % LOOK_EVERY == 0 and not moving.any():
                return flow, dual
    return flow, dual


def _slope(image: Tensor, dim: int) -> Tensor:
    """Half the difference of the two neighbours, with the border replicated."""
    padding = (1, 1, 0, 0) if dim == 3 else (0, 0, 1, 1)
    wide = F.pad(image, padding, mode="replicate")
    side = image.shape[dim]
    return 0.5 * (wide.narrow(dim, 2, side) - wide.narrow(dim, 0, side))


def _forward(flow: Tensor) -> Tensor:
    """(B, 2, 2, H, W): differences to the next column and to the next row; 0 at the last."""
    return torch.stack(
        [
            F.pad(flow[..., 1:] - flow[..., :-1], (0, 1)),
            F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1)),
        ],
        2,
    )


def _divergence(dual: Tensor) -> Tensor:
    """(B, 2, H, W): backward differences."""
    x, y = dual[:, :, 0], dual[:, :, 1]
    return x - F.pad(x[..., :-1], (1, 0)) + y - F.pad(y[..., :-1, :], (0, 0, 1, 0))


def _median(flow: Tensor, side: int) -> Tensor:
    room = side // 2
    wide = F.pad(flow, (room, room, room, room), mode="replicate")
    patches = wide.unfold(2, side, 1).unfold(3, side, 1).flatten(4)
    return patches.median(-1).values
