"""Folds come with their units, noise with the dark, bands with the mains; and all of it stays on the skin."""

from dataclasses import replace

import numpy as np
import pytest

from openmer.simulator.facial_motion import action_weights, no_weights
from openmer.simulator.folds import FOLDS, folded
from openmer.simulator.head import GLASSES_PART, head_model, landmarks
from openmer.simulator.look import CHANNELS, FOLDED, SWALLOWED, draw_hair_style, draw_look, hair_volume
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.render import Mains, expose

# Unit -> where its fold is deepest on the subject's left, mm outwards and up.
PLACES = {1: (15, 52), 4: (6, 25), 6: (57, 5), 12: (25, -45), 17: (6, -90)}


@pytest.mark.parametrize(("unit", "place"), PLACES.items())
def test_folds_are_where_their_unit_moves_the_skin_and_on_its_side(unit: int, place: tuple[float, float]) -> None:
    deep = folded(action_weights(unit, 0, 1))
    mean = head_model().mean
    deepest = mean[deep[: len(mean)] > 0.8 * deep.max()]
    assert np.hypot(*(deepest[:, [0, 2]] - place).T).min() < 8
    assert deep.max() > 0.6
    assert deepest[:, 0].min() > -8, "the left side is at positive x"


def test_folds_deepen_with_the_unit_and_a_neutral_face_has_none() -> None:
    assert not folded(no_weights()).any()
    depths = [folded(action_weights(4, s, s)).max() for s in (0.02, 0.1, 0.5, 1.0)]
    assert depths == sorted(depths) and depths[0] < 0.2 and depths[-1] > 0.9
    assert not folded(action_weights(26, 1, 1)).any(), "no fold hangs on the jaw alone"
    assert not folded(action_weights(4, 1, 1))[head_model().mesh_part == GLASSES_PART].any()


def test_a_fold_darkens_its_place_and_nothing_else() -> None:
    recording, _ = draw_recording((5, 1), draw_person((5,)), "none", distractors=False, noise=False)
    smooth = recording.person.look.atlas.copy()
    smooth[..., FOLDED], smooth[..., SWALLOWED] = 0, 0
    person = replace(recording.person, look=replace(recording.person.look, atlas=smooth))
    frowning = replace(recording)
    frowning.__dict__["coefficients"] = np.tile(action_weights(4, 1, 1), (len(recording), 1))
    without = replace(recording, person=person)
    without.__dict__["coefficients"] = frowning.coefficients
    difference = without.image(0).astype(int) - frowning.image(0)
    left, right = (recording.landmarks(0)[k] for k in (21, 22))  # the brows' inner ends
    middle, apart = (left + right) / 2, float(np.linalg.norm(right - left))
    rows, columns = (slice(int(middle[k] - 1.2 * apart), int(middle[k] + 1.2 * apart)) for k in (1, 0))
    assert difference[rows, columns].max() > 8
    assert np.abs(difference[100:]).max() <= 1, "the mouth and the chin"


def test_every_fold_names_units_that_there_are() -> None:
    for fold in FOLDS.values():
        for unit in fold.units:
            assert action_weights(unit, 1, 1).any()


def test_hair_stands_off_the_head_and_leaves_face_and_ears_alone() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        volume = hair_volume(draw_hair_style(rng), rng)
        moved = np.linalg.norm(volume, axis=1)
        assert moved.max() < 45
        assert np.abs(landmarks(head_model().mean + volume) - landmarks(head_model().mean))[17:].max() < 1e-6
        ears = np.abs(head_model().mean[:, 0]) > 74
        assert not moved[ears & (np.abs(head_model().mean[:, 2]) < 30)].any()


def test_a_look_is_the_same_every_time_and_every_texel_is_sound() -> None:
    looks = [draw_look(np.random.default_rng(k), draw_hair_style(np.random.default_rng(k))) for k in (3, 3, 4)]
    assert looks[0].atlas.shape[2] == CHANNELS and np.isfinite(looks[0].atlas).all()
    assert (looks[0].atlas == looks[1].atlas).all() and (looks[0].atlas != looks[2].atlas).any()
    assert looks[0].albedo.min() > 0 and looks[0].albedo.max() < 1


def test_a_lamp_on_mains_rolls_over_the_rows() -> None:
    """Of 100 Hz, read in 20 ms: two periods from the first to the last row, half a period later the opposite."""
    mains = Mains(depth=0.1, hertz=100, readout_s=0.02, phase=0.0)
    rows = mains.rows(0.0, 200)
    np.testing.assert_allclose(rows[[0, 25, 50, 75, 100]], [1, 1.1, 1, 0.9, 1], atol=1e-6)
    np.testing.assert_allclose(mains.rows(0.005, 200), 2 - rows, atol=1e-5)


def test_noise_of_the_sensor_is_strongest_in_the_dark_and_that_of_light_is_even() -> None:
    recording, _ = draw_recording((5, 1), draw_person((5,)), "none", distractors=False)
    camera = replace(recording.scene, noise=3.0, jpeg=None, grain=0.0, sharpened=0.0, exposure=1.0, contrast=0.0)
    halves = np.full((200, 200, 3), 0.5 ** (2.2), np.float32)  # gray level 127.5
    halves[:, :100] = 0.25 ** (2.2)

    def noise(shot: float) -> tuple[float, float]:
        picture = expose(halves, replace(camera, shot=shot, blur=0.3, gray=True), np.random.default_rng(0), times=1)
        return float(picture[:, :95].std()), float(picture[:, 105:].std())

    dark, bright = noise(shot=0.0)
    assert bright == pytest.approx(3.0, rel=0.05)
    assert dark / bright == pytest.approx(2**1.2, rel=0.05), "the curve's slope"
    dark, bright = noise(shot=1.0)
    assert dark / bright == pytest.approx(2**0.1, rel=0.05)
