"""MOL: micro-expression, optical flow and landmarks from raw frames, jointly.

Source: Shao et al., MOL, TPAMI 2025: its overview figure, and the behaviour of the authors' released model where the
figure is silent. The parts are in the order of the data flow. docs/fidelity.md compares the figure, the released model
and the presets point by point.

Shape legend: B clips, T frames, P = T - 1 pairs, C = 128 channels, H rows, W columns, S side of the feature map (an
eighth of H), N = S * S, K neighbours.
"""

from collections.abc import Collection
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openmer.clip import NUM_LANDMARKS
from openmer.errors import InputError
from openmer.models.config import CHANNELS, CLIP_HEADS, HEADS, PRESETS, Head, MOLConfig
from openmer.models.f5c import CCC, F5C, FCC
from openmer.models.flow_head import FlowNetHead, LiteFlowHead
from openmer.models.kernel import KernelClassifier, comparable
from openmer.models.lucas_kanade import FramePairs, LucasKanade, Pairs, affine_part, middle_of, warp
from openmer.models.motion_branch import MOVED, CenteredMotionBranch

MOTION_CHANNELS = 6  # dx, dy and a confidence from windows of two sizes
HIDDEN, MOTION_HIDDEN = 256, 128  # features that the class is read from: F(g), closed-form motion


class MOLOutput(NamedTuple):
    """What was asked for; the rest is None. A tuple, because multi-GPU training tools can traverse tuples.

    Attributes:
        logits: (B, classes), before softmax.
        flow: (B, P, 2, H, W) px, (dx, dy) from frame k to k+1.
        landmarks: (B, P, 68, 2) px (x, y), of frames 2 to T.
        units: (B, U), before the sigmoid: whether the clip shows each action unit of the config.
    """

    logits: Tensor | None = None
    flow: Tensor | None = None
    landmarks: Tensor | None = None
    units: Tensor | None = None


class Encoded(NamedTuple):
    """What is computed for each of the P pairs of frames separately.

    Attributes:
        first: (B, P, C, S, S) F(g) of the first frame.
        second: (B, P, C, S, S) F(g) of the second.
        moved: (B, P, E, S, S) from `PairMotion` or `PairDisplacement`, or None.
        flow: (B, P, 2, H, W) px, or None.
        landmarks: (B, P, 68, 2) px of the second frame, or None.
    """

    first: Tensor
    second: Tensor
    moved: Tensor | None
    flow: Tensor | None
    landmarks: Tensor | None


class ConvStack(nn.Sequential):
    """Frame -> F(r): four convolutions without activation between them, (B, 1, H, W) -> (B, 128, S, S) [released]."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 4, 2), nn.Conv2d(8, 32, 3, 2), nn.Conv2d(32, 64, 2, 2, 1), nn.Conv2d(64, CHANNELS, 1)
        )


class MERHead(nn.Module):
    """All F(g) of a clip, pair by pair -> class: 3-D convolution, 3-D max-pooling, classifier [figure, released].

    With `centered` in the config, each of the two kinds of F(g) is first reduced by its mean over the clip and
    normalized: what stands still is some fifty times as large as what moves, and hides it (docs/fidelity.md). With
    `motion`, a second opinion is added to the logits; see `MotionBranch` and `CenteredMotionBranch`. With `pairwise`,
    that of a whole head of its own is, which is not centered.
    """

    def __init__(self, config: MOLConfig) -> None:
        super().__init__()
        self.centered, self.dropout = config.centered, config.dropout
        if config.mer_features:
            self.norm = nn.BatchNorm3d(CHANNELS) if config.centered else None
            self.conv = nn.Conv3d(CHANNELS, 32, (2, 2, 5), (2, 2, 1))
            pooled = (config.side // 4) ** 2 * ((2 * (config.frames - 1) - 4) // 2)
            self.hidden = nn.Linear(32 * pooled, HIDDEN)
        self.classify = nn.Linear(HIDDEN, config.num_classes) if config.mer_features else None
        self.motion: MotionBranch | CenteredMotionBranch | None = None
        if config.motion:
            centered = config.centered
            self.motion = CenteredMotionBranch(config, MOTION_HIDDEN) if centered else MotionBranch(config)
        self.pairwise: MERHead | None = None
        if config.pairwise:
            self.pairwise = MERHead(replace(config, centered=False, mer_features=True, pairwise=False, kernel=0))
        values, classes = MOVED * config.side**2, config.num_classes
        self.kernel = KernelClassifier(config.kernel, values, classes) if config.kernel else None
        self.widths = [HIDDEN] * config.mer_features + [MOTION_HIDDEN] * config.motion
        if self.pairwise is not None:
            self.widths.append(sum(self.pairwise.widths))

    def estimate(self, pairs: Pairs) -> Tensor | None:
        """How each of B * P pairs moves, as the branches read it: (B * P, E, S, S), or None if none does."""
        if self.motion is None:
            return None
        own = self.motion.estimate(pairs)
        other = None if self.pairwise is None else self.pairwise.estimate(pairs)
        return own if other is None else torch.cat([own, other], 1)

    def look(self, first_BPCSS: Tensor, second_BPCSS: Tensor, moved_BPMSS: Tensor | None = None) -> Tensor:
        """What the class is read from: features of both frames of each pair, (B, P, C, S, S), and motion -> (B, D)."""
        parts = []
        if self.classify is not None:
            parts.append(self._of_features(first_BPCSS, second_BPCSS))
        if self.motion is not None:
            parts.append(self.motion(self._own(moved_BPMSS), second_BPCSS))
        if self.pairwise is not None and moved_BPMSS is not None:
            parts.append(self.pairwise.look(first_BPCSS, second_BPCSS, moved_BPMSS[:, :, -MOTION_CHANNELS:]))
        if self.kernel is not None:
            parts.append(self.kernel(self.comparable(moved_BPMSS)))
        return torch.cat(parts, 1)

    def _own(self, moved_BPMSS: Tensor | None) -> Tensor | None:
        """Of the output of `estimate`, what is not for `pairwise`."""
        if moved_BPMSS is None or self.pairwise is None:
            return moved_BPMSS
        return moved_BPMSS[:, :, :-MOTION_CHANNELS]

    def comparable(self, moved_BPESS: Tensor | None) -> Tensor:
        """What `KernelClassifier` compares, of the output of the centered branch's `estimate`: (B, D).

        Raises:
            InputError: the network reads no centered motion.
        """
        own = self._own(moved_BPESS)
        if own is None or not isinstance(self.motion, CenteredMotionBranch):
            raise InputError("clips are compared by their centered motion, which this network does not read")
        return comparable(self.motion.displacement(own), self.motion.middle)

    def _of_features(self, first: Tensor, second: Tensor) -> Tensor:
        if self.centered:
            first, second = first - first.mean(1, keepdim=True), second - second.mean(1, keepdim=True)
        # Interleaved in time: F1 of frame 1, F2 of frame 2, F1 of frame 2, F2 of frame 3, ...
        x = torch.stack([first, second], 2).flatten(1, 2).permute(0, 2, 3, 4, 1)
        x = self.conv(x if self.norm is None else self.norm(x))
        x = F.max_pool3d(x, 2).flatten(1)
        return F.relu(self.hidden(F.dropout(x, self.dropout, self.training)))

    def forward(self, seen_BD: Tensor) -> Tensor:
        """Output of `look` -> (B, classes)."""
        parts = iter(torch.split(seen_BD, [*self.widths, seen_BD.shape[1] - sum(self.widths)], 1))
        opinions = []
        if self.classify is not None:
            opinions.append(self.classify(F.dropout(next(parts), self.dropout, self.training)))
        if self.motion is not None:
            opinions.append(self.motion.decide(next(parts)))
        if self.pairwise is not None:
            opinions.append(self.pairwise(next(parts)))
        out: Tensor = sum(opinions[1:], opinions[0])
        return out if self.kernel is None else self.kernel.join(next(parts), out)


class MotionBranch(nn.Module):
    """A clip's class from how each of its pairs moves, and from what F(g) says is there.

    Not in the paper, whose classifier has to find subpixel motion in the features alone and, with few clips, does not;
    `motion=False` is the ablation. Each pair's motion and its narrowed F(g) go through the same small network, then
    through one that sees neighbouring pairs, to catch a rise and a fall; the results of the pairs are joined by maximum
    and mean, so that it does not matter where in the clip the apex is.
    """

    def __init__(self, config: MOLConfig, context: int = 10, width: int = 32) -> None:
        super().__init__()
        self.estimate = PairMotion(config)
        self.context = nn.Conv2d(CHANNELS, context, 1)
        self.of_pair = nn.Sequential(
            *_normed(nn.Conv2d(MOTION_CHANNELS + context, width, 3, padding=1)),
            *_normed(nn.Conv2d(width, 2 * width, 3, 2, 1)),
        )
        self.in_time = nn.Conv3d(2 * width, 2 * width, (3, 1, 1), padding=(1, 0, 0))
        self.of_clip = nn.Sequential(*_normed(nn.Conv2d(4 * width, 2 * width, 3, 2, 1)))
        self.hidden = nn.Linear(2 * width * (config.side // 4) ** 2, MOTION_HIDDEN)
        self.classify = nn.Linear(MOTION_HIDDEN, config.num_classes)

    def forward(self, moved_BPMSS: Tensor, second_BPCSS: Tensor) -> Tensor:
        """Output of `estimate` (B, P, 6, S, S) and features (B, P, C, S, S) -> (B, 128), which `decide` reads."""
        pairs = second_BPCSS.shape[1]
        maps = moved_BPMSS.to(second_BPCSS.dtype).flatten(0, 1)
        x = self.of_pair(torch.cat([maps, self.context(second_BPCSS.flatten(0, 1))], 1)).unflatten(0, (-1, pairs))
        x = x + F.gelu(self.in_time(x.transpose(1, 2))).transpose(1, 2)
        x = self.of_clip(torch.cat([x.amax(1), x.mean(1)], 1)).flatten(1)
        return F.gelu(self.hidden(F.dropout(x, 0.5, self.training)))

    def decide(self, seen_BD: Tensor) -> Tensor:
        """Output of `forward` -> (B, classes)."""
        out: Tensor = self.classify(F.dropout(seen_BD, 0.5, self.training))
        return out


def _normed(conv: nn.Conv2d) -> tuple[nn.Module, ...]:
    return conv, nn.GroupNorm(4, conv.out_channels), nn.GELU()


class PairMotion(nn.Module):
    """How each pair moves relative to the head, in closed form, on the grid of F(g): a hint that hardly needs training.

    The second frame is warped back by the head's own motion before the rest is solved, and whatever an affine motion of
    the head can still explain is subtracted from the result.
    """

    def __init__(self, config: MOLConfig) -> None:
        super().__init__()
        self.estimate = LucasKanade(config.size)
        self.side = config.side
        self.middle: Tensor
        self.register_buffer("middle", middle_of(config.side), persistent=False)

    def forward(self, pairs: Pairs) -> Tensor:
        """B * P pairs -> (B * P, 6, S, S): dx and dy in quarters of a pixel, and the confidence, per window."""
        with torch.autocast(pairs.first.device.type, enabled=False):
            solved, _ = self.estimate(pairs.first, warp(pairs.second, pairs.head))
            maps = F.adaptive_avg_pool2d(solved, self.side)
            parts = []
            for k in range(self.estimate.windows):
                moved, confidence = maps[:, 3 * k : 3 * k + 2], maps[:, 3 * k + 2 : 3 * k + 3]
                parts += [4 * (moved - affine_part(moved, self.middle.float())), confidence]
        return torch.cat(parts, 1)


class UnitsHead(nn.Module):
    """Which action units a clip shows, each independently: a linear layer on the features that the class is read from.

    Not in the paper. What the recognition head has learned about classes tells units apart almost as well as a head of
    their own (docs/LOG.md), so this one is tiny and does not affect the others.
    """

    def __init__(self, config: MOLConfig) -> None:
        super().__init__()
        self.read = nn.Linear(HIDDEN * config.mer_features + MOTION_HIDDEN * config.motion, len(config.units))

    def forward(self, seen_BD: Tensor) -> Tensor:
        """Output of the recognition head's `look` -> (B, U)."""
        out: Tensor = self.read(seen_BD[:, : self.read.in_features])  # what a kernel adds is of classes
        return out


class LandmarkHead(nn.Module):
    """F(g) of a frame -> 68 points: convolution and two fully connected layers [figure, released]."""

    def __init__(self, config: MOLConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, 32, 3)
        self.hidden = nn.Linear(32 * (config.side - 2) ** 2, 512)
        self.points = nn.Linear(512, 2 * NUM_LANDMARKS)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, 68, 2) px of the input."""
        x = F.relu(self.hidden(F.relu(self.conv(x_BCSS)).flatten(1)))
        out: Tensor = self.points(x)
        return out.view(-1, NUM_LANDMARKS, 2)


class HeatmapLandmarkHead(nn.Module):
    """F(g) of a frame -> 68 points by soft-argmax of heat maps at a quarter of the resolution: 60 times fewer weights.

    The expected position under a softmax (Sun et al., Integral Human Pose Regression, 2018), which snaps to no grid.
    """

    def __init__(self, config: MOLConfig, width: int = 64) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(CHANNELS, width, 1)
        self.coarse = _separable(width)
        more = [_separable(width, 5) for _ in range(config.landmark_blocks - 1)]
        for block in more:  # zero at first, as if they were not there
            for parameter in block[-1].parameters():
                nn.init.zeros_(parameter)
        self.more = nn.ModuleList(more)
        self.fine = _separable(width)
        self.heat = nn.Conv2d(width, NUM_LANDMARKS, 1)
        places = (torch.arange(2 * config.side) + 0.5) * 4 - 0.5  # centres of the cells, px of the input
        self.places: Tensor
        self.register_buffer("places", places, persistent=False)

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, 68, 2) px of the input."""
        # On a CPU, depthwise convolutions are faster with channels last, forward and backward.
        x = self.narrow(x_BCSS.contiguous(memory_format=torch.channels_last))
        for block in (self.coarse, *self.more):
            x = x + block(F.gelu(x))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = x + self.fine(F.gelu(x))
        heat = self.heat(F.gelu(x)).flatten(2).float().softmax(2)
        heat = heat.unflatten(2, (len(self.places), len(self.places)))
        places = self.places.float()  # elementwise products: autocast would round a matrix product to bfloat16
        points = torch.stack([(heat.sum(2) * places).sum(2), (heat.sum(3) * places).sum(2)], 2)
        return points.to(self.heat.weight.dtype)  # the weights' type, not autocast's: bfloat16 steps are half a pixel


def _separable(width: int, size: int = 7) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, size, padding=size // 2, groups=width), nn.Conv2d(width, width, 1))


class MOL(nn.Module):
    """The network. Heads are computed on request; recognition alone never pays for flow.

    One F5C block serves the first frame of every pair, another the second [figure]. The convolution stack and the flow
    head's encoder are shared by all frames and run once per frame.

    Args:
        config: what it is made of; see `PRESETS` and `create_model`.
    """

    def __init__(self, config: MOLConfig) -> None:
        super().__init__()
        self.config = config
        self.stack = ConvStack()
        self.first = _f5c(config)
        self.second = _f5c(config)
        self.mer = MERHead(config)
        self.landmarks: nn.Module | None = None
        self.flow: nn.Module | None = None
        self.units = UnitsHead(config) if config.units else None
        self.pairs = FramePairs(config.size) if config.motion or (config.flow and config.flow_head == "lite") else None
        if config.landmarks:
            self.landmarks = LandmarkHead(config) if config.landmark_head == "dense" else HeatmapLandmarkHead(config)
        if config.flow:
            self.flow = (
                FlowNetHead(CHANNELS, config.side)
                if config.flow_head == "flownet"
                else LiteFlowHead(CHANNELS, config.size)
            )

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads that this network has."""
        present = {"mer": self.mer, "flow": self.flow, "landmarks": self.landmarks, "units": self.units}
        return tuple(h for h in HEADS if present[h] is not None)

    @property
    def reads_motion(self) -> bool:
        """Whether the class is read from centered closed-form motion, if not from that alone (`pairwise`)."""
        return self.config.motion and self.config.centered and not self.config.mer_features

    def forward(self, clip_BT1HW: Tensor, heads: Collection[Head] | None = None) -> MOLOutput:
        """Compute the given heads, by default all that the network has.

        Args:
            clip_BT1HW: (B, T, 1, H, W) float gray frames, mean about 0 and size about 1. T is that of the config; flow
                and landmarks, which read pairs, take any number of frames from 2.
            heads: any of `mer`, `flow`, `landmarks`, `units`.

        Raises:
            InputError: the clip's shape is not the one the network was made for, or the network lacks a head.
        """
        wanted = self._checked(clip_BT1HW, heads)
        features = self.stack(clip_BT1HW.flatten(0, 1)).unflatten(0, clip_BT1HW.shape[:2])
        encoded = self.encode(features[:, :-1], features[:, 1:], clip_BT1HW[:, :, 0], wanted)
        return self.decide(encoded, wanted)

    def encode(self, before: Tensor, after: Tensor, clip_BTHW: Tensor, wanted: Collection[Head]) -> "Encoded":
        """Compute everything that works pair by pair: F(g), how each pair moves, flow and landmarks.

        Args:
            before: (B, P, C, S, S) F(r) of the first frames.
            after: the same of the second frames.
            clip_BTHW: the frames.
            wanted: heads.
        """
        shape = after.shape[:2]
        second = self.second(after.flatten(0, 1)).unflatten(0, shape) if self.reads_features(wanted) else after
        reads_first = self.reads_features(set(wanted) - {"landmarks"})
        first = self.first(before.flatten(0, 1)).unflatten(0, shape) if reads_first else second
        pairs = self.pairs(clip_BTHW) if self.pairs is not None and self._needs_pairs(wanted) else None
        moved = self.mer.estimate(pairs) if pairs is not None and CLIP_HEADS & set(wanted) else None
        flow_reads = pairs if self.config.flow_head == "lite" else clip_BTHW
        return Encoded(
            first,
            second,
            None if moved is None else moved.view(*shape, *moved.shape[1:]),
            self.flow(flow_reads, first, second) if self.flow is not None and "flow" in wanted else None,
            self.locate(second) if "landmarks" in wanted else None,
        )

    def locate(self, second_BPCSS: Tensor) -> Tensor | None:
        """Landmarks from F(g) of the second frame of each pair, (B, P, C, S, S) -> (B, P, 68, 2) px, if any."""
        if self.landmarks is None:
            return None
        points: Tensor = self.landmarks(second_BPCSS.flatten(0, 1)).unflatten(0, second_BPCSS.shape[:2])
        return points

    def decide(self, encoded: "Encoded", wanted: Collection[Head]) -> MOLOutput:
        """Add the class and the action units, from all pairs of a clip, to the results of the pairs."""
        logits = units = None
        if CLIP_HEADS & set(wanted):
            features = self.mer.look(encoded.first, encoded.second, encoded.moved)
            logits = self.mer(features) if "mer" in wanted else None
            units = self.units(features) if self.units is not None and "units" in wanted else None
        return MOLOutput(logits, encoded.flow, encoded.landmarks, units)

    def reads_features(self, heads: Collection[Head]) -> bool:
        """Whether any of these heads reads F(g); a classifier of centered motion alone does not."""
        config = self.config
        of_clip = config.mer_features or config.pairwise or (config.motion and not config.centered)
        return bool({"flow", "landmarks"} & set(heads)) or (of_clip and bool(CLIP_HEADS & set(heads)))

    def _needs_pairs(self, wanted: Collection[Head]) -> bool:
        return (bool(CLIP_HEADS & set(wanted)) and self.config.motion) or (
            "flow" in wanted and self.config.flow_head == "lite"
        )

    def _checked(self, clip: Tensor, heads: Collection[Head] | None) -> set[Head]:
        wanted = set(self.heads if heads is None else heads)
        missing = wanted - set(self.heads)
        if missing or not wanted:
            raise InputError(f"this network has the heads {', '.join(self.heads)}; asked for {sorted(wanted)}")
        expected = (self.config.frames, 1, self.config.size, self.config.size)
        fits = clip.ndim == 5 and tuple(clip.shape[2:]) == expected[1:]
        if not fits or (clip.shape[1] != expected[0] if CLIP_HEADS & wanted else clip.shape[1] < 2):
            raise InputError(
                f"this network reads clips of shape (B, {', '.join(map(str, expected))}), got {tuple(clip.shape)}; "
                "make one for other frames or sizes with create_model(..., frames=..., size=...); flow and landmarks "
                "alone take any number of frames from 2"
            )
        if not clip.is_floating_point():
            raise InputError(
                f"this network reads gray values as floats of mean about 0 and size about 1, got {clip.dtype}; "
                "openmer.clips.transforms.evaluation_input makes them of aligned frames"
            )
        return wanted


def _f5c(config: MOLConfig) -> F5C:
    fcc = FCC(CHANNELS, config.side, length=config.fcc_length) if config.fcc else None
    ccc = None
    if config.ccc:
        ccc = CCC(
            CHANNELS,
            config.side**2,
            neighbors=config.neighbors,
            graph=config.graph,
            itself=config.graph_itself,
            subtractions=config.graph_subtractions,
            mix=config.graph_mix,
        )
    if config.centered:
        # Near the identity at the beginning: the small part of the features that moves reaches the head unmixed.
        with torch.no_grad():
            if fcc is not None:
                fcc.kernel[:, 1] *= 0.1
            if ccc is not None and ccc.mix is not None:
                ccc.mix.weight *= 0.1
    return F5C(fcc, ccc)


def create_model(preset: str = "mol", **switches: Any) -> MOL:
    """Make a network with fresh weights.

    Args:
        preset: `mol` (follows the paper's figure), `mol-authors` (as the released model) or `mol-lite` (for a CPU).
        **switches: any attribute of `MOLConfig`, such as `num_classes=5`, `fcc=False`, `frames=16`. Without `motion`,
            the class is read from F(g), as in the paper.

    Raises:
        InputError: the preset or a switch is unknown, or the combination cannot work.
    """
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}; choose {', '.join(PRESETS)}")
    known = asdict(PRESETS[preset])
    unknown = sorted(set(switches) - set(known))
    if unknown:
        raise InputError(f"unknown switch {', '.join(unknown)}; there are {', '.join(known)}")
    if switches.get("motion") is False:
        switches = {"mer_features": True, **switches}
    return MOL(replace(PRESETS[preset], **switches))
