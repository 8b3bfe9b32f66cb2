"""F5C: fully-connected convolution (FCC) and channel correspondence convolution (CCC), MOL's feature block.

Source: the overview figure of Shao et al., MOL, TPAMI 2025, and the behaviour of the released model where the figure is
silent. Where the two differ, `CCC` has a switch for each difference; docs/fidelity.md lists them.

Shape legend: B frames (batch, time and pairs folded together), C channels, S side of the feature map, N = S * S
positions, K neighbours.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openmer.models.config import Graph


def circular_conv_rows(x_BCSS: Tensor, kernel_CS: Tensor, bias_C: Tensor) -> Tensor:
    """Depthwise circular convolution down the columns, with a kernel as long as the side.

    out[i] = bias + sum over k of kernel[k] * x[(i + k) mod S]. Every output sees the whole column. Done as one batched
    matrix product with the circulant matrix of the kernel, in O(S) per position.
    """
    side = kernel_CS.shape[1]
    step = torch.arange(side, device=kernel_CS.device)
    circulant_CSS = kernel_CS[:, (step[None, :] - step[:, None]) % side]
    return circulant_CSS @ x_BCSS + bias_C[:, None, None]


class FCC(nn.Module):
    """Fully-connected convolution: local features with a global receptive field at O(H + W).

    The channels are split in half. Each half gets a position embedding and batch normalisation, then two depthwise
    circular 1-D convolutions as long as the side (half one down then across, half two across then down) with a second
    position embedding between them; then the residual is added.

    The released model stores kernels and embeddings of length 32 and uses their first S entries; `length` allows the
    same here, so that its checkpoints can be read.

    Args:
        channels: C, even.
        side: S.
        length: stored length of kernels and embeddings, at least `side`.
    """

    def __init__(self, channels: int, side: int, *, length: int | None = None) -> None:
        super().__init__()
        length = length or side
        half = channels // 2
        self.side = side
        # First axis: the half. Second: its first and second convolutions.
        self.kernel = nn.Parameter(torch.randn(2, 2, half, length) / side**0.5)
        self.bias = nn.Parameter(torch.zeros(2, 2, half))
        self.position = nn.Parameter(0.02 * torch.randn(2, 2, half, length))
        self.norm = nn.ModuleList(nn.BatchNorm2d(half) for _ in range(2))

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, C, S, S)."""
        down, across = x_BCSS.chunk(2, dim=1)
        # Half two is half one with the axes swapped.
        first = down + self._half(down, 0)
        second = across + self._half(across.transpose(2, 3), 1).transpose(2, 3)
        return torch.cat([first, second], dim=1)

    def _half(self, x: Tensor, half: int) -> Tensor:
        kernel, bias, position = self.kernel[half], self.bias[half], self.position[half]
        x = self.norm[half](x + position[0, :, : self.side, None])
        x = circular_conv_rows(x, kernel[0, :, : self.side], bias[0])
        x = (x + position[1, :, None, : self.side]).transpose(2, 3)
        return circular_conv_rows(x, kernel[1, :, : self.side], bias[1]).transpose(2, 3)


class CCC(nn.Module):
    """Channel correspondence convolution: a k-nearest-neighbour graph of feature patterns.

    Each channel's map, flattened to N values, is a node. An edge from node i to its neighbour j is
    ReLU(W1 f_i + W2 (f_j - f_i)); the strongest edge of a node is its new value (max over neighbours), a 1x1
    convolution mixes the nodes, and the residual is added.

    Args:
        channels: C, the number of nodes.
        positions: N, the length of a node.
        neighbors: K.
        graph: `channels`, as in the figure: neighbours are other channels. `positions`, as in the released model: they
            are positions, and node c's neighbour value at position p is c's value at p's j-th most similar position.
        itself: whether a node counts as its own first neighbour (released model).
        subtractions: how often the centre is subtracted from its neighbour: once in the figure, twice in the released
            model, where W2 is applied to (f_j - f_i) - f_i.
        mix: whether to include the figure's 1x1 convolution after the maximum; the released model lacks it.
    """

    def __init__(
        self,
        channels: int,
        positions: int,
        *,
        neighbors: int = 4,
        graph: Graph = "channels",
        itself: bool = False,
        subtractions: int = 1,
        mix: bool = True,
    ) -> None:
        super().__init__()
        nodes = channels if graph == "channels" else positions
        if not 1 <= neighbors <= nodes - (not itself):
            raise ValueError(f"a graph of {nodes} nodes cannot have {neighbors} neighbours each")
        self.neighbors, self.graph, self.itself, self.subtractions = neighbors, graph, itself, subtractions
        self.centre = nn.Linear(positions, positions)  # W1
        self.edge = nn.Linear(positions, positions)  # W2
        self.mix = nn.Conv1d(channels, channels, 1) if mix else None

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, C, S, S)."""
        f_BCN = x_BCSS.flatten(2)
        # ReLU does not change which edge is strongest, so it is applied once, after the maximum. What depends on the
        # centre alone, (W1 - s W2) f_i and the biases, is added after the maximum too.
        centre = F.linear(
            f_BCN, self.centre.weight - self.subtractions * self.edge.weight, self.centre.bias + self.edge.bias
        )
        strongest = self._strongest_channel(f_BCN) if self.graph == "channels" else self._strongest_position(f_BCN)
        out = F.relu(centre + strongest)
        if self.mix is not None:
            out = self.mix(out)
        return x_BCSS + out.view_as(x_BCSS)

    def nearest(self, nodes_BMD: Tensor) -> Tensor:
        """Indices (B, M, K) of each node's K most similar nodes by cosine similarity, most similar first."""
        with torch.no_grad():
            unit = F.normalize(nodes_BMD, dim=2)
            similar = unit @ unit.transpose(1, 2)
            if not self.itself:
                itself = torch.eye(similar.shape[1], dtype=torch.bool, device=similar.device)
                similar = similar.masked_fill(itself, float("-inf"))
            return similar.topk(self.neighbors, dim=2).indices

    def _strongest_channel(self, f_BCN: Tensor) -> Tensor:
        """Max over j of W2 f_j, f_j a whole channel: W2 is applied once per channel and its results are picked."""
        index_BCK = self.nearest(f_BCN)
        edges_BCN = f_BCN @ self.edge.weight.T
        batch = torch.arange(f_BCN.shape[0], device=f_BCN.device)[:, None]
        strongest = edges_BCN[batch, index_BCK[:, :, 0]]
        for j in range(1, self.neighbors):  # K picks; a (B, C, K, N) tensor would only be read once
            strongest = torch.maximum(strongest, edges_BCN[batch, index_BCK[:, :, j]])
        return strongest

    def _strongest_position(self, f_BCN: Tensor) -> Tensor:
        """Max over j of W2 f_j, f_j picked channel by channel at other positions."""
        index_BNK = self.nearest(f_BCN.transpose(1, 2))
        channels = f_BCN.shape[1]
        strongest = None
        for j in range(self.neighbors):
            picked = f_BCN.gather(2, index_BNK[:, None, :, j].expand(-1, channels, -1))
            edges = picked @ self.edge.weight.T
            strongest = edges if strongest is None else torch.maximum(strongest, edges)
        assert strongest is not None  # noqa: S101  (at least one neighbour)
        return strongest


class F5C(nn.Module):
    """FCC, then CCC, each with its residual inside; either can be left out for an ablation."""

    def __init__(self, fcc: FCC | None, ccc: CCC | None) -> None:
        super().__init__()
        self.fcc = fcc
        self.ccc = ccc

    def forward(self, x_BCSS: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, C, S, S)."""
        if self.fcc is not None:
            x_BCSS = self.fcc(x_BCSS)
        return x_BCSS if self.ccc is None else self.ccc(x_BCSS)
