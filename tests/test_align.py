import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmer import InputError
from openmer.face.align import SteadyAlignment, align, align_clip, five_points


def landmarks(turn: float = 0.0, zoom: float = 1.0, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Eyes at (-20, 0) and (20, 0), nose tip (0, 15), mouth corners (-16, 30) and (16, 30); then moved."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (-20, 0), (20, 0)
    points[30], points[48], points[54] = (0, 15), (-16, 30), (16, 30)
    cos, sin = np.cos(turn), np.sin(turn)
    return (zoom * points @ np.array([[cos, sin], [-sin, cos]]) + shift).astype(np.float32)


def test_the_crop_by_hand() -> None:
    # The extent is 40 px wide and 30 high, so the box has side 2.5 * 40 = 100 px, drawn as 144: 1.44 px a px.
    # Its middle, (0, 15), comes to the middle of the 128 crop, (63.5, 63.5).
    crop = align(landmarks())
    assert crop.scale == pytest.approx(1.44)
    expected = np.array([[63.5 - 28.8, 63.5 - 21.6], [63.5 + 28.8, 63.5 - 21.6], [63.5, 63.5]])
    np.testing.assert_allclose(crop.to_crop(five_points(landmarks()))[:3], expected, atol=1e-4)


def test_the_whole_square_differs_by_eight_pixels_on_each_side() -> None:
    crop, whole = align(landmarks()), align(landmarks(), size=144)
    np.testing.assert_allclose(whole.matrix[:, 2] - crop.matrix[:, 2], 8)


@given(st.floats(-1, 1), st.floats(0.5, 4), st.floats(-200, 200), st.floats(-200, 200))
def test_turn_zoom_and_shift_of_the_picture_do_not_change_the_crop(
    turn: float, zoom: float, x: float, y: float
) -> None:
    home = align(landmarks()).to_crop(five_points(landmarks()))
    moved = landmarks(turn, zoom, (x, y))
    np.testing.assert_allclose(align(moved).to_crop(five_points(moved)), home, atol=0.02)


@given(st.floats(-1, 1), st.floats(0.5, 4))
def test_points_come_back(turn: float, zoom: float) -> None:
    crop = align(landmarks(turn, zoom, (300, 200)))
    points = np.array([[310.0, 220.0], [290.0, 180.0]], np.float32)
    np.testing.assert_allclose(crop.to_image(crop.to_crop(points)), points, atol=1e-2)


def test_the_warped_picture_agrees_with_the_points() -> None:
    image = np.zeros((400, 600), np.uint8)
    spot = np.array([[320.0, 190.0]], np.float32)
    image[188:193, 318:323] = 255
    for zoom in (2.0, 8.0):  # enlarged and, with averaging, shrunk
        crop = align(landmarks(0.3, zoom, (300, 180)))
        warped = crop.warp(image).astype(float)
        y, x = np.mgrid[:128, :128]
        centre = np.array([(x * warped).sum(), (y * warped).sum()]) / warped.sum()
        np.testing.assert_allclose(centre, crop.to_crop(spot)[0], atol=0.15)


def test_landmarks_in_one_place_are_refused() -> None:
    with pytest.raises(InputError, match="span no face"):
        align(np.zeros((68, 2), np.float32))
    with pytest.raises(InputError, match="span no face"):
        align(np.full((68, 2), np.nan, np.float32))


def test_per_clip_is_one_alignment_and_per_frame_one_each() -> None:
    rng = np.random.default_rng(0)
    jittered = np.stack([landmarks() + rng.normal(0, 0.5, (68, 2)) for _ in range(9)]).astype(np.float32)
    assert len({id(a) for a in align_clip(jittered)}) == 1
    assert len({a.matrix.tobytes() for a in align_clip(jittered, "per_frame")}) == 9


def test_steady_alignment_holds_until_the_face_has_left() -> None:
    steady = SteadyAlignment(tolerance_px=6)
    # 1.44 px of the crop for one of the picture: 4 px of motion are 5.76, 5 px are 7.2.
    changes = [steady.update(landmarks(shift=(x, 0)))[1] for x in (0, 2, 4, 5, 6)]
    assert changes == [True, False, False, True, False]
    steady.reset()
    assert steady.update(landmarks(shift=(6, 0)))[1]
