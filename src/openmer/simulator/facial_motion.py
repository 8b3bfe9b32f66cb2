"""What a simulated face does when it shows something: expressions, made of action units that rise and fall.

Which units an emotion shows, on which sides and for how long is counted from real recordings (`shown_units`); how a
unit moves the skin is in `unit_motion`. How people and occasions differ, and how large the motion is, is our choice:
people move the same unit in directions that differ by some 20 degrees, over more or less skin, one side first, one
unit before the other, and with habits of their own.

Shape legend: T frames, B fields of the head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

import numpy as np

from openmer.clip import Array, Times
from openmer.errors import InputError
from openmer.simulator.head import head_model
from openmer.simulator.shown_units import (
    EMOTIONS,
    OTHERS,
    THREE_CLASS,
    Like,
    draw_dataset,
    draw_timing,
    draw_units,
    one_sided_share,
)
from openmer.simulator.unit_motion import SIDES, UNIT_MOTIONS, Side, field_weights

ACTION_UNITS = tuple(UNIT_MOTIONS)

MICRO_MEDIAN_PX, MICRO_SPREAD, MICRO_RANGE_PX = 0.9, 0.55, (0.3, 3.0)
MICRO_S = 0.5  # what lasts longer is a fade
PERSON_TURN, SIDE_TURN, EVENT_TURN = np.deg2rad((16.0, 8.0, 9.0))  # together 20 degrees
EXACT = (5, 25, 26, 28, 43, 45)  # units of lids and lips, which a bone or an edge guides
GUIDED = 0.25  # of the turn remains for them
PERSON_STRENGTH, EVENT_STRENGTH = 0.25, 0.25  # of a logarithm
PERSON_LAG_S, EVENT_LAG_S, SIDE_LAG_S = 0.025, 0.012, 0.012
PERSON_ASYMMETRY, EVENT_ASYMMETRY = 0.12, 0.10
FAVORED_SIDE, WEAK_SIDE = 0.75, 0.25  # how often a one-sided expression is on it; the other side's strength at most
COMPANION = 0.35  # share of people who have the habit
HABITS: dict[int, tuple[int, ...]] = {  # what may come along, too weak to be coded
    1: (2, 5),
    2: (1, 5),
    4: (7, 1, 9),
    5: (2, 7),
    6: (7,),
    7: (4, 6),
    9: (10, 4),
    10: (9, 7),
    12: (6, 14, 25),
    14: (12, 24),
    15: (17, 14),
    17: (15, 24),
    20: (14, 25),
    23: (24, 17),
    24: (17, 14),
}
COMPANION_STRENGTH = (0.05, 0.3)
TYPICAL_SPREAD = 0.4


@dataclass(frozen=True)
class Habits:
    """How one person's face moves.

    Attributes:
        turn: (unit, side) -> radians by which the direction of pull differs, outwards and up positive.
        spread: 0 in stiff skin, 1 in loose skin.
        strength: unit -> factor.
        lag_s: unit -> seconds after the first.
        asymmetry: how much stronger the right side is.
        favored: the side of a one-sided expression, mostly.
        companions: unit -> what comes along, and its relative strength.
    """

    turn: Mapping[tuple[int, Side], float] = field(default_factory=dict)
    spread: float = TYPICAL_SPREAD
    strength: Mapping[int, float] = field(default_factory=dict)
    lag_s: Mapping[int, float] = field(default_factory=dict)
    asymmetry: float = 0.0
    favored: Side = "Left"
    companions: Mapping[int, tuple[int, float]] = field(default_factory=dict)


PLAIN = Habits()


def draw_habits(rng: np.random.Generator) -> Habits:
    """A new person's."""
    turn: dict[tuple[int, Side], float] = {}
    for unit in ACTION_UNITS:
        shared = rng.normal(0, PERSON_TURN)
        for side in SIDES:
            turn[unit, side] = float(shared + rng.normal(0, SIDE_TURN))
    companions = {
        unit: (int(rng.choice(others)), float(rng.uniform(*COMPANION_STRENGTH)))
        for unit, others in HABITS.items()
        if rng.random() < COMPANION
    }
    return Habits(
        turn,
        float(rng.beta(1.6, 2.2)),
        {unit: float(np.exp(rng.normal(0, PERSON_STRENGTH))) for unit in ACTION_UNITS},
        {unit: float(rng.normal(0, PERSON_LAG_S)) for unit in ACTION_UNITS},
        float(rng.normal(0, PERSON_ASYMMETRY)),
        SIDES[rng.integers(2)],
        companions,
    )


def no_weights() -> Array:
    """(B,) zeros."""
    return np.zeros(len(head_model().field_names), np.float32)


def named_weights(**weights: float) -> Array:
    """(B,) of fields by name, such as `jawOpen=0.2`, or of both sides of a unit, such as `AU17=0.3`."""
    total = no_weights()
    names = head_model().field_names
    for name, weight in weights.items():
        if name in names:
            total[names.index(name)] = weight
        else:
            total += action_weights(int(name.removeprefix("AU")), weight, weight)
    return total


def side_weights(unit: int, side: Side, strength: float, *, spread: float, turn: float = 0.0) -> Array:
    """(B,) weights of a unit on one side.

    Args:
        unit: FACS number.
        side: the subject's own.
        strength: 1 is a full expression.
        spread: 0 in stiff skin, 1 in loose skin.
        turn: radians, from outwards towards up positive.
    """
    weights = no_weights()
    start = head_model().field_names.index(f"AU{unit}{side}")
    # Seen from outside, outwards to up is anticlockwise on the subject's left, and clockwise on the right.
    weights[start : start + 4] = field_weights(strength, spread, turn if side == "Left" else -turn)
    return weights


def action_weights(unit: int, right: float, left: float) -> Array:
    """(B,) weights of a unit shown with these strengths on the subject's right and left by a plain face.

    Raises:
        InputError: the unit is not simulated.
    """
    if unit not in ACTION_UNITS:
        raise InputError(f"action unit {unit} is not simulated; there are {', '.join(map(str, ACTION_UNITS))}")
    both = (side_weights(unit, s, v, spread=TYPICAL_SPREAD) for s, v in zip(SIDES, (right, left), strict=True))
    return np.asarray(sum(both, no_weights()), np.float32)


@cache
def unit_size_mm(unit: int) -> float:
    """How far a full unit moves the skin."""
    moved = np.tensordot(action_weights(unit, 1, 1), head_model().fields, 1)
    return float(np.linalg.norm(moved, axis=1)[head_model().part == 0].max())


@dataclass(frozen=True)
class Part:
    """Something that moves along with an event.

    Attributes:
        weights: (B,) at the apex.
        lag_s: seconds after the event; may be negative.
    """

    weights: Array
    lag_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that begins, reaches its apex, and ends.

    Attributes:
        kind: `micro`, `fade` (a micro-expression that fades for longer than half a second), `macro`; `blink`, `gaze`,
            `speech`, `swallow`, `lips`, `squint`, `breath`.
        onset_s: seconds.
        apex_s: when it reaches full strength.
        hold_s: how long it stays there.
        offset_s: when it is over.
        parts: what moves.
        emotion: its name, or empty.
        units: unit -> (right, left) strength at the apex.
        lags_s: unit -> (right, left) seconds by which it is later.
        coded: units that a coder would note; the others are traces.
        peak_px: largest motion at the apex, px of the 128 crop, or None if not set.
        rise_shape: exponent; above 1, it starts slowly.
        fall_shape: exponent; below 1, it begins fast and then lingers.
    """

    kind: str
    onset_s: float
    apex_s: float
    hold_s: float
    offset_s: float
    parts: tuple[Part, ...] = ()
    emotion: str = ""
    units: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    lags_s: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    coded: tuple[int, ...] = ()
    peak_px: float | None = None
    rise_shape: float = 1.0
    fall_shape: float = 1.0

    @property
    def weights(self) -> Array:
        """(B,) of all parts at their apex."""
        return np.asarray(sum((p.weights for p in self.parts), no_weights()), np.float32)

    @property
    def end_s(self) -> float:
        """When the last part is over."""
        return self.offset_s + max((p.lag_s for p in self.parts), default=0.0)

    @property
    def max_lag_s(self) -> float:
        """How far a part is from the event's own time, at most."""
        return max((abs(p.lag_s) for p in self.parts), default=0.0)

    def curve(self, times_s: Times) -> Array:
        """(T,) between 0 and 1: rises and falls with minimum jerk (Flash, Hogan 1985)."""
        rise = (times_s - self.onset_s) / (self.apex_s - self.onset_s)
        fall = (times_s - self.apex_s - self.hold_s) / (self.offset_s - self.apex_s - self.hold_s)
        return np.asarray(_smooth(rise, self.rise_shape) - _smooth(fall, self.fall_shape), np.float32)

    def coefficients(self, times_s: Times) -> Array:
        """(T, B)."""
        total = np.zeros((len(times_s), len(head_model().field_names)), np.float32)
        for part in self.parts:
            total += np.outer(self.curve(times_s - part.lag_s), part.weights)
        return total

    def times_strength(self, factor: float) -> "Event":
        """The same, so many times as strong."""
        return replace(
            self,
            parts=tuple(Part(factor * p.weights, p.lag_s) for p in self.parts),
            units={unit: (factor * right, factor * left) for unit, (right, left) in self.units.items()},
        )


def _smooth(x: Times, shape: float) -> Times:
    x = np.clip(x, 0, 1) ** shape
    return np.asarray(x**3 * (10 - 15 * x + 6 * x**2))


def draw_expression(
    rng: np.random.Generator,
    emotion: str,
    onset_s: float,
    *,
    kind: Literal["micro", "macro"] = "micro",
    like: Like = "mixture",
    habits: Habits = PLAIN,
) -> Event:
    """An expression whose units have relative strengths; `scaled` gives it its size.

    Args:
        rng: source of randomness.
        emotion: its name.
        onset_s: seconds.
        kind: a micro-expression becomes a `fade` if its table's timing makes it longer than half a second.
        like: whose units, sides and timing.
        habits: of the person.

    Raises:
        InputError: the emotion is not simulated.
    """
    dataset = draw_dataset(rng, like)
    coded = draw_units(rng, dataset, emotion)
    relative = {
        unit: 1.0 if k == 0 else float(rng.uniform(0.5, 1.0)) for k, unit in enumerate(rng.permutation(coded).tolist())
    }
    for unit in coded:
        companion, weak = habits.companions.get(unit, (0, 0.0))
        if companion and companion not in relative:
            relative[companion] = weak
    sided = _one_sided(rng, one_sided_share(dataset, emotion), coded, habits)
    parts, units, lags = _parts(rng, relative, sided, habits)
    if kind == "macro":
        rise, hold, fall = rng.uniform(0.2, 0.6), rng.uniform(0.2, 2.2), rng.uniform(0.3, 1.2)
    else:
        (rise, fall), hold = draw_timing(rng, dataset), 0.0
    long = kind == "micro" and rise + fall > MICRO_S
    apex = onset_s + rise
    return Event(
        kind="fade" if long else kind,
        onset_s=onset_s,
        apex_s=apex,
        hold_s=hold,
        offset_s=apex + hold + fall,
        parts=parts,
        emotion=emotion,
        units=units,
        lags_s=lags,
        coded=tuple(sorted(coded)),
        rise_shape=float(np.exp(rng.normal(0, 0.15))),
        fall_shape=float(np.exp(rng.normal(-0.4 if long else -0.1, 0.15))),
    )


def _one_sided(rng: np.random.Generator, share: float, coded: Sequence[int], habits: Habits) -> dict[int, Side]:
    """Unit -> the side on which alone it is strong: of a one-sided expression all units, or one of them."""
    if rng.random() >= share:
        return {}
    other: Side = "Right" if habits.favored == "Left" else "Left"
    side = habits.favored if rng.random() < FAVORED_SIDE else other
    which = coded if rng.random() < 0.7 else [int(rng.choice(coded))]
    return dict.fromkeys(which, side)


def _parts(
    rng: np.random.Generator, relative: Mapping[int, float], sided: Mapping[int, Side], habits: Habits
) -> tuple[tuple[Part, ...], dict[int, tuple[float, float]], dict[int, tuple[float, float]]]:
    """The sides of the units, each turned, spread and delayed as person and moment want it; strengths; lags."""
    tilt = habits.asymmetry + rng.normal(0, EVENT_ASYMMETRY)
    side_lag = rng.normal(0, SIDE_LAG_S)
    spread = float(np.clip(habits.spread + rng.normal(0, 0.12), 0, 1))
    parts, units, lags = [], {}, {}
    for unit, strength in relative.items():
        # Between equal strengths and equal motions: a unit whose full range is large is seldom shown so far.
        strength *= habits.strength.get(unit, 1.0) * np.exp(rng.normal(0, EVENT_STRENGTH)) / unit_size_mm(unit) ** 0.5
        lag = habits.lag_s.get(unit, 0.0) + rng.normal(0, EVENT_LAG_S)
        turned = rng.normal(0, EVENT_TURN)
        both, delays = [], []
        for sign, side in zip((1, -1), SIDES, strict=True):
            amount = strength * (1 + sign * float(np.clip(tilt, -0.5, 0.5)))
            if unit in sided and sided[unit] != side:
                amount *= rng.uniform(0, WEAK_SIDE)
            turn = (habits.turn.get((unit, side), 0.0) + turned) * (GUIDED if unit in EXACT else 1.0)
            delay = float(np.clip(lag + sign * side_lag / 2, -0.05, 0.05))
            parts.append(Part(side_weights(unit, side, amount, spread=spread, turn=turn), delay))
            both.append(float(amount))
            delays.append(delay)
        units[unit], lags[unit] = (both[0], both[1]), (delays[0], delays[1])
    return tuple(parts), units, lags


def draw_micro_px(rng: np.random.Generator) -> float:
    """The largest motion of a micro-expression, px of the 128 crop."""
    return float(np.clip(MICRO_MEDIAN_PX * np.exp(rng.normal(0, MICRO_SPREAD)), *MICRO_RANGE_PX))


def total_coefficients(events: Sequence[Event], times_s: Times) -> Array:
    """(T, B) of all events together, limited to what the head can do."""
    total = np.zeros((len(times_s), len(head_model().field_names)), np.float32)
    for event in events:
        total += event.coefficients(times_s)
    return np.clip(total, -1.2, 1.2)


__all__ = ["ACTION_UNITS", "EMOTIONS", "OTHERS", "THREE_CLASS", "Event", "Habits", "Part", "draw_expression"]
