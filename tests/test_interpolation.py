"""Frames between frames: exact where a frame is, and where one can say by hand what lies between."""

import numpy as np
import pytest

from openmer import InputError
from openmer.choices import Interpolation
from openmer.clip import Array, Gray
from openmer.clips.build import build_clip
from openmer.clips.interpolation import even_places, interpolated, interpolated_rows, tim_weights


def texture(shift_px: float, side: int = 64) -> Gray:
    """Waves that have moved to the right."""
    y, x = np.mgrid[:side, :side].astype(float)
    waves = np.sin((x - shift_px) / 4) + np.sin(y / 5) + np.sin((x - shift_px + y) / 7)
    return np.rint(128 + 35 * waves).astype(np.uint8)


def test_the_cosines_of_the_path_graph_by_hand() -> None:
    """Of two frames, f(t) = cos(pi (u - 1/2) / 2) at u = 1, 2: +-sqrt(1/2); halfway it is 0, so half of each.

    A quarter of the way, f = cos(3 pi / 8) = 0.38268, and the first frame's weight is 1/2 + sqrt(1/2) f = 0.77060.
    """
    weights = tim_weights(2, np.array([0, 0.25, 0.5, 1]))
    np.testing.assert_allclose(weights, [[1, 0], [0.77060, 0.22940], [0.5, 0.5], [0, 1]], atol=1e-5)


def test_tim_as_the_paper_computes_it_gives_the_same_pictures() -> None:
    """Its way: center the pictures, a singular value decomposition, the graph's embedding, and back."""
    rng = np.random.default_rng(0)
    frames = rng.integers(40, 210, (5, 12, 12)).astype(np.uint8)
    places = np.linspace(0, 4, 8)
    columns = frames.reshape(5, -1).T.astype(float)
    mean = columns.mean(1, keepdims=True)
    u, spread, v = np.linalg.svd(columns - mean, full_matrices=False)
    u, spread, v = u[:, :4], spread[:4], v[:4]
    laplacian = np.diag([1, 2, 2, 2, 1]) - np.eye(5, k=1) - np.eye(5, k=-1)
    embedding = np.linalg.eigh(laplacian)[1][:, 1:]  # (5, 4), without the constant
    back = np.diag(spread) @ v @ embedding @ np.linalg.inv(embedding.T @ embedding)
    k = np.arange(1, 5)

    def curve(t: Array) -> Array:
        values = np.sin(np.pi * np.outer(t, k) + np.pi * (5 - k) / 10)
        ends = np.sin(np.pi * np.outer(np.arange(1, 6) / 5, k) + np.pi * (5 - k) / 10)
        scale = np.sum(ends * embedding, 0) / np.sum(ends**2, 0)  # eigenvectors have no fixed length and sign
        return np.asarray(values * scale)

    expected = (mean + u @ back @ curve((places + 1) / 5).T).T.reshape(8, 12, 12)
    made = interpolated(frames, places, "tim").astype(float)
    assert np.abs(made - np.clip(expected, 0, 255)).max() <= 0.51, "but for rounding"


@pytest.mark.parametrize("how", ["tim", "flow"])
def test_a_frame_at_its_own_place_is_itself(how: Interpolation) -> None:
    frames = np.stack([texture(k) for k in range(4)])
    np.testing.assert_array_equal(interpolated(frames, np.arange(4.0), how), frames)
    with pytest.raises(InputError, match="within 0 to 3"):
        interpolated(frames, np.array([3.5]), how)
    with pytest.raises(InputError, match="choose tim or flow"):
        interpolated(frames, np.array([1.0]), "none")


def test_along_the_flow_a_moving_texture_is_where_it_must_be() -> None:
    """Two pixels a frame: halfway it has moved by one. Mixing the neighbours without moving them is far worse."""
    frames = np.stack([texture(0), texture(2)])
    inner = (slice(12, -12), slice(12, -12))
    half = interpolated(frames, np.array([0.5]), "flow")[0][inner].astype(float)
    error = np.abs(half - texture(1)[inner]).mean()
    mixed = np.abs(frames.mean(0)[inner] - texture(1)[inner]).mean()
    assert error < 1.0 and error < mixed / 2
    quarter = interpolated(frames, np.array([0.25]), "flow")[0][inner].astype(float)
    assert np.abs(quarter - texture(0.5)[inner]).mean() < 1.0


def test_places_times_and_landmarks() -> None:
    assert even_places(5, 8).tolist() == pytest.approx([4 * k / 7 for k in range(8)])
    with pytest.raises(InputError, match="1 frame cannot be interpolated"):
        even_places(1, 8)
    rows = np.array([[0.0, 0.0], [1.0, np.nan], [2.0, 4.0]])
    between = interpolated_rows(rows, np.array([0.0, 0.5, 1.0, 2.0]))
    np.testing.assert_allclose(between, [[0, 0], [0.5, np.nan], [1, np.nan], [2, 4]])


def test_a_clip_of_too_few_frames_is_filled_evenly() -> None:
    rng = np.random.default_rng(0)
    face = rng.uniform(60, 140, (68, 2)).astype(np.float32)
    images = [rng.integers(0, 255, (200, 200)).astype(np.uint8) for _ in range(5)]
    places = even_places(5, 8)
    clip = build_clip(images, np.stack([face] * 5), np.arange(5) / 25, flow="dis", between=("tim", places))
    plain = build_clip(images, np.stack([face] * 5), np.arange(5) / 25)
    assert clip.frames.shape == (8, 144, 144) and clip.flow is not None and clip.flow.shape == (7, 2, 144, 144)
    np.testing.assert_allclose(clip.times_s, places / 25)
    np.testing.assert_array_equal(clip.frames[[0, -1]], plain.frames[[0, -1]])
    assert clip.landmarks is not None and plain.landmarks is not None
    np.testing.assert_allclose(clip.landmarks[3], plain.landmarks[0], atol=1e-4)
