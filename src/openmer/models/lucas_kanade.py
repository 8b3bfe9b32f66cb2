"""Motion between two frames in closed form, with next to nothing to learn: the small heads start from it.

Flow is (dx, dy) in pixels, from the first frame of a pair to the second, x right, y down.

Shape legend: B clips, T frames, P = T - 1 pairs, C channels, H rows, W columns, S side of a map.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gaussian_matrix(size: int, sigma: float) -> Tensor:
    """(size, size): G x blurs a column, edges replicated. On small maps, two products with it beat a convolution."""
    radius = max(1, round(2.5 * sigma))
    shift = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (shift / sigma) ** 2)
    kernel /= kernel.sum()
    place = (torch.arange(size)[:, None] + shift).clamp(0, size - 1)
    return torch.zeros(size, size).scatter_add_(1, place, kernel.expand(size, -1))


def blur(x_BCSS: Tensor, gaussian_SS: Tensor) -> Tensor:
    """Blur every channel of a square map."""
    return gaussian_SS @ x_BCSS @ gaussian_SS.T


def pooled(x_BCHW: Tensor, cell: int) -> Tensor:
    """Means over squares of `cell`, as `avg_pool2d`, which on a CPU takes eight times as long."""
    if torch.is_grad_enabled():  # the backward pass of slices is the slower one
        return F.avg_pool2d(x_BCHW, cell)
    while cell % 2 == 0:
        rows = x_BCHW[..., 0::2, :] + x_BCHW[..., 1::2, :]
        x_BCHW, cell = (rows[..., 0::2] + rows[..., 1::2]) * 0.25, cell // 2
    return x_BCHW if cell == 1 else F.avg_pool2d(x_BCHW, cell)


def warp(image_BCHW: Tensor, flow_B2HW: Tensor) -> Tensor:
    """The second image warped back to the first: out(x) = image(x + flow(x)), bilinear, edges replicated."""
    height, width = image_BCHW.shape[2:]
    # A diverged network must not make the sampler read outside its memory.
    flow_B2HW = flow_B2HW.nan_to_num(0.0, width, -width).clamp(-width, width)
    y, x = torch.meshgrid(
        torch.arange(height, device=image_BCHW.device, dtype=flow_B2HW.dtype),
        torch.arange(width, device=image_BCHW.device, dtype=flow_B2HW.dtype),
        indexing="ij",
    )
    grid = torch.stack(
        [2 * (x + flow_B2HW[:, 0]) / (width - 1) - 1, 2 * (y + flow_B2HW[:, 1]) / (height - 1) - 1], dim=-1
    )
    return F.grid_sample(image_BCHW, grid.to(image_BCHW.dtype), align_corners=True, padding_mode="border")


def _gradients(first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, H, W) twice -> (B, 3, H, W): along x and y, of the mean of both frames, and along time."""
    mean = F.pad((first + second) / 2, (1, 1, 1, 1), mode="replicate")
    gx = (mean[..., 1:-1, 2:] - mean[..., 1:-1, :-2]) / 2
    gy = (mean[..., 2:, 1:-1] - mean[..., :-2, 1:-1]) / 2
    return torch.cat([gx, gy, second - first], 1)


def _products(gradients_B3HW: Tensor) -> Tensor:
    """(B, 5, H, W): xx, xy, yy, xt, yt."""
    gx, gy, gt = gradients_B3HW[:, 0:1], gradients_B3HW[:, 1:2], gradients_B3HW[:, 2:3]
    return torch.cat([gx * gx, gx * gy, gy * gy, gx * gt, gy * gt], 1)


def gradient_products(first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, H, W) twice -> (B, 5, H, W): products of the gradients along x, y and time that `least_squares` reads."""
    return _products(_gradients(first, second))


def least_squares(products: Tensor, window: Tensor, damped: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """The brightness equation solved in a Gaussian window: dx, dy and a confidence, (B, H, W) each."""
    xx, xy, yy, xt, yt = blur(products, window).unbind(1)
    xx, yy = xx + damped, yy + damped
    det = (xx * yy - xy * xy).clamp_min(damped * damped)  # its lower bound, but for rounding
    return (xy * yt - yy * xt) / det, (xy * xt - xx * yt) / det, 0.1 * torch.log(det / (xx + yy))


class LucasKanade(nn.Module):
    """Least-squares flow in windows of several sizes (Lucas, Kanade 1981).

    The brightness equation is solved in closed form in Gaussian windows, from gradients at full resolution. It has no
    bias from regularisation and is accurate to hundredths of a pixel where there is texture; where there is none, its
    confidence says so. The network after it only has to weight, combine and correct.

    Args:
        size: H = W of the frames.
        sigmas: of the windows, px.
    """

    def __init__(self, size: int, sigmas: tuple[float, ...] = (2.0, 4.0)) -> None:
        super().__init__()
        for k, sigma in enumerate(sigmas):
            self.register_buffer(f"window{k}", gaussian_matrix(size // 2, sigma / 2), persistent=False)
        self.windows = len(sigmas)
        self.damping = nn.Parameter(torch.full((len(sigmas),), -6.0))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Two smoothed frames, (B, 1, H, W) each -> the solutions and the gradients they were solved from.

        Returns:
            (B, 3 * windows, H/2, W/2): dx, dy in px and a confidence, for each window.
            (B, 3, H, W): the gradients along x, y and time.
        """
        gradients = _gradients(first, second)
        products = pooled(_products(gradients), 2)
        solved = []
        for k in range(self.windows):
            # In half precision the determinant of one-dimensional texture would fall below 0.
            window: Tensor = getattr(self, f"window{k}")
            dx, dy, confidence = least_squares(products, window.float(), self.damping[k].float().exp())
            solved += [dx.clamp(-4, 4), dy.clamp(-4, 4), confidence]
        return torch.stack(solved, 1), gradients


class AffineHeadMotion(nn.Module):
    """How the head moves from one frame to the next: the affine part of a coarse flow, in closed form.

    Least-squares flow from coarse to fine (Bouguet 2000) at an eighth and a quarter of the resolution, each solved
    twice with the second frame warped back by what is known so far; then one affine motion where the face is. It
    follows motions of some 10 px between two frames. Nothing in it is learned.

    Args:
        size: H = W of the frames.

    Attributes:
        differentiable: whether gradients go through it. Training does without, which is cheaper; attribution needs
            them, or its parts would not add up to the whole.
    """

    LEVELS = (8, 4)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.differentiable = False
        for level in self.LEVELS:
            self.register_buffer(f"window{level}", gaussian_matrix(size // level, 2.0), persistent=False)
        self.middle: Tensor
        self.register_buffer("middle", middle_of(size // self.LEVELS[-1]), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two frames, (B, 1, H, W) float32 each -> (B, 2, H, W) px."""
        if self.differentiable:
            return self._fitted(first, second)
        with torch.no_grad():
            return self._fitted(first, second)

    def _fitted(self, first: Tensor, second: Tensor) -> Tensor:
        fit = affine_part(self.coarse(first, second), self.middle.float())
        return F.interpolate(fit, first.shape[2:], mode="bilinear", align_corners=False)

    def coarse(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow of everything, (B, 2, H/4, W/4) px of the frames."""
        flow = first.new_zeros(first.shape[0], 2, *(side // self.LEVELS[0] for side in first.shape[2:]))
        for level in self.LEVELS:
            here, there = pooled(first, level), pooled(second, level)
            window: Tensor = getattr(self, f"window{level}")
            if flow.shape[2:] != here.shape[2:]:
                flow = F.interpolate(flow, here.shape[2:], mode="bilinear", align_corners=False)
            for _ in range(2):
                products = gradient_products(here, warp(there, flow / level))
                dx, dy, _ = least_squares(products, window.float(), 1e-3)
                flow = flow + level * torch.stack([dx, dy], 1).clamp(-1, 1)
        return flow


def middle_of(side: int) -> Tensor:
    """(side, side) how much each point of a crop belongs to the face, which fills its middle: a wide Gaussian."""
    line = torch.linspace(-2, 2, side)
    return torch.exp(-0.5 * (line**2 + line[:, None] ** 2))


def affine_part(flow_B2HW: Tensor, weight_HW: Tensor, *, rounds: int = 3) -> Tensor:
    """The affine motion that fits a flow best by weighted least absolute deviations: how the head moves.

    Args:
        flow_B2HW: px.
        weight_HW: how much each point counts.
        rounds: of reweighting; in the first, only `weight_HW` counts.

    Returns:
        (B, 2, H, W) px.
    """
    height, width = flow_B2HW.shape[2:]
    y = torch.linspace(-1, 1, height, device=flow_B2HW.device, dtype=flow_B2HW.dtype)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=flow_B2HW.device, dtype=flow_B2HW.dtype).expand(height, width)
    fit = torch.zeros_like(flow_B2HW)
    for k in range(rounds):
        w = weight_HW.expand(flow_B2HW.shape[0], 1, -1, -1)
        if k:
            w = w / ((flow_B2HW - fit).square().sum(1, keepdim=True) + 0.01).sqrt()
        w = w / w.sum((2, 3), keepdim=True)

        def mean(values: Tensor, w: Tensor = w) -> Tensor:
            return (w * values).sum((2, 3), keepdim=True)

        cx, cy = x - mean(x), y - mean(y)
        xx, xy, yy = mean(cx * cx), mean(cx * cy), mean(cy * cy)
        xf, yf = mean(cx * flow_B2HW), mean(cy * flow_B2HW)
        det = xx * yy - xy * xy
        fit = mean(flow_B2HW) + (yy * xf - xy * yf) / det * cx + (xx * yf - xy * xf) / det * cy
    return fit


class Pairs(NamedTuple):
    """The pairs of neighbouring frames of clips, B * P of them.

    Attributes:
        first: (B * P, 1, H, W) float32, smoothed a little.
        second: the same of the second frames.
        head: (B * P, 2, H, W) px, how the head moves.
    """

    first: Tensor
    second: Tensor
    head: Tensor


class FramePairs(nn.Module):
    """Clip -> its `Pairs`, computed once for everything that reads them.

    Args:
        size: H = W of the frames.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.smooth: Tensor
        self.register_buffer("smooth", gaussian_matrix(size, 0.8), persistent=False)
        self.head = AffineHeadMotion(size)

    def forward(self, clip_BTHW: Tensor) -> Pairs:
        """(B, T, H, W) gray frames."""
        with torch.autocast(clip_BTHW.device.type, enabled=False):  # differences of products need float32
            smooth = blur(clip_BTHW.float(), self.smooth.float())
            first, second = (part.flatten(0, 1)[:, None] for part in (smooth[:, :-1], smooth[:, 1:]))
            return Pairs(first, second, self.head(first, second))
