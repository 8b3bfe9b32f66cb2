"""The tools that make the recognition head: motion drawn without pictures, and what a network would measure of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
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
