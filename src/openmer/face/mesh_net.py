"""The two networks of the mesh: BlazeFace finds faces, FaceMesh with attention finds points in one.

Bazarevsky, Kartynnik, Vakunov, Raveendran, Grundmann, *BlazeFace*, 2019; Grishchenko, Ablavatski, Kartynnik,
Raveendran, Grundmann, *Attention Mesh*, 2020. Written after the graphs of the released models, whose weights they hold
(`tools/build_face_mesh.py`). The irises are left out.

Shape legend: B pictures, C channels, S side of a map of features.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DETECTOR_PX, MESH_PX = 128, 192
NUM_POINTS = 468
PATCH = 16  # side of the part of the features that a region's head looks at
MAP_PX = 48  # side of the features that the regions are cut from
REGION_GROWTH = 1.5


class Block(nn.Module):
    """Depthwise 3x3, then 1x1, beside the input; at stride 2 the input is max-pooled; new channels start as zeros.

    Args:
        channels: in, out.
        stride: 1 or 2.
        slopes: whether each channel learned its slope below zero (PReLU), else ReLU.
    """

    def __init__(self, channels: tuple[int, int], stride: int = 1, *, slopes: bool = True) -> None:
        super().__init__()
        first, last = channels
        self.stride = stride
        self.more = last - first
        self.near = nn.Conv2d(first, first, 3, stride, padding=2 - stride, groups=first)
        self.mix = nn.Conv2d(first, last, 1)
        self.act = nn.PReLU(last) if slopes else nn.ReLU()

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, C', S / stride, S / stride)."""
        beside, ahead = x_BCSS, x_BCSS
        if self.stride == 2:
            ahead = F.pad(x_BCSS, (0, 1, 0, 1))  # as TensorFlow's SAME pads even sides
            beside = F.max_pool2d(x_BCSS, 2)
        if self.more:
            beside = F.pad(beside, (0, 0, 0, 0, 0, self.more))
        out: Tensor = self.act(self.mix(self.near(ahead)) + beside)
        return out


def _blocks(channels: Sequence[int], strides: str, *, slopes: bool = True) -> nn.Sequential:
    """Blocks from each number of channels to the next; strides as digits."""
    return nn.Sequential(
        *(
            Block((first, last), int(stride), slopes=slopes)
            for first, last, stride in zip(channels, channels[1:], strides, strict=False)
        )
    )


class FaceDetector(nn.Module):
    """BlazeFace, short range."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 5, 2)
        self.fine = _blocks((24, 24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88), "11211211111", slopes=False)
        self.coarse = _blocks((88, 96, 96, 96, 96, 96), "21111", slopes=False)
        self.scores = nn.ModuleList([nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)])
        self.boxes = nn.ModuleList([nn.Conv2d(88, 32, 1), nn.Conv2d(96, 96, 1)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 128, 128) in [-1, 1] -> (B, 896, 16) boxes and key points, (B, 896) logits; see `anchors`."""
        fine = self.fine(F.relu(self.stem(F.pad(x, (1, 2, 1, 2)))))
        maps = (fine, self.coarse(fine))
        boxes = [head(m).permute(0, 2, 3, 1).reshape(len(x), -1, 16) for head, m in zip(self.boxes, maps, strict=True)]
        scores = [head(m).permute(0, 2, 3, 1).reshape(len(x), -1) for head, m in zip(self.scores, maps, strict=True)]
        return torch.cat(boxes, 1), torch.cat(scores, 1)


def anchors() -> Tensor:
    """(896, 2) centers x, y that the detector's boxes are relative to, as parts of its picture."""
    rows = []
    for cells, times in ((16, 2), (8, 6)):
        y, x = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        rows.append(((torch.stack([x, y], -1) + 0.5) / cells).reshape(-1, 1, 2).expand(-1, times, 2).reshape(-1, 2))
    return torch.cat(rows)


class RegionHead(nn.Module):
    """The refined points of a region, from the part of the features that shows it.

    Args:
        points: the numbers of its points in the mesh.
        corners: the two points that lie level in that part.
    """

    points: Tensor
    corners: Tensor

    def __init__(self, points: Sequence[int], corners: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("points", torch.tensor(points), persistent=False)
        self.register_buffer("corners", torch.tensor(corners), persistent=False)
        self.body = _blocks((32, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128), "11211211211")
        self.narrow = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32), Block((32, 32)))
        self.out = nn.Conv2d(32, 2 * len(points), 2)

    def forward(self, features: Tensor, mesh: Tensor) -> Tensor:
        """(1, 32, 48, 48) features, (468, 2) points of the whole mesh, px of the picture -> (P, 2) px."""
        to_map = self.frame(mesh * (MAP_PX / MESH_PX))
        patch = _cut(features, to_map)
        inner = self.out(self.narrow(self.body(patch))).reshape(-1, 2)
        # A place in the part is given in px of the picture of which the map's px are the quarter.
        placed: Tensor = inner @ to_map[:, :2].T + to_map[:, 2] * (MESH_PX / MAP_PX)
        return placed

    def frame(self, mesh: Tensor) -> Tensor:
        """(2, 3): from the part's pixels' corners to the map's; the region upright, with half its size around it."""
        across = mesh[self.corners[1]] - mesh[self.corners[0]]
        cos, sin = across / across.norm()
        turn = torch.stack([torch.stack([cos, -sin]), torch.stack([sin, cos])])  # from the part to the map
        upright = mesh[self.points] @ turn
        low, high = upright.amin(0), upright.amax(0)
        linear = turn * ((high - low) * (REGION_GROWTH / PATCH))
        shift = turn @ ((low + high) / 2) - linear.sum(1) * (PATCH / 2)
        return torch.cat([linear, shift[:, None]], 1)


def _cut(features: Tensor, to_map: Tensor) -> Tensor:
    """(1, C, PATCH, PATCH): the features at the part's pixels, linearly; 0 beyond the outermost pixels' centers."""
    side = torch.arange(PATCH, dtype=features.dtype) + 0.5
    y, x = torch.meshgrid(side, side, indexing="ij")
    places = torch.stack([x, y], -1) @ to_map[:, :2].T + to_map[:, 2]
    beyond = ((places < 0.5) | (places > MAP_PX - 0.5)).any(-1)
    patch = F.grid_sample(features, (places * (2 / MAP_PX) - 1)[None], padding_mode="border", align_corners=False)
    return patch * ~beyond


# The order in which the heads give their points: rings around the lips and the eyes, of the published mesh.
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
EYE_RIGHT = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189, 35, 124, 46, 53, 52, 65,
    143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
)  # fmt: skip
EYE_LEFT = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
    359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413, 265, 353, 276, 283, 282, 295,
    372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293, 334, 296, 336, 285, 417,
)  # fmt: skip


class AttentionMesh(nn.Module):
    """FaceMesh with attention: 468 points, those of lips, eyes and brows refined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.PReLU(16))
        self.features = _blocks((16, 16, 16, 32), "112")
        self.body = _blocks((32, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128, 128, 128, 128), "11211211211211")
        self.narrow = nn.Sequential(nn.Conv2d(128, 32, 1), nn.PReLU(32), Block((32, 32)))
        self.out = nn.Conv2d(32, 3 * NUM_POINTS, 3)
        self.is_face = nn.Conv2d(32, 1, 3)
        self.regions = nn.ModuleList(
            [RegionHead(LIPS, (61, 291)), RegionHead(EYE_RIGHT, (33, 133)), RegionHead(EYE_LEFT, (362, 263))]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, 192, 192) in [0, 1] -> (468, 3) px of it, from the upper left corner, z nearer is less; (1,) logit."""
        features = self.features(self.stem(F.pad(x, (0, 1, 0, 1))))
        last = self.narrow(self.body(features))
        mesh = self.out(last).reshape(NUM_POINTS, 3)
        refined = mesh.clone()
        for head in self.regions:
            refined[head.points, :2] = head(features, mesh[:, :2])
        return refined, self.is_face(last).reshape(1)
