"""The flow heads: FlowNet fed with F5C features, and a small one that sees full resolution.

Flow is (dx, dy) in pixels of the input, from the first frame of a pair to the second, x right, y down.

Shape legend: B clips, T frames, P = T - 1 pairs, C channels, H rows, W columns, S side of the F5C feature map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openmer.models.lucas_kanade import LucasKanade, Pairs, pooled, warp

PATCH, DILATION = 21, 2  # displacements of the correlation: 21 x 21, two cells apart


def overlapping_offsets(side: int) -> tuple[Tensor, Tensor]:
    """Which correlation channels can be non-zero on a map of this side, and where to find their values.

    Returns:
        channels: (D,) indices into the 441 displacements that overlap the map at all.
        places: (D, S*S) flat indices into the (S*S, S*S + 1) table of all pairs of cells; the last column is 0.
    """
    reach = PATCH // 2 * DILATION
    shift = torch.arange(-reach, reach + 1, DILATION)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    dy, dx = torch.meshgrid(shift, shift, indexing="ij")
    there_row = row.flatten() + dy.flatten()[:, None]
    there_column = column.flatten() + dx.flatten()[:, None]
    inside = (there_row >= 0) & (there_row < side) & (there_column >= 0) & (there_column < side)
    cells = side * side
    target = torch.where(inside, there_row * side + there_column, cells)
    places = torch.arange(cells) * (cells + 1) + target
    channels = inside.any(1).nonzero().flatten()
    return channels, places[channels]


def correlation(first_BCSS: Tensor, second_BCSS: Tensor, places_DN: Tensor) -> Tensor:
    """FlowNetC's correlation, as one batched matrix product (Fischer et al. 2015).

    Channel d of the result is the scalar product of each cell of the first map with the cell of the second map at the
    d-th displacement from it, divided by the number of channels; 0 outside the map.

    Args:
        first_BCSS: map of the first frame.
        second_BCSS: map of the second frame.
        places_DN: from `overlapping_offsets`: 225 of 441 displacements on a map of side 16.

    Returns:
        (B, D, S, S).
    """
    batch, depth, side, _ = first_BCSS.shape
    pairs = first_BCSS.flatten(2).transpose(1, 2) @ second_BCSS.flatten(2) / depth
    table = F.pad(pairs, (0, 1)).flatten(1)
    return table[:, places_DN.flatten()].view(batch, len(places_DN), side, side)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Sequential:
    padding = (kernel - 1) // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)
    )


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.LeakyReLU(0.1))


class FlowNetHead(nn.Module):
    """FlowNetC with batch normalisation; the F5C features of both frames join it at the correlation.

    Source: the figure (raw frames and both F(g) go in) and, for the layers, the released model.

    Each frame is encoded once, though it belongs to two pairs, and all pairs go through the decoder together. In
    training mode, batch normalisation therefore sees all pairs of the batch at once; the released model runs pair by
    pair, with statistics of one pair each. The difference is deliberate: more samples, less noise, and much faster.

    Args:
        features: channels of one F(g).
        side: S.
    """

    def __init__(self, features: int, side: int) -> None:
        super().__init__()
        channels, places = overlapping_offsets(side)
        ends = torch.arange(32 + PATCH * PATCH, 32 + PATCH * PATCH + 2 * features)
        # Which inputs of conv3_1 can be non-zero on this map.
        kept = torch.cat([torch.arange(32), 32 + channels, ends])
        self.places: Tensor
        self.kept: Tensor
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("kept", kept, persistent=False)
        self.conv1 = _conv(1, 64, 6, 2, 2)
        self.conv2 = _conv(64, 128, 4, 2, 1)
        self.conv3 = _conv(128, 256, 2, 2, 0)
        self.redirect = _conv(256, 32, 1)
        self.conv3_1 = _conv(32 + PATCH * PATCH + 2 * features, 256, 3)
        self.conv4, self.conv4_1 = _conv(256, 512, 3, 2), _conv(512, 512, 3)
        self.conv5, self.conv5_1 = _conv(512, 512, 3, 2), _conv(512, 512, 3)
        self.conv6, self.conv6_1 = _conv(512, 1024, 3, 2), _conv(1024, 1024, 3)
        skips, ups = (512, 512, 256, 128, 64, 1), (512, 256, 128, 128, 64, 32)
        widths = [1024]
        self.up = nn.ModuleList()
        for skip, up in zip(skips, ups, strict=True):
            self.up.append(_up(widths[-1], up))
            widths.append(skip + up + 2)
        self.flow = nn.ModuleList(nn.Conv2d(width, 2, 3, padding=1, bias=False) for width in widths)
        self.flow_up = nn.ModuleList(nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=False) for _ in skips)

    def forward(self, clip_BTHW: Tensor, first_BPCSS: Tensor, second_BPCSS: Tensor) -> Tensor:
        """Frames (B, T, H, W) and features of both frames of each pair (B, P, C, S, S) -> flow (B, P, 2, H, W)."""
        batch, frames, height, width = clip_BTHW.shape
        pairs = frames - 1
        image = clip_BTHW.reshape(-1, 1, height, width)
        one = self.conv1(image)
        two = self.conv2(one)
        three = self.conv3(two)

        def of_pairs(maps: Tensor, start: int) -> Tensor:
            """The maps of the first (0) or second (1) frame of every pair."""
            shaped = maps.view(batch, frames, *maps.shape[1:])
            return shaped[:, start : start + pairs].flatten(0, 1)

        first, second = of_pairs(three, 0), of_pairs(three, 1)
        corr = correlation(first, second, self.places)
        joined = torch.cat(
            [self.redirect(first), F.leaky_relu(corr, 0.1), first_BPCSS.flatten(0, 1), second_BPCSS.flatten(0, 1)], 1
        )
        four = self.conv4_1(self.conv4(out3 := self._join(joined)))
        five = self.conv5_1(self.conv5(four))
        out = self.conv6_1(self.conv6(five))
        flow = self.flow[0](out)
        skips = (five, four, out3, of_pairs(two, 0), of_pairs(one, 0), of_pairs(image, 0))
        for level, skip in enumerate(skips):
            out = torch.cat([skip, self.up[level](out), self.flow_up[level](flow)], 1)
            flow = self.flow[level + 1](out)
        finest: Tensor = flow
        return finest.view(batch, pairs, 2, height, width)

    def _join(self, joined: Tensor) -> Tensor:
        """conv3_1 without the weights of correlation channels that are always 0 on this map."""
        conv, norm, act = (self.conv3_1[k] for k in range(3))
        assert isinstance(conv, nn.Conv2d)  # noqa: S101  (narrows the type)
        out: Tensor = act(norm(F.conv2d(joined, conv.weight[:, self.kept], padding=1)))
        return out


class _Block(nn.Module):
    """A residual pair of convolutions: depthwise 5x5 for reach, then pointwise for mixing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reach = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        out: Tensor = x + self.narrow(F.gelu(self.widen(self.norm(self.reach(x)))))
        return out


def _for_learning(x: Tensor) -> Tensor:
    """On a CPU, channels last halves the time of the backward pass of small convolutions, not that of the forward."""
    return x.contiguous(memory_format=torch.channels_last) if torch.is_grad_enabled() else x


class LiteFlowHead(nn.Module):
    """A small flow head for a CPU: closed-form estimates at full resolution, joined by a small network.

    Windowed least-squares flow (`LucasKanade`) and the gradients are folded losslessly to a quarter of the resolution
    (pixel unshuffle), joined by F(g) of both frames at an eighth, and correct the head's motion twice: each pass sees
    the second frame warped back by the flow so far, so it measures only what is left.

    Args:
        features: channels of one F(g).
        size: H = W of the frames.
        width: channels at a quarter of the resolution.
    """

    def __init__(self, features: int, size: int, width: int = 36) -> None:
        super().__init__()
        self.estimate = LucasKanade(size)
        self.entry = nn.Conv2d(4 * 3 * self.estimate.windows + 16 * 4 + 2, width, 1)
        self.features = nn.Conv2d(2 * features, width, 1)
        self.fine = nn.ModuleList(_Block(width) for _ in range(2))
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.coarse = nn.ModuleList(_Block(2 * width) for _ in range(2))
        self.widen_features = nn.Conv2d(width, 2 * width, 1)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.out = _Block(width)
        self.flow = nn.Conv2d(width, 2 * 16, 1, bias=False)
        nn.init.zeros_(self.flow.weight)  # untrained, it returns just the motion of the head
        # Learned smoothing of the result at full resolution; initially none.
        self.polish = nn.Conv2d(2, 2, 5, padding=2, bias=False)
        nn.init.dirac_(self.polish.weight)

    def forward(self, pairs: Pairs, first_BPCSS: Tensor, second_BPCSS: Tensor) -> Tensor:
        """Pairs of frames and features of both frames of each pair (B, P, C, S, S) -> flow (B, P, 2, H, W)."""
        features = self.features(torch.cat([first_BPCSS, second_BPCSS], 2).flatten(0, 1))
        flow = pairs.head
        for _ in range(2):
            flow = flow + self._correction(pairs.first, warp(pairs.second, flow), flow, features).float()
        with torch.autocast(flow.device.type, enabled=False):
            polished: Tensor = self.polish(_for_learning(flow.to(self.polish.weight.dtype)))
        return polished.view(*first_BPCSS.shape[:2], *polished.shape[1:])

    def _correction(self, first: Tensor, second: Tensor, flow: Tensor, features: Tensor) -> Tensor:
        with torch.autocast(first.device.type, enabled=False):  # differences of products need float32
            solved, gradients = self.estimate(first, second)
        # A 1x1 convolution of all folded to a quarter by pixel unshuffle, without the folding, which takes longer.
        weight, of_solved, of_seen = self.entry.weight, 4 * solved.shape[1], self.entry.in_channels - 2
        seen = torch.cat([gradients, first], 1).to(weight.dtype)
        x = F.conv2d(pooled(flow.float(), 4).to(weight.dtype), weight[:, of_seen:], self.entry.bias)
        x = x + F.conv2d(solved.to(weight.dtype), weight[:, :of_solved].reshape(len(weight), -1, 2, 2), stride=2)
        x = x + F.conv2d(seen, weight[:, of_solved:of_seen].reshape(len(weight), -1, 4, 4), stride=4)
        x = _for_learning(x)
        for block in self.fine:
            x = block(x)
        y = self.down(x) + self.widen_features(features)
        for block in self.coarse:
            y = block(y)
        x = x + F.interpolate(self.up(y), scale_factor=2.0, mode="bilinear", align_corners=False)
        x = self.out(x)
        fine: Tensor = F.pixel_shuffle(self.flow(x), 4)  # back to full resolution
        return fine
