"""The conventions of flow, pinned by a disc that is moved by a known shift."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from openmer import InputError
from openmer.choices import FlowMethod
from openmer.clips.flow import color_wheel, draw_arrows, flow_to_color, optical_flow, optical_strain

METHODS = ("tvl1", "dis", "farneback")


def disc(x: float, y: float) -> np.ndarray:
    """A bright textured disc of radius 20 on a dark ground, drawn at a subpixel place."""
    row, column = np.mgrid[:96, :128].astype(float)
    u, v = column - x, row - y
    texture = 140 + 40 * np.sin(u / 2.5) * np.cos(v / 2.1)
    inside = 1 / (1 + np.exp((np.hypot(u, v) - 20) / 0.7))
    return np.rint(20 + inside * texture).astype(np.uint8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shift", [(1.5, 0.0), (0.0, 0.75), (-0.5, 1.0)])
def test_sign_unit_and_axes(method: str, shift: tuple[float, float]) -> None:
    flow = optical_flow(disc(60, 45), disc(60 + shift[0], 45 + shift[1]), method)  # type: ignore[arg-type]
    assert flow.shape == (2, 96, 128) and flow.dtype == np.float32
    row, column = np.mgrid[:96, :128]
    inside = np.hypot(column - 60, row - 45) < 14
    np.testing.assert_allclose(flow[:, inside].mean(1), shift, atol=0.12)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_moves_between_equal_frames(method: str) -> None:
    assert np.abs(optical_flow(disc(60, 45), disc(60, 45), method)).max() < 1e-3  # type: ignore[arg-type]


def test_frames_of_two_sizes_and_unknown_methods_are_refused() -> None:
    with pytest.raises(InputError, match="the same size"):
        optical_flow(disc(60, 45), disc(60, 45)[:50])
    with pytest.raises(InputError, match="unknown flow method"):
        optical_flow(disc(60, 45), disc(60, 45), "raft")  # type: ignore[arg-type]


def test_strain_by_hand() -> None:
    y, x = np.mgrid[:10, :12].astype(np.float32)
    # A stretch of 0.3 along x and a squeeze of 0.4 along y: sqrt(0.09 + 0.16) = 0.5.
    np.testing.assert_allclose(optical_strain(np.stack([0.3 * x, -0.4 * y])), 0.5, atol=1e-5)
    # A pure shear dx = 0.2 y: both off-diagonal terms are 0.1, sqrt(2 * 0.01).
    np.testing.assert_allclose(optical_strain(np.stack([0.2 * y, 0 * y])), 0.1414214, atol=1e-5)
    # A turn strains nothing.
    np.testing.assert_allclose(optical_strain(np.stack([-0.1 * y, 0.1 * x])), 0, atol=1e-6)


def test_colours_of_the_four_directions() -> None:
    flow = np.array([[[1, 0, -1, 0, 0]], [[0, 1, 0, -1, 0]]], np.float32)  # right, down, left, up, none
    colours = flow_to_color(flow, 1.0)[0].tolist()
    expected = [[255, 0, 0], [127.5, 255, 0], [0, 255, 255], [127.5, 0, 255], [255, 255, 255]]
    np.testing.assert_allclose(colours, expected, atol=0.5)
    assert flow_to_color(np.full((2, 1, 1), np.nan, np.float32), 1.0).tolist() == [[[255, 255, 255]]]


def test_wheel_and_arrows_show_right_as_red_and_pointing_right() -> None:
    wheel = color_wheel(65)
    assert wheel[32, 64].tolist() == [255, 0, 0] and wheel[0, 0].tolist() == [255, 255, 255]
    flow = np.zeros((2, 16, 16), np.float32)
    flow[0, 4, 4] = 1
    drawn = draw_arrows(np.zeros((64, 64, 3), np.uint8), flow, step=8, magnify=6)
    rows, columns = np.nonzero(drawn.sum(2))
    assert columns.max() - 16 > 16 - columns.min() and abs(rows.mean() - 16) < 2


@pytest.mark.parametrize("method", ["dis", "tvl1"])
def test_threads_do_not_share_a_solver(method: FlowMethod) -> None:
    """OpenCV's keep buffers: shared by threads they would end the process."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (9, 96, 96), dtype=np.uint8)
    alone = [optical_flow(a, b, method) for a, b in pairwise(frames)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda k: optical_flow(frames[k], frames[k + 1], method), range(8)))
    np.testing.assert_array_equal(together, alone)
