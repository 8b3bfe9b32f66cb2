"""Re-enactment: the added motion is exactly what was asked for, wherever the face is, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmer.clip import ALIGNED_PX, Array
from openmer.errors import InputError
from openmer.face.align import align
from openmer.simulator.facial_motion import Event, draw_expression
from openmer.simulator.head import Identity, draw_identity
from openmer.simulator.recording import Recording, draw_person, draw_recording
from openmer.simulator.reenact import AddedMotion, Picture, cast, reenact, steadied
from openmer.simulator.settings import RecordingSettings

SIDE = 60


def _constant(dx: float, dy: float) -> AddedMotion:
    """The same motion everywhere."""
    return AddedMotion(np.full((SIDE, SIDE, 2), (dx, dy), np.float32).transpose(2, 0, 1), (0, 0))


def _smooth_field(seed: int, side: int = SIDE) -> AddedMotion:
    """A bump of motion, up to 3 px long and some 12 px wide."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    bump = np.exp(-((x - side / 2) ** 2 + (y - side / 2) ** 2) / (2 * 8.0**2))
    return AddedMotion((rng.uniform(-2, 2, (2, 1, 1)) * bump).astype(np.float32), (0, 0))


def _waves(points: Array) -> Array:
    """A picture known everywhere: (..., 2) px -> gray levels."""
    x, y = points[..., 0], points[..., 1]
    return np.asarray(120 + 50 * np.sin(x / 5) * np.cos(y / 7) + 30 * np.cos((x + y) / 9))


def _grid(side: int = SIDE) -> Array:
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return np.stack([x, y], -1)


def _photo(side: int = SIDE) -> Picture:
    return np.rint(_waves(_grid(side))).astype(np.uint8)


def test_what_is_at_a_place_is_then_where_the_field_says() -> None:
    picture = np.zeros((SIDE, SIDE), np.uint8)
    picture[20, 30] = 255
    moved = _constant(3, -2).apply(picture)
    assert moved[18, 33] == 255 and moved.sum() == 255
    assert _constant(3, -2).undo(moved)[20, 30] == 255


def test_half_a_pixel_on_a_ramp_by_hand() -> None:
    ramp = np.broadcast_to(10 + 4 * np.arange(SIDE, dtype=np.uint8), (SIDE, SIDE)).copy()  # 4 gray levels a px
    moved = _constant(0.5, 0).apply(ramp)
    assert (moved[:, 10:-10] == ramp[:, 10:-10] - 2).all()


def test_a_known_stretch_of_a_known_picture() -> None:
    """p + D(p) = 30 + 1.1 (p - 30), so the picture then shows at q what it showed at 30 + (q - 30) / 1.1."""
    stretch = AddedMotion(np.moveaxis(0.1 * (_grid() - 30), -1, 0), (0, 0))
    expected = _waves(30 + (_grid() - 30) / 1.1)
    error = np.abs(stretch.apply(_photo()) - expected)[4:-4, 4:-4]
    assert error.max() < 1.1 and error.mean() < 0.4  # rounded to gray levels twice


@given(st.integers(0, 50))
def test_the_source_is_where_the_motion_came_from(seed: int) -> None:
    added = _smooth_field(seed)
    source = added.source(_grid())
    assert np.abs(source + added.at(source) - _grid()).max() < 1e-3


def test_the_warp_against_its_slow_twin() -> None:
    """One pixel after another, its source by bisection along a field that moves only sideways, its value known."""
    y, x = np.mgrid[:SIDE, :SIDE]
    sideways = 2.5 * np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 200)
    added = AddedMotion(np.stack([sideways, 0 * sideways]).astype(np.float32), (0, 0))
    moved = added.apply(_photo())
    for row, column in [(30, 30), (25, 34), (31, 22), (40, 28), (10, 50)]:
        left, right = column - 4.0, column + 1.0
        for _ in range(40):
            middle = (left + right) / 2
            beyond = middle + np.interp(middle, np.arange(SIDE), added.field[0, row]) > column
            left, right = (left, middle) if beyond else (middle, right)
        assert moved[row, column] == pytest.approx(_waves(np.array([left, row])), abs=1.1)


def test_the_control_gives_the_picture_back() -> None:
    added = _smooth_field(3)
    photo = _photo()
    moved = added.apply(photo)
    assert np.abs(moved.astype(int) - photo).max() > 10
    assert np.abs(added.undo(moved).astype(int) - photo).max() <= 2


def test_no_motion_leaves_every_pixel_and_outside_the_field_nothing_changes() -> None:
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (80, 90, 3)).astype(np.uint8)
    assert np.array_equal(_constant(0, 0).apply(color), color)
    inside = AddedMotion(_smooth_field(1, 20).field, (30, 40))
    moved = inside.apply(color)
    changed = (moved != color).any(2)
    assert changed[40:60, 30:50].any()
    changed[40:60, 30:50] = False
    assert not changed.any()


def test_a_field_that_reaches_beyond_the_picture_is_cut() -> None:
    added = AddedMotion(_smooth_field(1, 40).field, (-15, -15))
    moved = added.apply(_photo())
    assert moved.shape == (SIDE, SIDE) and (moved[:20, :20] != _photo()[:20, :20]).any()
    away = AddedMotion(_smooth_field(1, 40).field, (500, 500))
    assert np.array_equal(away.apply(_photo()), _photo())


def test_a_field_that_folds_the_picture_is_refused() -> None:
    x = _grid()[..., 0]
    fold = np.where(x < 30, 8.0, -8.0)
    with pytest.raises(InputError, match="fold"):
        AddedMotion(np.stack([fold, 0 * fold]).astype(np.float32), (0, 0)).apply(_photo())


def test_skin_may_be_stretched_to_two_and_a_half_times_its_length() -> None:
    """p + D(p) = 30 + 2.5 (p - 30) in a band of 8 px, and moves stiffly beside it."""
    sideways = 1.5 * np.clip(_grid()[..., 0] - 30, -4, 4)
    added = AddedMotion(np.stack([sideways, 0 * sideways]).astype(np.float32), (0, 0))
    asked = np.array([[30.0, 20.0], [35.0, 20.0], [25.0, 20.0], [50.0, 20.0]])
    assert np.allclose(added.source(asked), [[30, 20], [32, 20], [28, 20], [44, 20]], atol=2e-3)


# --- an expression on a face ---


def draw_one() -> Identity:
    return draw_identity(np.random.default_rng(0))


@pytest.fixture(scope="module")
def smile() -> Event:
    return draw_expression(np.random.default_rng(2), "happiness", 0.1)


@pytest.fixture(scope="module")
def filmed() -> tuple[Recording, Event]:
    """A simulated person who smiles, 2 px, and does nothing else: the exact flow of the same head is known."""
    recording, event = draw_recording(
        (5, 1), draw_person((5,)), "happiness", RecordingSettings(fps=50), peak_px=2.0, distractors=False, noise=False
    )
    assert event is not None
    return recording, event


def test_the_field_is_the_motion_of_the_same_head(filmed: tuple[Recording, Event]) -> None:
    """On a picture of the head itself, what is added is the head's own exact flow, but for the smoothing of skin."""
    recording, event = filmed
    apex = int(np.abs(recording.times_s - event.apex_s).argmin())
    truth, visible = recording.flow(0, apex)
    actor = cast(recording.landmarks(0), recording.person.identity)
    added = reenact(actor, event, 2.0).on(recording.landmarks(0), float(recording.times_s[apex]))
    ours = np.moveaxis(added.at(_grid(ALIGNED_PX)), -1, 0)
    strong = visible & (np.hypot(*truth) > 0.7)
    assert strong.sum() > 300
    difference = np.hypot(*(ours - truth))[strong]
    assert np.median(difference) < 0.3
    cosine = (ours * truth).sum(0)[strong] / np.maximum(np.hypot(*ours)[strong] * np.hypot(*truth)[strong], 1e-6)
    assert np.median(cosine) > 0.97


@pytest.mark.parametrize("peak_px", [0.3, 1.0, 3.0])
def test_its_size_is_exact(filmed: tuple[Recording, Event], smile: Event, peak_px: float) -> None:
    face = filmed[0].landmarks(0) * 3 + np.float32(100)  # in a picture three times as large
    added = reenact(cast(face, draw_one()), smile, peak_px).on(face, smile.apex_s + smile.hold_s / 2)
    assert added.largest_px == pytest.approx(
        3 * peak_px * align(filmed[0].landmarks(0), size=ALIGNED_PX).scale ** -1, rel=0.02
    )


def test_it_turns_with_the_face(filmed: tuple[Recording, Event], smile: Event) -> None:
    face = filmed[0].landmarks(0)
    turned = np.stack([300 - face[:, 1], face[:, 0]], 1)  # a quarter turn: right becomes down
    moment = smile.apex_s
    upright = reenact(cast(face, draw_one()), smile, 2.0)
    before = upright.on(face, moment).at(face)
    after = upright.on(turned, moment).at(turned)
    assert np.abs(after - np.stack([-before[:, 1], before[:, 0]], 1)).max() < 0.05
    assert np.abs(before).max() > 0.5


def test_it_comes_and_goes(filmed: tuple[Recording, Event], smile: Event) -> None:
    face = filmed[0].landmarks(0)
    shown = reenact(cast(face, draw_one()), smile, 2.0)
    late = smile.max_lag_s + 1e-6
    sizes = [
        shown.on(face, moment).largest_px
        for moment in (smile.onset_s - late, (smile.onset_s + smile.apex_s) / 2, smile.apex_s, smile.offset_s + late)
    ]
    assert sizes[0] == sizes[3] == 0
    assert 0.3 * sizes[2] < sizes[1] < 0.7 * sizes[2]


def test_a_smile_lifts_the_corners_of_the_mouth_and_leaves_the_brows(
    filmed: tuple[Recording, Event], smile: Event
) -> None:
    face = filmed[0].landmarks(0)
    moved = reenact(cast(face, draw_one()), smile, 2.0).on(face, smile.apex_s).at(face)
    right, left = moved[48], moved[54]  # the subject's own
    assert right[0] < -0.2 and left[0] > 0.2 and max(right[1], left[1]) < -0.5
    assert np.abs(moved[17:27]).max() < 0.3


def test_what_cannot_be_is_refused(filmed: tuple[Recording, Event], smile: Event) -> None:
    face = filmed[0].landmarks(0)
    with pytest.raises(InputError, match="above 0"):
        reenact(cast(face, draw_one()), smile, 0.0)
    with pytest.raises(InputError, match="span no face"):
        cast(np.zeros((68, 2), np.float32), draw_one())


def test_landmarks_are_steadied() -> None:
    times = np.arange(40) / 20
    still = np.broadcast_to(np.arange(136, dtype=np.float32).reshape(68, 2), (40, 68, 2)).copy()
    shaking = still + np.where(np.arange(40) % 2, 1, -1)[:, None, None].astype(np.float32)
    shaking[7] = np.nan
    steady = steadied(shaking, times)
    assert np.isnan(steady[7]).all()
    rest = np.delete(steady - still, 7, 0)
    assert np.abs(rest[10:-10]).max() < 0.1
    assert np.allclose(steadied(still, times), still, atol=1e-3)
    assert np.array_equal(steadied(still[:1], times[:1]), still[:1])
