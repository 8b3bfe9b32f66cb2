"""Crop, flip, light and noise: the truth goes with the picture."""

import cv2
import numpy as np
import pytest

from clipsets import shifting_clip
from openmer import InputError
from openmer.clips.store import StoredClip
from openmer.clips.transforms import (
    EVAL,
    MIRRORED,
    STRONG,
    TRAIN,
    TransformSettings,
    draw_maps,
    mirrored_flow,
    mirrored_landmarks,
    moved_flow,
    normalized,
    transform,
)


@pytest.fixture
def clip() -> StoredClip:
    made = shifting_clip(np.random.default_rng(0), "right", "s0")
    assert made.landmarks is not None
    return StoredClip(made.frames, made.landmarks, made.flow)


def test_eval_is_the_middle_and_nothing_else(clip: StoredClip) -> None:
    once, twice = (transform(clip, EVAL, np.random.default_rng(k)) for k in (1, 2))
    assert (once.frames == twice.frames).all()
    middle = clip.frames[:, 8:136, 8:136].astype(np.float32)
    np.testing.assert_allclose(once.frames[:, 0], (middle - middle.mean()) / middle.std(), atol=1e-5)
    np.testing.assert_allclose(once.landmarks, clip.landmarks - 8)
    assert once.flow is not None and once.flow.shape == (7, 2, 128, 128)


def test_normalisation_by_hand() -> None:
    frames = np.array([[[0, 100]], [[100, 200]]], np.uint8)  # mean 100, deviation 70.71
    np.testing.assert_allclose(normalized(frames).ravel(), np.array([-100, 0, 0, 100]) / np.sqrt(5000), atol=1e-6)
    flat = np.full((2, 4, 4), 90, np.uint8)
    assert (normalized(flat) == 0).all(), "a flat clip is not divided by nothing"


def test_mirroring_twice_is_nothing_and_once_swaps_the_sides() -> None:
    assert sorted(MIRRORED.tolist()) == list(range(68)) and (MIRRORED[MIRRORED] == np.arange(68)).all()
    for one, other in ((0, 16), (8, 8), (17, 26), (36, 45), (37, 44), (39, 42), (40, 47), (48, 54), (60, 64), (31, 35)):
        assert MIRRORED[one] == other
    points = np.random.default_rng(0).uniform(0, 127, (8, 68, 2)).astype(np.float32)
    np.testing.assert_allclose(mirrored_landmarks(mirrored_landmarks(points)), points, atol=1e-4)
    assert mirrored_landmarks(points)[0, 0].tolist() == [127 - points[0, 16, 0], points[0, 16, 1]]


def test_flow_of_a_mirrored_clip_is_the_mirrored_flow(clip: StoredClip) -> None:
    flipped = transform(clip, TransformSettings(flip=1.0), np.random.default_rng(0))
    plain = transform(clip, EVAL, np.random.default_rng(0))
    np.testing.assert_allclose(flipped.frames, plain.frames[..., ::-1], atol=1e-5)
    assert flipped.flow is not None and (flipped.flow[:, 0] == -1).all() and mirrored_flow(None) is None
    # What it says is true of the pictures: warped back by it, the second is the first.
    y, x = np.mgrid[:128, :128].astype(np.float32)
    first, second = flipped.frames[0, 0], flipped.frames[1, 0]
    back = cv2.remap(second, x + flipped.flow[0, 0], y + flipped.flow[0, 1], cv2.INTER_LINEAR)
    assert np.abs(back - first)[4:-4, 4:-4].mean() < 0.2 * np.abs(second - first)[4:-4, 4:-4].mean()


def test_a_random_crop_takes_landmarks_and_flow_along(clip: StoredClip) -> None:
    marked = np.zeros((8, 144, 144), np.uint8)
    marked[:, 70, 80] = 255
    landmarks = np.full((8, 68, 2), [80, 70], np.float32)
    flow = np.zeros((7, 2, 144, 144), np.float32)
    flow[:, :, 70, 80] = 5
    places = set()
    for seed in range(12):
        made = transform(
            StoredClip(marked, landmarks, flow), TransformSettings(random_crop=True), np.random.default_rng(seed)
        )
        row, column = np.unravel_index(made.frames[0, 0].argmax(), (128, 128))
        assert made.landmarks[0, 0].tolist() == [column, row]
        assert made.flow is not None and (made.flow[0, :, row, column] == 5).all()
        places.add((row, column))
    assert len(places) > 8


def test_training_changes_what_it_may(clip: StoredClip) -> None:
    one, again, other = (transform(clip, TRAIN, np.random.default_rng(k)) for k in (1, 1, 2))
    assert (one.frames == again.frames).all() and not (one.frames == other.frames).all()
    with pytest.raises(InputError):
        TransformSettings(flip=1.5)
    with pytest.raises(InputError):
        TransformSettings(noise=-1)


def test_a_moved_clip_by_hand() -> None:
    """Doubled, then in the second frame 3 px further right; what moved by (1, -2) moves by (2 + 3, -4)."""
    maps = np.array([[[2, 0, -80], [0, 2, -80]], [[2, 0, -77], [0, 2, -80]]], np.float32)
    flow = np.tile(np.array([1, -2], np.float32)[None, :, None, None], (1, 1, 144, 144))
    np.testing.assert_allclose(moved_flow(flow, maps), np.tile([[[5]], [[-4]]], (1, 1, 128, 128)), atol=1e-4)


def test_landmarks_and_pictures_move_by_the_flow_that_a_wild_clip_names(clip: StoredClip) -> None:
    y, x = np.mgrid[:128, :128].astype(np.float32)
    swayed = 0
    strong = TransformSettings(probability=1, turn_deg=12, zoom=1.25, stretch=1.15, shift_px=4, sway_px=10)
    for seed in range(6):
        made = transform(clip, strong, np.random.default_rng(seed))
        assert made.flow is not None
        for k in range(7):
            points = made.landmarks[k]
            inside = ((points > 2) & (points < 125)).all(1)
            px, py = points[inside].T.reshape(2, -1, 1)
            moved = np.concatenate([cv2.remap(part, px, py, cv2.INTER_LINEAR) for part in made.flow[k]], 1)
            np.testing.assert_allclose(points[inside] + moved, made.landmarks[k + 1][inside], atol=0.02)
            first, second = made.frames[k, 0], made.frames[k + 1, 0]
            back = cv2.remap(second, x + made.flow[k, 0], y + made.flow[k, 1], cv2.INTER_LINEAR)
            left, before = (np.abs(p - first)[16:-16, 16:-16].mean() for p in (back, second))
            swayed += before > 0.1
            assert left < 0.5 * before or before < 0.1
    assert swayed > 10


def test_wild_changes_are_drawn_within_their_bounds() -> None:
    maps = np.stack([draw_maps(8, STRONG, np.random.default_rng(k)) for k in range(200)])
    middle = maps[..., :2] @ np.full(2, 71.5) + maps[..., 2] - 63.5
    assert 8 < np.abs(middle).max() < 8 + 4 * STRONG.sway_px
    scale = np.sqrt(np.linalg.det(maps[..., :2].astype(np.float64)))
    assert 0.7 < scale.min() < 0.85 and 1.2 < scale.max() < 1.4
    assert not np.allclose(maps[:, 0], maps[:, 7])
    usual = transform(StoredClip(*_flat()), TRAIN, np.random.default_rng(0))
    assert usual.frames.shape == (8, 1, 128, 128)
    with pytest.raises(InputError, match="at least 1"):
        TransformSettings(zoom=0.9)


def _flat() -> tuple[np.ndarray, np.ndarray, None]:
    return np.full((8, 144, 144), 90, np.uint8), np.zeros((8, 68, 2), np.float32), None
