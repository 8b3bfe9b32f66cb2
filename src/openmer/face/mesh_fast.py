"""The networks of `mesh_net` for one gray picture on one core, several times faster than PyTorch runs them.

The networks are so small that PyTorch spends most of the time between its operations. Here a block is three: the
depthwise convolution, a matrix product (BLAS), and the sum with the input and its slope, compiled by numba over
preallocated maps. The modules of `mesh_net` are what they must equal (`tests/test_mesh.py`).

Maps are (S + 2, S + 2, C), channels last, with a border of zeros, so that nothing asks where a picture ends. A picture
is gray: the first layer's weights are summed over its three equal colors. The kernels let other threads run.
"""

import numba
import numpy as np
import torch
from torch import nn

from openmer.clip import Array
from openmer.face.mesh_net import (
    DETECTOR_PX,
    MAP_PX,
    MESH_PX,
    NUM_POINTS,
    PATCH,
    REGION_GROWTH,
    AttentionMesh,
    Block,
    FaceDetector,
    RegionHead,
)


@numba.njit(cache=True, fastmath=True, nogil=True)
def _near(x, weight, bias, out):  # type: ignore[no-untyped-def]
    """Depthwise 3x3 of rows (S + 2, (S + 2) C) -> (S, S C); weights (9, S C) and bias (S C,) repeat every C.

    Indices are unsigned: of signed ones numba asks whether they count from the end, seven times slower.
    """
    rows, length = out.shape
    one = np.uint64((x.shape[1] - length) // 2)
    two = np.uint64(2) * one
    for y in range(rows):
        for k in range(np.uint64(length)):
            value = bias[k] + weight[0, k] * x[y, k] + weight[1, k] * x[y, k + one] + weight[2, k] * x[y, k + two]
            value += weight[3, k] * x[y + 1, k] + weight[4, k] * x[y + 1, k + one] + weight[5, k] * x[y + 1, k + two]
            value += weight[6, k] * x[y + 2, k] + weight[7, k] * x[y + 2, k + one] + weight[8, k] * x[y + 2, k + two]
            out[y, k] = value


@numba.njit(cache=True, fastmath=True, nogil=True)
def _near_halved(x, weight, bias, out):  # type: ignore[no-untyped-def]
    """The same at stride 2: (2 S + 2, 2 S + 2, C) -> (S, S, C)."""
    for y in range(out.shape[0]):
        for i in range(out.shape[1]):
            for c in range(out.shape[2]):
                value = bias[c]
                for k in range(3):
                    for m in range(3):
                        value += weight[3 * k + m, c] * x[2 * y + 1 + k, 2 * i + 1 + m, c]
                out[y, i, c] = value


@numba.njit(cache=True, fastmath=True, nogil=True)
def _finish(mixed, bias, slope, x, out):  # type: ignore[no-untyped-def]
    """Add the bias and the input beside, bend what is negative; into the inner part of the next map."""
    beside = x.shape[2]
    for y in range(mixed.shape[0]):
        for i in range(mixed.shape[1]):
            for c in range(mixed.shape[2]):
                value = mixed[y, i, c] + bias[c]
                if c < beside:
                    value += x[y + 1, i + 1, c]
                out[y + 1, i + 1, c] = max(value, np.float32(0)) + slope[c] * min(value, np.float32(0))


@numba.njit(cache=True, fastmath=True, nogil=True)
def _finish_halved(mixed, bias, slope, x, out):  # type: ignore[no-untyped-def]
    """The same beside the largest of each 2 x 2."""
    beside = x.shape[2]
    for y in range(mixed.shape[0]):
        for i in range(mixed.shape[1]):
            for c in range(mixed.shape[2]):
                value = mixed[y, i, c] + bias[c]
                if c < beside:
                    upper = max(x[2 * y + 1, 2 * i + 1, c], x[2 * y + 1, 2 * i + 2, c])
                    value += max(upper, max(x[2 * y + 2, 2 * i + 1, c], x[2 * y + 2, 2 * i + 2, c]))
                out[y + 1, i + 1, c] = max(value, np.float32(0)) + slope[c] * min(value, np.float32(0))


@numba.njit(cache=True, fastmath=True, nogil=True)
def _bend(mixed, bias, slope, out):  # type: ignore[no-untyped-def]
    """Add the bias, bend what is negative; into the inner part of the next map."""
    for y in range(mixed.shape[0]):
        for i in range(mixed.shape[1]):
            for c in range(mixed.shape[2]):
                value = mixed[y, i, c] + bias[c]
                out[y + 1, i + 1, c] = max(value, np.float32(0)) + slope[c] * min(value, np.float32(0))


@numba.njit(cache=True, nogil=True)
def _windows(x, side, out):  # type: ignore[no-untyped-def]
    """Every second window of `side` x `side` pixels, (S', S') -> (S S, side side)."""
    width = int(np.sqrt(len(out)))
    for y in range(width):
        for i in range(width):
            for k in range(side):
                for m in range(side):
                    out[y * width + i, k * side + m] = x[2 * y + k, 2 * i + m]


@numba.njit(cache=True, nogil=True)
def _cut(features, to_map, out):  # type: ignore[no-untyped-def]
    """The features at the pixels of a part, linearly; 0 beyond the outermost pixels' centers."""
    last = features.shape[0] - 3
    for y in range(out.shape[0] - 2):
        for i in range(out.shape[1] - 2):
            px = to_map[0, 0] * (i + 0.5) + to_map[0, 1] * (y + 0.5) + to_map[0, 2] - 0.5
            py = to_map[1, 0] * (i + 0.5) + to_map[1, 1] * (y + 0.5) + to_map[1, 2] - 0.5
            inside = 0 <= px <= last and 0 <= py <= last
            left, top = (int(px), int(py)) if inside else (0, 0)
            u, v = np.float32(px - left), np.float32(py - top)
            for c in range(out.shape[2]):
                upper = (1 - u) * features[top + 1, left + 1, c] + u * features[top + 1, left + 2, c]
                lower = (1 - u) * features[top + 2, left + 1, c] + u * features[top + 2, left + 2, c]
                out[y + 1, i + 1, c] = (1 - v) * upper + v * lower if inside else np.float32(0)


def _map(side: int, channels: int) -> Array:
    return np.zeros((side + 2, side + 2, channels), np.float32)


def _values(parameter: torch.Tensor) -> Array:
    return np.ascontiguousarray(parameter.detach().numpy(), np.float32)


def _slopes(act: nn.Module, channels: int) -> Array:
    return _values(act.weight) if isinstance(act, nn.PReLU) else np.zeros(channels, np.float32)


class _Mix:
    """A 1x1 convolution of pixels in rows: a matrix product."""

    def __init__(self, layer: nn.Module, pixels: int) -> None:
        assert isinstance(layer, nn.Conv2d)  # noqa: S101  (for the type checker)
        self.weight = np.ascontiguousarray(_values(layer.weight).reshape(layer.out_channels, -1).T)
        self.bias = _values(layer.bias) if layer.bias is not None else np.zeros(layer.out_channels, np.float32)
        self.out = np.empty((pixels, layer.out_channels), np.float32)

    def __call__(self, rows: Array) -> Array:
        np.dot(rows, self.weight, out=self.out)
        return self.out


class _FastBlock:
    """One `Block`, from its map to the next."""

    def __init__(self, block: Block, source: Array) -> None:
        side, self.stride, channels = (len(source) - 2) // block.stride, block.stride, source.shape[2]
        self.source, self.target = source, _map(side, block.mix.out_channels)
        times = side if block.stride == 1 else 1
        self.weight = np.tile(_values(block.near.weight).reshape(channels, 9).T, times)
        self.bias = np.tile(_values(block.near.bias), times)  # type: ignore[arg-type]
        self.near = np.empty((side, side, channels), np.float32)
        self.mix = _Mix(block.mix, side * side)
        self.mixed = self.mix.out.reshape(side, side, -1)
        self.slope = _slopes(block.act, block.mix.out_channels)

    def run(self) -> None:
        side = len(self.near)
        if self.stride == 1:
            _near(self.source.reshape(side + 2, -1), self.weight, self.bias, self.near.reshape(side, -1))
        else:
            _near_halved(self.source, self.weight, self.bias, self.near)
        self.mix(self.near.reshape(side * side, -1))
        finish = _finish if self.stride == 1 else _finish_halved
        finish(self.mixed, self.mix.bias, self.slope, self.source, self.target)


class _FastBlocks:
    """Blocks one after the other; `source` is the first one's map, `target` the last one's."""

    def __init__(self, blocks: nn.Module, source: Array) -> None:
        self.steps = []
        self.target = source
        for block in blocks.children():
            assert isinstance(block, Block)  # noqa: S101  (for the type checker)
            self.steps.append(_FastBlock(block, self.target))
            self.target = self.steps[-1].target

    def run(self) -> None:
        for step in self.steps:
            step.run()

    @property
    def rows(self) -> Array:
        """The last map's pixels: (S S, C)."""
        return np.ascontiguousarray(self.target[1:-1, 1:-1]).reshape(-1, self.target.shape[2])


class _Stem:
    """The first convolution, of a gray picture at stride 2."""

    def __init__(self, layer: nn.Conv2d, act: nn.Module, side: int) -> None:
        self.window, pixels = layer.kernel_size[0], side // 2
        self.padded = np.zeros((side + self.window - 2,) * 2, np.float32)
        before = (self.window - 2) // 2
        self.picture = self.padded[before : before + side, before : before + side]
        self.rows = np.empty((pixels * pixels, self.window**2), np.float32)
        gray = nn.Conv2d(1, layer.out_channels, self.window)
        gray.weight.data, gray.bias = layer.weight.data.sum(1, keepdim=True), layer.bias
        self.mix = _Mix(gray, pixels * pixels)
        self.slope = _slopes(act, layer.out_channels)
        self.target = _map(pixels, layer.out_channels)

    def run(self, picture: Array) -> None:
        self.picture[:] = picture
        _windows(self.padded, self.window, self.rows)
        side = len(self.target) - 2
        _bend(self.mix(self.rows).reshape(side, side, -1), self.mix.bias, self.slope, self.target)


class _Narrow:
    """The last layers before points: 1x1, then a block; its pixels as one row."""

    def __init__(self, narrow: nn.Module, source: _FastBlocks) -> None:
        layer, act, block = narrow.children()
        side = len(source.target) - 2
        self.source, self.mix = source, _Mix(layer, side * side)
        self.slope = _slopes(act, self.mix.out.shape[1])
        self.map = _map(side, self.mix.out.shape[1])
        self.last = _FastBlocks(nn.Sequential(block), self.map)

    def run(self) -> Array:
        side = len(self.map) - 2
        _bend(self.mix(self.source.rows).reshape(side, side, -1), self.mix.bias, self.slope, self.map)
        self.last.run()
        return self.last.rows.reshape(1, -1)


class _Points:
    """The convolution that sees the whole last map and gives numbers."""

    def __init__(self, layer: nn.Module) -> None:
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None  # noqa: S101  (for the type checker)
        self.weight = np.ascontiguousarray(_values(layer.weight.permute(2, 3, 1, 0)).reshape(-1, layer.out_channels))
        self.bias = _values(layer.bias)

    def __call__(self, row: Array) -> Array:
        return np.asarray((row @ self.weight)[0] + self.bias, np.float32)


class _FastRegion:
    """One `RegionHead`."""

    def __init__(self, head: RegionHead, features: Array) -> None:
        self.features = features
        self.points, self.corners = head.points.numpy(), head.corners.numpy()
        self.patch = _map(PATCH, features.shape[2])
        self.body = _FastBlocks(head.body, self.patch)
        self.narrow = _Narrow(head.narrow, self.body)
        self.out = _Points(head.out)

    def run(self, mesh: Array) -> Array:
        """(468, 2) px -> (P, 2) px."""
        to_map = self._frame(mesh * np.float32(MAP_PX / MESH_PX))
        _cut(self.features, to_map, self.patch)
        self.body.run()
        inner = self.out(self.narrow.run()).reshape(-1, 2)
        return np.asarray(inner @ to_map[:, :2].T + to_map[:, 2] * np.float32(MESH_PX / MAP_PX), np.float32)

    def _frame(self, mesh: Array) -> Array:
        """As `RegionHead.frame`."""
        across = mesh[self.corners[1]] - mesh[self.corners[0]]
        cos, sin = across / np.hypot(across[0], across[1])
        turn = np.array([[cos, -sin], [sin, cos]], np.float32)
        upright = mesh[self.points] @ turn
        low, high = upright.min(0), upright.max(0)
        linear = turn * ((high - low) * np.float32(REGION_GROWTH / PATCH))
        shift = turn @ ((low + high) / 2) - linear.sum(1) * np.float32(PATCH / 2)
        return np.concatenate([linear, shift[:, None]], 1)


class FastMesh:
    """`AttentionMesh` for gray pictures; not for two threads at once."""

    def __init__(self, net: AttentionMesh) -> None:
        layer, act = net.stem.children()
        assert isinstance(layer, nn.Conv2d)  # noqa: S101  (for the type checker)
        self._stem = _Stem(layer, act, MESH_PX)
        self._features = _FastBlocks(net.features, self._stem.target)
        self._body = _FastBlocks(net.body, self._features.target)
        self._narrow = _Narrow(net.narrow, self._body)
        self._out, self._is_face = _Points(net.out), _Points(net.is_face)
        heads = [head for head in net.regions if isinstance(head, RegionHead)]
        self._regions = [_FastRegion(head, self._features.target) for head in heads]

    def __call__(self, picture: Array) -> tuple[Array, float]:
        """(192, 192) in [0, 1] -> (468, 3) px from the upper left corner, and the logit of a face."""
        self._stem.run(picture)
        self._features.run()
        self._body.run()
        last = self._narrow.run()
        mesh = self._out(last).reshape(NUM_POINTS, 3)
        refined = mesh.copy()
        for region in self._regions:
            refined[region.points, :2] = region.run(np.ascontiguousarray(mesh[:, :2]))
        return refined, float(self._is_face(last)[0])


class FastDetector:
    """`FaceDetector` for gray pictures; not for two threads at once."""

    def __init__(self, net: FaceDetector) -> None:
        self._stem = _Stem(net.stem, nn.ReLU(), DETECTOR_PX)
        self._fine = _FastBlocks(net.fine, self._stem.target)
        self._coarse = _FastBlocks(net.coarse, self._fine.target)
        pixels = (DETECTOR_PX // 8) ** 2, (DETECTOR_PX // 16) ** 2
        self._scores = [_Mix(layer, count) for layer, count in zip(net.scores, pixels, strict=True)]
        self._boxes = [_Mix(layer, count) for layer, count in zip(net.boxes, pixels, strict=True)]

    def __call__(self, picture: Array) -> tuple[Array, Array]:
        """(128, 128) in [-1, 1] -> (896, 16) boxes and key points, (896,) logits."""
        self._stem.run(picture)
        self._fine.run()
        self._coarse.run()
        rows = (self._fine.rows, self._coarse.rows)
        boxes = [(mix(r) + mix.bias).reshape(-1, 16) for mix, r in zip(self._boxes, rows, strict=True)]
        scores = [(mix(r) + mix.bias).reshape(-1) for mix, r in zip(self._scores, rows, strict=True)]
        return np.concatenate(boxes), np.concatenate(scores)
