"""The tools that make the recognition head: motion drawn without pictures, and what a network would measure of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from join_heads import joined, weighted
from motion_clips import GRID, displacement
from train_motion import PAIRS, Drawn, Recipe, measured

from openmer.models.lucas_kanade import affine_part, middle_of
from openmer.models.mol import create_model
from openmer.models.motion_branch import CenteredMotionBranch
from openmer.simulator.generate import draw_sample
from openmer.simulator.settings import SimulateSettings

MIDDLE = middle_of(GRID)


def bump(pairs: int = PAIRS, peak_px: float = 0.5) -> torch.Tensor:
    """(1, P, 2, G, G) px: a spot below the middle that rises evenly, sideways."""
    line = torch.arange(GRID) - GRID / 2
    spot = torch.exp(-((line[:, None] - 5) ** 2 + line**2) / 18)
    field = torch.stack([peak_px * spot, torch.zeros_like(spot)])
    return torch.linspace(1 / pairs, 1, pairs)[:, None, None, None] * field[None, None].squeeze(0)[None]


def textures() -> torch.Tensor:
    """(1, 3, G, G) products of gradients as strong along x as along y."""
    return torch.tensor([0.05, 0.0, 0.05])[None, :, None, None].expand(1, 3, GRID, GRID)


def relative(moved: torch.Tensor) -> torch.Tensor:
    """(1, P, 2, G, G) of each pair, without what an affine motion of the head explains."""
    pair = torch.diff(moved, dim=1, prepend=torch.zeros_like(moved[:, :1]))
    return pair - affine_part(pair.flatten(0, 1), MIDDLE).unflatten(0, pair.shape[:2])


def test_what_would_be_measured_is_what_moved() -> None:
    """Without noise, the brightness equation at each place has the motion as its solution: -xt / xx."""
    moved = bump()
    products, head = measured(moved, textures(), torch.zeros(1), MIDDLE)
    xx, _, yy, xt, yt = products.unbind(2)
    solved = torch.stack([-xt / xx, -yt / yy], 2)
    assert torch.allclose(solved, relative(moved), atol=1e-5)
    assert torch.allclose(solved + head, torch.diff(moved, dim=1, prepend=torch.zeros_like(moved[:, :1])), atol=1e-5)
    model = create_model("mol-lite", num_classes=4)
    assert isinstance(model.mer.motion, CenteredMotionBranch)
    out = model.mer.motion.estimate.solve(products.flatten(0, 1), head.flatten(0, 1))
    narrow = out[:, 0].sum(0)  # dx of the narrowest window, summed over the pairs, at half of the grid
    place = np.unravel_index(int(narrow.argmax()), narrow.shape)
    assert place in [(10, 7), (10, 8)] and 0.5 * 0.4 < float(narrow.max()) < 0.5, "smoothed, so smaller"


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    """Four clips, one of them without an expression, in which one half of the face moves."""
    moved = np.zeros((4, PAIRS, 2, GRID, GRID), np.float16)
    moved[1, :, 0, :, : GRID // 2] = 1
    units = np.zeros((4, 50), bool)
    units[0, 4] = True
    names = np.array(["anger", "none", "happiness", "others"])
    np.savez(tmp_path / "m.npz", displacement=moved, emotion=names, units=units)
    return Drawn((tmp_path / "m.npz",))


def test_others_are_no_class(drawn: Drawn) -> None:
    assert drawn.labels.tolist() == [0, 1, 2] and drawn.units[0].tolist() == [k == 2 for k in range(14)]


def test_a_still_clip_shows_nothing(drawn: Drawn) -> None:
    torch.manual_seed(0)
    products, head, labels, units = drawn.draw(8, textures().expand(8, -1, -1, -1), Recipe(still=1.0))
    assert labels.tolist() == [1] * 8 and not units.any() and not head.any()
    assert products.shape == (8, PAIRS, 5, GRID, GRID)


def test_drawn_motion_is_that_of_the_recording() -> None:
    """The mean over the cells of the grid is the flow of the painted recording, averaged likewise."""
    recording, event, _ = draw_sample(SimulateSettings(subjects=1, samples=1, seed=5, fps=50, head="calm"), 0, 0)
    last = len(recording) // 2 if event is None else round(event.apex_s * 50)
    moved, share = displacement(recording, np.array([0, last]))
    flow, covered = recording.flow(0, last)
    middle = slice(8, 136)
    cells = flow[:, middle, middle].reshape(2, GRID, 4, GRID, 4).mean((2, 4))
    whole = np.asarray(covered)[middle, middle].reshape(GRID, 4, GRID, 4).all((1, 3)) & (share == 1)
    assert whole.mean() > 0.5
    error = np.abs(moved[0] - cells)[:, whole]
    assert np.median(error) < 1e-3 and np.quantile(error, 0.99) < 0.05, "but where a cell has an edge of a lid or a lip"


def test_a_second_opinion_counts_by_its_shares() -> None:
    """By hand: of the logits 2, 4, 6 the expressions have the mean 4; half of it stays, a quarter of the rest."""
    rows = torch.tensor([[2.0], [4.0], [6.0]])
    assert weighted(rows, 1, (0.5, 0.25)).flatten().tolist() == [1.5, 2.0, 2.5]
    torch.manual_seed(0)
    first = create_model("mol-lite", num_classes=3, frames=4, size=64).eval()
    second = create_model("mol-lite", num_classes=3, frames=4, size=64, centered=False, mer_features=True).eval()
    with pytest.raises(SystemExit, match="do not share their backbone"):
        joined(first, second, 1, (0.5, 0.5))
    shared = {n: value for n, value in first.state_dict().items() if not n.startswith("mer.")}
    second.load_state_dict({**second.state_dict(), **shared})
    clip = torch.nn.functional.avg_pool2d(torch.randn(2, 4, 70, 70), 7, 1)[:, :, None] * 5
    with torch.inference_mode():
        own, other = (model(clip, ("mer",)).logits for model in (first, second))
        both = joined(first, second, 1, (0.35, 0.1))(clip, ("mer",)).logits
    mean, mine, others = (logits[:, [0, 2]].mean(1) for logits in (both, own, other))
    torch.testing.assert_close(both[:, 1], 0.65 * own[:, 1] + 0.35 * other[:, 1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mean, 0.65 * mine + 0.35 * others, atol=1e-5, rtol=1e-4)
    apart = 0.9 * (own[:, 0] - own[:, 2]) + 0.1 * (other[:, 0] - other[:, 2])
    torch.testing.assert_close(both[:, 0] - both[:, 2], apart, atol=1e-5, rtol=1e-4)
