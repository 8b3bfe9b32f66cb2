"""Recognition from a clip's motion alone: what moved since the first frame, whatever its size.

Faces, light and textures differ between people and cameras; motion hardly does. So the class is read from motion in
closed form, after everything that a class must not depend on has been taken out of it: how the head moves, in depth
too, how large the motion is, and where in the clip it is largest. docs/model.md has what each of these is worth.

Flow is (dx, dy) in pixels, x right, y down.

Shape legend: B clips, P pairs of neighbouring frames, W windows, M = 2 W channels (dx, dy of each window), E = 3 W
channels (those and a confidence of each window), S side of a map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openmer.models.config import MOLConfig
from openmer.models.lucas_kanade import (
    Pairs,
    gaussian_matrix,
    gradient_products,
    least_squares,
    middle_of,
    pooled,
    warp,
)

# Of the windows: lids and lips move in few px, cheeks have little texture and need wide ones.
SIGMAS_PX = (2.5, 5.0, 10.0)
MOVED = 2 * len(SIGMAS_PX)  # M
GRID = 32  # the brightness equation is solved on a grid of this side
DAMPING = 2e-3  # gray levels squared, of frames of standard deviation 1
POWER_STEPS = 6  # of the iteration that finds the clip's own course
SCALARS = 2  # numbers about a clip beside its maps: logarithm of its size, coherence
MAX_PAIR_PX = 2.0  # beyond the head's motion
SIZE_FLOOR_PX = 0.02  # motion far below this is noise and stays small
# Depth of the mean head in the aligned crop, but for a plane, which is no different from a shear: x^2 + .24 y^2 of
# coordinates from -1 to 1, fitted to the depth that `openmer.face.pose` gives a face of mean landmarks.
DEPTH_RATIO = 0.24


class PairDisplacement(nn.Module):
    """How everything in a pair of frames moves, the head included, in closed form."""

    def __init__(self, config: MOLConfig) -> None:
        super().__init__()
        self.side = config.side
        self.cell = config.size // GRID
        for k, sigma in enumerate(SIGMAS_PX):
            self.register_buffer(f"window{k}", gaussian_matrix(GRID, sigma / self.cell), persistent=False)

    def forward(self, pairs: Pairs) -> Tensor:
        """B * P pairs -> (B * P, E, S, S): dx, dy in px of each window, then the confidence of each."""
        with torch.autocast(pairs.first.device.type, enabled=False):
            products = pooled(gradient_products(pairs.first, warp(pairs.second, pairs.head)), self.cell)
            return self.solve(products, pooled(pairs.head, self.cell))

    def solve(self, products: Tensor, head: Tensor) -> Tensor:
        """(B * P, 5, GRID, GRID) mean products of gradients, (B * P, 2, GRID, GRID) px of the head -> as `forward`."""
        moved, confidence = [], []
        for k in range(len(SIGMAS_PX)):
            window: Tensor = getattr(self, f"window{k}")
            dx, dy, sure = least_squares(products, window.float(), DAMPING)
            moved.append(head + torch.stack([dx, dy], 1).clamp(-MAX_PAIR_PX, MAX_PAIR_PX))
            confidence.append(sure[:, None])
        return F.adaptive_avg_pool2d(torch.cat(moved + confidence, 1), self.side)


class HeadPart(nn.Module):
    """The part of a displacement that a turning, tilting, moving, nearing head explains.

    A plane and a curved depth are fitted to dx and dy each, by weighted least absolute deviations: an affine motion
    plus the two terms of a turn in depth. Orthogonal in each round, so that no system of equations has to be solved.

    Args:
        side: S.
        rounds: of reweighting; in the first, only the place counts.
    """

    def __init__(self, side: int, rounds: int = 4) -> None:
        super().__init__()
        line = torch.linspace(-1, 1, side)
        y, x = line[:, None].expand(side, side), line.expand(side, side)
        self.basis: Tensor
        self.register_buffer(
            "basis", torch.stack([torch.ones_like(x), x, y, x * x + DEPTH_RATIO * y * y]), persistent=False
        )
        self.middle: Tensor
        self.register_buffer("middle", middle_of(side), persistent=False)
        self.rounds = rounds

    def forward(self, moved_B2SS: Tensor) -> Tensor:
        """(B, 2, S, S) px -> as `forward`."""
        fit = torch.zeros_like(moved_B2SS)
        for k in range(self.rounds):
            weight = self.middle.expand_as(moved_B2SS[:, :1])
            if k:
                rest = (moved_B2SS - fit).square().sum(1, keepdim=True)
                typical = (rest * self.middle).mean((2, 3), keepdim=True)
                weight = weight / (rest + 0.1 * typical + 1e-5).sqrt()
            fit = self._projected(moved_B2SS, weight / weight.sum((2, 3), keepdim=True))
        return fit

    def _projected(self, moved: Tensor, weight: Tensor) -> Tensor:
        """Weighted least squares by Gram and Schmidt."""
        fit = torch.zeros_like(moved)
        axes: list[tuple[Tensor, Tensor]] = []
        for term in self.basis:
            axis = term.expand_as(weight)
            for earlier, norm in axes:
                axis = axis - (weight * axis * earlier).sum((2, 3), keepdim=True) / norm * earlier
            norm = (weight * axis * axis).sum((2, 3), keepdim=True).clamp_min(1e-9)
            axes.append((axis, norm))
            fit = fit + (weight * axis * moved).sum((2, 3), keepdim=True) / norm * axis
        return fit


class CenteredMotionBranch(nn.Module):
    """A clip's class from where and in which direction the face moved, without its size, pace or place in the clip.

    The pairs' motions are added up to the displacement since the first frame; what the head explains is subtracted; the
    whole clip is divided by its own size. Of the displacements, as a matrix of frames and places, the first singular
    pair is kept: one map, and the course in time that it follows best, whatever that is. So noise that does not follow
    it is averaged away over the frames. The last frame's displacement stands beside it: of a full expression it is
    small, of a rise alone it is the same. The classifier is told the size, and which share of all motion follows the
    map (noise has none in common).

    Args:
        config: of the network.
        features: how many `forward` returns.
    """

    def __init__(self, config: MOLConfig, features: int) -> None:
        super().__init__()
        self.estimate = PairDisplacement(config)
        self.head_part = HeadPart(config.side)
        self.perturb = Perturbation(config.side)
        self.middle: Tensor
        self.register_buffer("middle", middle_of(config.side), persistent=False)
        self.trunk = _Trunk(5 * len(SIGMAS_PX) + 1)
        self.hidden = nn.Linear(64 * (config.side // 4) ** 2, features - SCALARS)
        self.classify = nn.Linear(features, config.num_classes)

    def forward(self, moved_BPESS: Tensor, _: Tensor | None = None) -> Tensor:
        """Output of `estimate`, (B, P, E, S, S) -> (B, features), which `decide` reads."""
        confidence = moved_BPESS[:, :, MOVED:].float().mean(1)
        maps, scalars = self.summary(*self.perturb(self.displacement(moved_BPESS), confidence))
        kind = self.hidden.weight.dtype
        x = F.dropout(self.trunk(maps.to(kind)).flatten(1), 0.4, self.training)
        return torch.cat([F.gelu(self.hidden(x)), scalars.to(kind)], 1)

    def decide(self, seen_BD: Tensor) -> Tensor:
        """Output of `forward` -> (B, classes)."""
        features, scalars = seen_BD[:, :-SCALARS], seen_BD[:, -SCALARS:]
        out: Tensor = self.classify(torch.cat([F.dropout(features, 0.5, self.training), scalars], 1))
        return out

    def displacement(self, moved_BPESS: Tensor) -> Tensor:
        """Output of `estimate` -> (B, P, M, S, S) px since the first frame, relative to the head."""
        total = moved_BPESS[:, :, :MOVED].float().cumsum(1)
        windows = total.reshape(-1, 2, *total.shape[3:])
        head: Tensor = self.head_part(windows)
        return (windows - head).view_as(total)

    def summary(self, moved_BPMSS: Tensor, confidence_BWSS: Tensor) -> tuple[Tensor, Tensor]:
        """Displacement and confidence -> (B, 2 M + W + 1, S, S) maps in units of the clip's size, (B, 2) scalars."""
        pairs = moved_BPMSS.shape[1]
        energy = (moved_BPMSS.square().sum(2) * self.middle).mean((1, 2, 3))
        size = (energy / len(SIGMAS_PX) + 1e-8).sqrt() + SIZE_FLOOR_PX
        maps = moved_BPMSS / size[:, None, None, None, None]
        features = (maps * self.middle.sqrt()).flatten(2)
        alike = features @ features.transpose(1, 2) / features.shape[2]  # (B, P, P)
        course = alike.sum(1)
        for _ in range(POWER_STEPS):
            course = (alike @ course[:, :, None])[:, :, 0]
            course = course / course.norm(dim=1, keepdim=True).clamp_min(1e-6)
        course = torch.where(course.sum(1, keepdim=True) < 0, -course, course)
        follows = (course[:, None] @ alike @ course[:, :, None])[:, 0, 0]
        coherence = follows / alike.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-6)
        common = torch.einsum("bp,bpmyx->bmyx", course, maps) / pairs**0.5
        place = self.middle.expand_as(maps[:, 0, :1])
        scalars = torch.stack([torch.log(size), coherence], 1)
        return torch.cat([common, maps[:, -1], confidence_BWSS, place], 1), scalars


class Perturbation(nn.Module):
    """In training, motion is bent as people, cameras and estimates differ; in eval mode, nothing is changed.

    Mirrored; turned, shifted and stretched over the face; its direction turned; regions stronger and weaker; smooth
    noise that changes from frame to frame; a rest of head motion with a course of its own.

    Args:
        side: S.
        probability: of a clip to be perturbed; mirrored is every second one.
    """

    def __init__(self, side: int, probability: float = 0.8) -> None:
        super().__init__()
        self.side, self.probability = side, probability
        line = torch.linspace(-1, 1, side)
        y, x = line[:, None].expand(side, side), line.expand(side, side)
        one, zero = torch.ones_like(x), torch.zeros_like(x)
        terms = ((one, zero), (zero, one), (x, y), (-y, x), (x, -y), (y, x), (x * x, x * y), (x * y, y * y))
        self.rest: Tensor
        self.register_buffer("rest", torch.stack([torch.stack(term) for term in terms]), persistent=False)
        self.middle: Tensor
        self.register_buffer("middle", middle_of(side), persistent=False)

    def forward(self, moved_BPMSS: Tensor, confidence_BWSS: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, M, S, S) px and (B, W, S, S) -> the same; the confidence is only mirrored."""
        if not self.training:
            return moved_BPMSS, confidence_BWSS
        clips = len(moved_BPMSS)
        bent = torch.rand(clips, device=moved_BPMSS.device) < self.probability
        mirrored = torch.rand(clips, device=moved_BPMSS.device) < 0.5
        sign = moved_BPMSS.new_tensor([-1.0, 1.0]).repeat(moved_BPMSS.shape[2] // 2)[:, None, None]
        moved = torch.where(_each(mirrored), moved_BPMSS.flip(-1) * sign, moved_BPMSS)
        confidence = torch.where(mirrored[:, None, None, None], confidence_BWSS.flip(-1), confidence_BWSS)
        return torch.where(_each(bent), self._noisy(self._placed(moved)), moved), confidence

    def _placed(self, moved: Tensor) -> Tensor:
        """Another shape of face, another direction of motion."""
        clips = len(moved)
        angle, scale = 0.12 * torch.randn(clips), torch.exp(0.1 * torch.randn(clips, 2))
        shift = 0.19 * torch.randn(clips, 2)
        c, s = angle.cos(), angle.sin()
        rows = [torch.stack([c * scale[:, 0], -s * scale[:, 0], shift[:, 0]], 1)]
        rows += [torch.stack([s * scale[:, 1], c * scale[:, 1], shift[:, 1]], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), [clips, 1, self.side, self.side], align_corners=False)
        placed = F.grid_sample(moved.flatten(1, 2), grid.to(moved), padding_mode="border", align_corners=False)
        turn = 0.25 * torch.randn(clips).to(moved)
        c, s = _each(turn.cos()), _each(turn.sin())
        dx, dy = placed.view_as(moved)[:, :, 0::2], placed.view_as(moved)[:, :, 1::2]
        return torch.stack([c * dx - s * dy, s * dx + c * dy], 3).flatten(2, 3)

    def _noisy(self, moved: Tensor) -> Tensor:
        """Uneven strength, smooth noise and a rest of head motion, the same in every window, relative to the size."""
        clips, pairs, channels = moved.shape[:3]
        size = _each(((moved.square().sum(2) * self.middle).mean((1, 2, 3)) * 2 / channels + 1e-8).sqrt())
        moved = moved * torch.exp(0.4 * self._smooth(clips, 1, 1, 4).to(moved))
        changing = self._smooth(clips, pairs, 2, 8) + self._smooth(clips, 1, 2, 6) * torch.rand(clips, pairs, 1, 1, 1)
        course = torch.randn(clips, pairs, len(self.rest)).cumsum(1) / pairs**0.5 * torch.rand(clips, 1, 1)
        rest = torch.einsum("bpk,kcyx->bpcyx", course.to(moved), self.rest)
        return moved + size * (0.15 * changing.to(moved) + 0.3 * rest).repeat(1, 1, channels // 2, 1, 1)

    def _smooth(self, clips: int, pairs: int, channels: int, knots: int) -> Tensor:
        noise = torch.randn(clips, pairs * channels, knots, knots)
        smooth = F.interpolate(noise, (self.side, self.side), mode="bicubic", align_corners=False)
        return smooth.view(clips, pairs, channels, self.side, self.side)


class _Trunk(nn.Sequential):
    """Maps (B, channels, S, S) -> (B, 64, S / 4, S / 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            *_normed(nn.Conv2d(channels, 64, 3, padding=1), 8),
            *_normed(nn.Conv2d(64, 64, 3, 2, 1), 4),
            *_normed(nn.Conv2d(64, 64, 3, 2, 1), 4),
        )


def _each(values_B: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1, 1), to go with maps of clips."""
    return values_B[:, None, None, None, None]


def _normed(conv: nn.Conv2d, groups: int) -> tuple[nn.Module, ...]:
    return conv, nn.GroupNorm(groups, conv.out_channels), nn.GELU()
