"""FCC and CCC against slow twins written as plain loops after the paper's definitions, values and gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from openmer.models.f5c import CCC, F5C, FCC, circular_conv_rows


def slow_circular(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    side = x.shape[2]
    for i in range(side):
        for k in range(side):
            out[:, :, i] = out[:, :, i] + kernel[:, k, None] * x[:, :, (i + k) % side]
    return out + bias[:, None, None]


def slow_fcc(fcc: FCC, x: Tensor) -> Tensor:
    half, side = x.shape[1] // 2, x.shape[2]
    down, across = x[:, :half], x[:, half:]
    position, kernel = fcc.position[..., :side], fcc.kernel[..., :side]

    def vertical(y: Tensor, h: int, step: int) -> Tensor:
        return slow_circular(y, kernel[h, step], fcc.bias[h, step])

    def horizontal(y: Tensor, h: int, step: int) -> Tensor:
        return slow_circular(y.transpose(2, 3), kernel[h, step], fcc.bias[h, step]).transpose(2, 3)

    one = vertical(fcc.norm[0](down + position[0, 0, :, :, None]), 0, 0)
    one = horizontal(one + position[0, 1, :, None, :], 0, 1)
    # Batch normalisation is the same for every place, so it does not matter in which order the axes stand.
    two = horizontal(fcc.norm[1](across + position[1, 0, :, None, :]), 1, 0)
    two = vertical(two + position[1, 1, :, :, None], 1, 1)
    return torch.cat([down + one, across + two], 1)


def slow_ccc(ccc: CCC, x: Tensor) -> Tensor:
    """One node after the other, one neighbour after the other."""
    batch, channels = x.shape[:2]
    f = x.flatten(2)
    out = torch.zeros_like(f)
    for b in range(batch):
        nodes = f[b] if ccc.graph == "channels" else f[b].T
        neighbours = []
        for i in range(len(nodes)):
            likeness = [
                (float(functional.cosine_similarity(nodes[i], nodes[j], dim=0).detach()), j)
                for j in range(len(nodes))
                if ccc.itself or j != i
            ]
            neighbours.append([j for _, j in sorted(likeness, reverse=True)[: ccc.neighbors]])
        for c in range(channels):
            edges = []
            for rank in range(ccc.neighbors):
                if ccc.graph == "channels":
                    f_j = f[b, neighbours[c][rank]]
                else:
                    f_j = torch.stack([f[b, c, neighbours[p][rank]] for p in range(f.shape[2])])
                edges.append(functional.relu(ccc.centre(f[b, c]) + ccc.edge(f_j - ccc.subtractions * f[b, c])))
            out[b, c] = torch.stack(edges).max(0).values
    if ccc.mix is not None:
        out = torch.einsum("oc,bcn->bon", ccc.mix.weight[:, :, 0], out) + ccc.mix.bias[None, :, None]
    return x + out.view_as(x)


def assert_twins(fast: torch.nn.Module, slow: object, x: Tensor) -> None:
    """Equal values, and equal gradients of the input and of every parameter."""
    results = []
    for function in (fast, slow):
        fast.zero_grad()
        leaf = x.clone().requires_grad_()
        out = function(leaf)  # type: ignore[operator]
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        gradients = {n: p.grad.clone() for n, p in fast.named_parameters() if p.grad is not None}
        results.append((out.detach(), leaf.grad, gradients))
    (value, slope, gradients), (slow_value, slow_slope, slow_gradients) = results
    torch.testing.assert_close(value, slow_value)
    torch.testing.assert_close(slope, slow_slope)
    assert gradients.keys() == slow_gradients.keys() and gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, slow_gradients[name], msg=name)


def test_circular_convolution_by_hand() -> None:
    x = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1).expand(1, 1, 3, 3)
    out = circular_conv_rows(x, torch.tensor([[10.0, 1.0, 0.0]]), torch.tensor([0.5]))
    # 10 x[i] + x[i + 1], round the circle: 10 + 2, 20 + 4, 40 + 1.
    assert out[0, 0, :, 0].tolist() == [12.5, 24.5, 41.5]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("length", [None, 9])
def test_fcc_equals_its_slow_twin(training: bool, length: int | None) -> None:
    torch.manual_seed(0)
    fcc = FCC(6, 5, length=length).double().train(training)
    torch.nn.init.normal_(fcc.bias)
    torch.nn.init.normal_(fcc.position)
    assert_twins(fcc, lambda x: slow_fcc(fcc, x), torch.randn(3, 6, 5, 5, dtype=torch.double))


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"neighbors": 1},
        {"graph": "positions", "itself": True, "subtractions": 2, "mix": False},
        {"graph": "positions", "neighbors": 2},
    ],
    ids=["figure", "one neighbour", "released", "positions"],
)
def test_ccc_equals_its_slow_twin(switches: dict[str, object]) -> None:
    torch.manual_seed(1)
    ccc = CCC(7, 9, **switches).double()  # type: ignore[arg-type]
    assert_twins(ccc, lambda x: slow_ccc(ccc, x), torch.randn(2, 7, 3, 3, dtype=torch.double))


def test_fcc_sees_the_whole_map_from_everywhere() -> None:
    fcc = FCC(2, 6).eval()
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    fcc(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None and (x.grad != 0).all()


def test_a_node_is_its_own_neighbour_only_where_it_is_said() -> None:
    nodes = torch.randn(2, 5, 9)
    own = torch.arange(5)[None, :, None]
    assert (CCC(5, 9, itself=True).nearest(nodes)[..., :1] == own).all()
    assert (CCC(5, 9).nearest(nodes) != own).all()


def test_either_part_can_be_left_out() -> None:
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(F5C(None, None)(x), x)
    fcc, ccc = FCC(4, 3).eval(), CCC(4, 9, neighbors=2)
    torch.testing.assert_close(F5C(fcc, ccc)(x), ccc(fcc(x)))


def test_too_many_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="4 nodes cannot have 4"):
        CCC(4, 9, neighbors=4)
