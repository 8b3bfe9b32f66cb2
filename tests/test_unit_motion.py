"""Every action unit moves the skin where FACS says, and the way FACS says."""

import numpy as np
import pytest

from openmer.simulator.facial_motion import (
    ACTION_UNITS,
    EXACT,
    Habits,
    action_weights,
    draw_habits,
    side_weights,
)
from openmer.simulator.head import front_skin, head_model, landmarks

# Unit -> where most of the moving skin of the subject's left side is, mm outwards and up, and which way it goes,
# degrees: 0 outwards, 90 up, 180 inwards. Ekman, Friesen, Hager 2002. On the mean head the pupils are at (31, 9), the
# mouth's corner at (23, -62), the nose's wing at (13, -36), the ends of the brow at (12, 25) and (56, 23).
PLACES: dict[int, tuple[tuple[float, float], tuple[float, float]]] = {
    1: ((13, 30), (80, 100)),
    2: ((43, 30), (80, 105)),
    4: ((23, 28), (225, 255)),
    5: ((31, 17), (75, 105)),
    6: ((38, -10), (85, 115)),
    7: ((35, 0), (85, 125)),
    9: ((14, -20), (70, 110)),
    10: ((18, -42), (70, 105)),
    12: ((35, -50), (30, 55)),
    14: ((34, -58), (165, 195)),
    15: ((27, -65), (260, 290)),
    16: ((10, -78), (255, 300)),
    17: ((8, -88), (80, 100)),
    18: ((28, -62), (165, 195)),
    20: ((31, -65), (345, 370)),
}
NEAR_MM = 14.0


def moved(weights: np.ndarray) -> np.ndarray:
    """(V, 3) mm of the skin that is seen from the front."""
    return np.tensordot(weights, head_model().fields, 1)[front_skin()]


def front_areas() -> np.ndarray:
    """(V,) mm^2 of skin that each vertex stands for: the mesh is finer at lips and lids."""
    model = head_model()
    a, b, c = (model.mean[model.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(model.faces.ravel(), np.repeat(area, 3), len(model.mean))[front_skin()]


def mean_direction(motion: np.ndarray, side: float = 1.0) -> float:
    """Degrees of the sum of all motion in the picture; outwards is `side`."""
    total = motion.sum(0)
    return float(np.degrees(np.arctan2(total[2], side * total[0])) % 360)


@pytest.mark.parametrize("unit", PLACES)
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_unit_moves_its_skin_its_way(unit: int, spread: float) -> None:
    motion = moved(side_weights(unit, "Left", 1.0, spread=spread))
    (x, z), (low, high) = PLACES[unit]
    # The half that moves most, weighted by how far: a part that is dragged along or an edge that moves more counts so.
    size = np.linalg.norm(motion[:, [0, 2]], axis=1)
    most = size >= 0.5 * size.max()
    weight = size[most] * front_areas()[most]
    center = (weight[:, None] * head_model().mean[front_skin()][most]).sum(0) / weight.sum()
    assert np.hypot(center[0] - x, center[2] - z) < NEAR_MM, center
    angle = mean_direction(motion[most] * front_areas()[most, None])
    assert low <= angle <= high or low <= angle + 360 <= high, angle


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_the_right_side_is_the_left_ones_mirror_image(unit: int) -> None:
    left, right = (moved(side_weights(unit, s, 1.0, spread=0.5)) for s in ("Left", "Right"))
    assert np.linalg.norm(left, axis=1).max() == pytest.approx(np.linalg.norm(right, axis=1).max(), rel=0.08)
    assert abs(left.sum(0)[0] + right.sum(0)[0]) < 0.1 * np.abs(left).sum() + 1e-3
    assert left.sum(0)[2] == pytest.approx(right.sum(0)[2], rel=0.1, abs=2)


def test_a_smile_pulls_the_corner_obliquely_and_lifts_the_cheek() -> None:
    model = head_model()
    fields = np.tensordot(action_weights(12, 1, 1), model.fields, 1)
    corner = (landmarks(model.mean + fields) - landmarks(model.mean))[54]
    assert 30 <= np.degrees(np.arctan2(corner[2], corner[0])) <= 50
    # Most of the moving skin is cheek: farther than 8 mm from the lips' outline.
    motion = moved(action_weights(12, 1, 1))
    size = np.linalg.norm(motion, axis=1)
    places = model.mean[front_skin()]
    lips = landmarks(model.mean)[48:60]
    away = np.linalg.norm(places[:, None] - lips, axis=2).min(1) > 8
    most = size > 0.3 * size.max()
    assert front_areas()[most & away].sum() > 0.6 * front_areas()[most].sum()


def test_lips_press_on_each_other_and_brows_come_together() -> None:
    model = head_model()

    def of(unit: int) -> np.ndarray:
        fields = np.tensordot(action_weights(unit, 1, 1), model.fields, 1)
        return landmarks(model.mean + fields) - landmarks(model.mean)

    for unit in (23, 24):
        assert of(unit)[51, 2] < -0.5 and of(unit)[57, 2] > 0.5, "the upper lip down, the lower up"
        assert of(unit)[48, 0] > 0 > of(unit)[54, 0], "the mouth narrower, not wider as in a smile"
    assert of(4)[21, 0] > 1 and of(4)[22, 0] < -1, "the subject's right brow is at negative x"
    assert of(45)[37, 2] < -5 and of(43)[44, 2] < -5, "the upper lids close"


def test_units_four_and_seven_reach_the_skin_around_them() -> None:
    places = head_model().mean[front_skin()]
    for unit, where in ((4, (0, 14, 8)), (4, (28, 46, 14)), (7, (33, -10, 8)), (7, (50, 8, 10))):
        near = np.hypot(np.abs(places[:, 0]) - where[0], places[:, 2] - where[1]) < where[2]
        size = np.linalg.norm(moved(action_weights(unit, 1, 1)), axis=1)
        assert size[near].mean() > 0.15 * size.max(), (unit, where)


def test_loose_skin_carries_more_of_its_surroundings_along_and_both_reach_as_far() -> None:
    for unit in (4, 12, 20):
        sizes = [np.linalg.norm(moved(side_weights(unit, "Left", 1.0, spread=s)), axis=1) for s in (0.0, 1.0)]
        areas = [front_areas()[size > 0.3 * size.max()].sum() for size in sizes]
        assert areas[1] > 1.2 * areas[0]
        assert sizes[1].max() == pytest.approx(sizes[0].max(), rel=0.25)


def test_a_turn_is_outwards_to_up_on_both_sides() -> None:
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        plain, turned = (
            mean_direction(moved(side_weights(20, side, 1.0, spread=0.3, turn=turn)), sign)  # type: ignore[arg-type]
            for turn in (0.0, np.deg2rad(20))
        )
        assert (turned - plain) % 360 == pytest.approx(20, abs=4)


def test_people_pull_in_directions_that_differ_by_about_twenty_degrees() -> None:
    rng = np.random.default_rng(0)
    people = [draw_habits(rng) for _ in range(400)]
    turns = np.degrees([h.turn[12, "Left"] for h in people])
    assert 14 < turns.std() < 22 and abs(turns.mean()) < 3
    assert 0.2 < np.std([h.spread for h in people]) < 0.3
    assert {h.favored for h in people} == {"Left", "Right"}
    assert 0.25 < np.mean([12 in h.companions for h in people]) < 0.45
    assert Habits() == Habits() and set(EXACT) <= set(ACTION_UNITS)
