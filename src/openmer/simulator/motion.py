"""What a simulated face does: action units, expressions, and movements that are not expressions.

Facial action units are those of FACS (Ekman, Friesen, Hager 2002); which facial actions of the head model represent a
unit, and how far each moves the skin, was worked out on this head. Which units an emotion shows follows EMFACS and the
objective classes of the CASME II and SAMM papers; strength, asymmetry and timing are our choice within the ranges in
the literature (a micro-expression lasts at most half a second: Yan et al. 2013), not fitted to any dataset.

Shape legend: T frames, A facial actions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from openmer.clip import Array, Times
from openmer.errors import InputError
from openmer.simulator.camera import Pose
from openmer.simulator.head import head_model

# Actions of a unit and their weights. A stem with `Left` and `Right` forms is one-sided if the unit is.
ACTION_UNITS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.0},
    2: {"browOuterUp": 1.0},
    4: {"browDown": 1.0},
    5: {"eyeWide": 1.0},
    6: {"cheekSquint": 1.0, "eyeSquint": 0.35},
    7: {"eyeSquint": 1.0},
    9: {"noseSneer": 1.0},
    10: {"mouthUpperUp": 1.0},
    12: {"mouthSmile": 1.0},
    14: {"mouthDimple": 1.0},
    15: {"mouthFrown": 1.0},
    16: {"mouthLowerDown": 1.0},
    17: {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.35},
    18: {"mouthPucker": 1.0},
    20: {"mouthStretch": 1.0},
    23: {"mouthPress": 0.6, "mouthRollUpper": 0.25, "mouthRollLower": 0.2},
    24: {"mouthPress": 1.0, "mouthShrugUpper": 0.3},
    25: {"mouthLowerDown": 0.5, "mouthUpperUp": 0.2},
    26: {"jawOpen": 1.0},
    28: {"mouthRollUpper": 1.0, "mouthRollLower": 1.0},
    45: {"eyeBlink": 1.0},
}

# Alternatives for the units always shown, and units sometimes added. `contempt` is one-sided.
Prototype = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]
EMOTIONS: dict[str, Prototype] = {
    "happiness": (((12,), (6, 12)), (25,)),
    "surprise": (((1, 2), (2,), (1, 2, 5)), (25, 26)),
    "disgust": (((9,), (10,), (4, 9), (4, 10)), (17,)),
    "anger": (((4,), (4, 7), (4, 5, 7)), (23, 24)),
    "fear": (((1, 2, 4, 5), (1, 4), (20,)), (25,)),
    "sadness": (((1, 4), (15,), (1, 4, 15)), (17,)),
    "contempt": (((14,), (12,)), ()),
    "repression": (((12, 15), (12, 17), (24,), (15, 17)), ()),
}
THREE_CLASS = {
    "happiness": "positive",
    "surprise": "surprise",
    **dict.fromkeys(("disgust", "anger", "fear", "sadness", "contempt", "repression"), "negative"),
}

MICRO_MEDIAN_PX, MICRO_SPREAD, MICRO_RANGE_PX = 0.9, 0.55, (0.2, 3.0)
ASYMMETRY, LAG_S = 0.15, 0.012


def action_weights(unit: int, right: float, left: float) -> Array:
    """(A,) coefficients of a unit shown with these strengths on the subject's right and left.

    Raises:
        InputError: the unit is not simulated.
    """
    if unit not in ACTION_UNITS:
        raise InputError(f"action unit {unit} is not simulated; there are {', '.join(map(str, ACTION_UNITS))}")
    names = head_model().action_names
    weights = np.zeros(len(names), np.float32)
    for stem, weight in ACTION_UNITS[unit].items():
        if stem in names:
            weights[names.index(stem)] = weight * (right + left) / 2
        else:
            weights[names.index(stem + "Right")] = weight * right
            weights[names.index(stem + "Left")] = weight * left
    return weights


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that begins, reaches its apex, and ends.

    Attributes:
        kind: `micro`, `macro`, `blink`, `gaze`, `speech`.
        onset_s: seconds.
        apex_s: when it reaches full strength.
        hold_s: how long it stays there.
        offset_s: when it is over.
        right: (A,) coefficients at the apex, for the subject's right side and the middle.
        left: (A,) of the left side, `lag_s` later.
        lag_s: seconds; may be negative.
        emotion: its name, or empty.
        units: unit -> (right, left) strength at the apex.
        peak_px: largest motion at the apex, px of the 128 crop, or None if not set.
    """

    kind: str
    onset_s: float
    apex_s: float
    hold_s: float
    offset_s: float
    right: Array
    left: Array
    lag_s: float = 0.0
    emotion: str = ""
    units: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    peak_px: float | None = None

    def curve(self, times_s: Times) -> Array:
        """(T,) between 0 and 1: rises and falls with minimum jerk (Flash, Hogan 1985)."""
        rise = (times_s - self.onset_s) / (self.apex_s - self.onset_s)
        fall = (times_s - self.apex_s - self.hold_s) / (self.offset_s - self.apex_s - self.hold_s)
        return np.asarray(_smooth(rise) - _smooth(fall), np.float32)

    def coefficients(self, times_s: Times) -> Array:
        """(T, A)."""
        later = times_s - self.lag_s
        return np.outer(self.curve(times_s), self.right) + np.outer(self.curve(later), self.left)


def _smooth(x: Times) -> Times:
    x = np.clip(x, 0, 1)
    return np.asarray(x**3 * (10 - 15 * x + 6 * x**2))


def draw_expression(
    rng: np.random.Generator,
    emotion: str,
    onset_s: float,
    *,
    kind: Literal["micro", "macro"] = "micro",
) -> Event:
    """An expression whose units have relative strengths, the largest about 1; `scaled` gives it its size.

    Raises:
        InputError: the emotion is not simulated.
    """
    if emotion not in EMOTIONS:
        raise InputError(f"emotion {emotion!r} is not simulated; there are {', '.join(EMOTIONS)}")
    always, sometimes = EMOTIONS[emotion]
    chosen = list(always[rng.integers(len(always))])
    chosen += [unit for unit in sometimes if rng.random() < 0.25]
    one_sided = emotion == "contempt"
    side = rng.integers(2)
    units: dict[int, tuple[float, float]] = {}
    for k, unit in enumerate(chosen):
        strength = 1.0 if k == 0 else rng.uniform(0.5, 1.0)
        tilt = np.clip(rng.normal(0, ASYMMETRY), -0.5, 0.5)
        right, left = strength * (1 + tilt), strength * (1 - tilt)
        if one_sided:
            right, left = (right, 0.1 * left) if side else (0.1 * right, left)
        units[unit] = (float(right), float(left))
    if kind == "micro":
        rise, hold, fall = rng.uniform(0.06, 0.22), rng.uniform(0, 0.08), rng.uniform(0.08, 0.24)
        shrink = min(1.0, 0.5 / (rise + hold + fall))
        rise, hold, fall = rise * shrink, hold * shrink, fall * shrink
    else:
        rise, hold, fall = rng.uniform(0.2, 0.6), rng.uniform(0.2, 2.2), rng.uniform(0.3, 1.2)
    apex = onset_s + rise
    return Event(
        kind=kind,
        onset_s=onset_s,
        apex_s=apex,
        hold_s=hold,
        offset_s=apex + hold + fall,
        right=sum((action_weights(u, r, 0.0) for u, (r, _) in units.items()), _none()),
        left=sum((action_weights(u, 0.0, le) for u, (_, le) in units.items()), _none()),
        lag_s=float(rng.normal(0, LAG_S)),
        emotion=emotion,
        units=units,
    )


def draw_micro_px(rng: np.random.Generator) -> float:
    """The largest motion of a micro-expression, px of the 128 crop."""
    return float(np.clip(MICRO_MEDIAN_PX * np.exp(rng.normal(0, MICRO_SPREAD)), *MICRO_RANGE_PX))


def _none() -> Array:
    return np.zeros(len(head_model().action_names), np.float32)


def draw_blink(rng: np.random.Generator, onset_s: float) -> Event:
    """Both lids, 0.15 to 0.4 s, closing faster than they open (Stern et al. 1984)."""
    total = rng.uniform(0.15, 0.4)
    both = action_weights(45, 1.0, 1.0) * rng.uniform(0.85, 1.0)
    return Event(
        kind="blink",
        onset_s=onset_s,
        apex_s=onset_s + 0.35 * total,
        hold_s=0.05 * total,
        offset_s=onset_s + total,
        right=both.astype(np.float32),
        left=_none(),
    )


def draw_gaze(rng: np.random.Generator, onset_s: float) -> Event:
    """A saccade and, after a while, one back: both eyes to one side, or up or down (sizes are our choice)."""
    sideways = rng.random() < 0.7
    strength = rng.uniform(0.15, 0.5)
    weights = _none()
    names = head_model().action_names
    pairs = (
        (("eyeLookInLeft", "eyeLookOutRight"), ("eyeLookOutLeft", "eyeLookInRight"))
        if sideways
        else (("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight"))
    )
    for name in pairs[rng.integers(2)]:
        weights[names.index(name)] = strength
    hold = rng.uniform(0.2, 1.0)
    return Event(
        kind="gaze",
        onset_s=onset_s,
        apex_s=onset_s + 0.05,
        hold_s=hold,
        offset_s=onset_s + 0.1 + hold,
        right=weights,
        left=_none(),
    )


def draw_speech(rng: np.random.Generator, onset_s: float, seconds: float) -> list[Event]:
    """Syllables: the jaw and lips open and close four to six times a second."""
    names = head_model().action_names
    events, at = [], onset_s
    while at < onset_s + seconds:
        length = rng.uniform(0.15, 0.28)
        weights = _none()
        weights[names.index("jawOpen")] = rng.uniform(0.05, 0.25)
        weights[names.index(rng.choice(["mouthFunnel", "mouthPucker", "mouthClose", "mouthShrugUpper"]))] = rng.uniform(
            0.0, 0.3
        )
        events.append(
            Event(
                kind="speech",
                onset_s=at,
                apex_s=at + 0.45 * length,
                hold_s=0.0,
                offset_s=at + length,
                right=weights,
                left=_none(),
            )
        )
        at += length
    return events


@dataclass(frozen=True)
class HeadMotion:
    """Slow sway of the head: sums of sines, one row per axis.

    Attributes:
        rest: the average pose.
        amplitude: (6, K): yaw, pitch, roll in radians; x, y, z in mm.
        frequency: (6, K) Hz.
        phase: (6, K) radians.
    """

    rest: Pose
    amplitude: Array
    frequency: Array
    phase: Array

    def poses(self, times_s: Times) -> list[Pose]:
        """One pose per frame."""
        angle = 2 * np.pi * self.frequency[..., None] * times_s + self.phase[..., None]
        sway = (self.amplitude[..., None] * np.sin(angle)).sum(1)
        return [
            Pose(
                self.rest.yaw + float(s[0]),
                self.rest.pitch + float(s[1]),
                self.rest.roll + float(s[2]),
                (self.rest.shift[0] + float(s[3]), self.rest.shift[1] + float(s[4]), self.rest.shift[2] + float(s[5])),
            )
            for s in sway.T
        ]


def draw_head_motion(rng: np.random.Generator, liveliness: float = 1.0, turn: float = 1.0) -> HeadMotion:
    """A pose within some 10 degrees of frontal, swaying by about a degree and a millimetre at 0.1 to 0.8 Hz.

    Args:
        rng: source of randomness.
        liveliness: factor on the sway.
        turn: factor on how far the head is turned at rest.
    """
    rest = Pose(
        turn * float(np.clip(rng.normal(0, 0.08), -0.18, 0.18)),
        turn * float(np.clip(rng.normal(0, 0.06), -0.16, 0.16)),
        turn * float(np.clip(rng.normal(0, 0.04), -0.1, 0.1)),
        (float(rng.normal(0, 6)), float(rng.normal(0, 15)), float(rng.normal(0, 6))),
    )
    size = np.array([0.012, 0.010, 0.006, 0.8, 0.8, 0.6])[:, None] * rng.exponential(0.5, (6, 3)) * liveliness
    return HeadMotion(
        rest,
        size.astype(np.float32),
        rng.uniform(0.1, 0.8, (6, 3)).astype(np.float32),
        rng.uniform(0, 2 * np.pi, (6, 3)).astype(np.float32),
    )


def total_coefficients(events: Sequence[Event], times_s: Times) -> Array:
    """(T, A) of all events together, limited to what the head can do."""
    total = np.zeros((len(times_s), len(head_model().action_names)), np.float32)
    for event in events:
        total += event.coefficients(times_s)
    return np.clip(total, 0, 1.2)
