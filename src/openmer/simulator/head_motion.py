"""How a simulated head moves: it sways, breathes, and in a conversation turns, nods, tilts and comes nearer.

All sizes and rates are our choice. Shape legend: T frames; 6 axes: yaw, pitch, roll in radians; x, y, z in mm.
"""

from dataclasses import dataclass, replace

import numpy as np

from openmer.clip import Array, Times
from openmer.simulator.camera import Pose

SWAY = (0.012, 0.010, 0.006, 0.8, 0.8, 0.6)
BREATH = (0.0, 0.004, 0.0, 0.0, 0.6, 0.5)
DEGREE = float(np.pi / 180)
# What people do while they listen and speak: largest extent on each axis, seconds, and how often it goes back and
# forth; 0 is a move that stays.
GESTURES: dict[str, tuple[tuple[float, ...], tuple[float, float], int]] = {
    "turn": ((9 * DEGREE, 1.5 * DEGREE, 2 * DEGREE, 5, 2, 1), (0.3, 1.2), 0),
    "nod": ((0.5 * DEGREE, 6 * DEGREE, 0.5 * DEGREE, 1, 3, 4), (0.4, 1.2), 2),
    "shake": ((6 * DEGREE, 0.5 * DEGREE, 1 * DEGREE, 3, 1, 1), (0.5, 1.2), 2),
    "tilt": ((2 * DEGREE, 1 * DEGREE, 6 * DEGREE, 6, 2, 2), (0.4, 1.2), 0),
    "nearer": ((1 * DEGREE, 4 * DEGREE, 1 * DEGREE, 3, 60, 8), (0.5, 1.6), 0),
    "shift": ((1 * DEGREE, 1 * DEGREE, 2 * DEGREE, 10, 6, 4), (0.3, 1.0), 0),
    "startle": ((1 * DEGREE, 3 * DEGREE, 1 * DEGREE, 1, 12, 3), (0.15, 0.4), 1),
}


@dataclass(frozen=True)
class Gesture:
    """A move of the head.

    Attributes:
        onset_s: seconds.
        seconds: how long it takes.
        extent: (6,) how far.
        turns: how often it comes back: 0 stays where it goes.
    """

    onset_s: float
    seconds: float
    extent: Array
    turns: int

    def course(self, times_s: Times) -> Times:
        """(T,) 0 to 1, smooth, or that many swings that die out."""
        x = np.clip((times_s - self.onset_s) / self.seconds, 0, 1)
        smooth = x**3 * (10 - 15 * x + 6 * x**2)
        if self.turns == 0:
            return np.asarray(smooth)
        return np.asarray(np.sin(np.pi * self.turns * smooth) * (1 - 0.5 * smooth))


@dataclass(frozen=True)
class HeadMotion:
    """Sway, breath and gestures of a head.

    Attributes:
        rest: the average pose.
        amplitude: (6, K) of sines.
        frequency: (6, K) Hz.
        phase: (6, K) radians.
        gestures: moves on top of them.
    """

    rest: Pose
    amplitude: Array
    frequency: Array
    phase: Array
    gestures: tuple[Gesture, ...] = ()

    def poses(self, times_s: Times) -> list[Pose]:
        """One pose per frame."""
        angle = 2 * np.pi * self.frequency[..., None] * times_s + self.phase[..., None]
        moved = (self.amplitude[..., None] * np.sin(angle)).sum(1)
        for gesture in self.gestures:
            moved = moved + gesture.extent[:, None] * gesture.course(times_s)
        rest = self.rest
        return [
            Pose(
                rest.yaw + float(m[0]),
                rest.pitch + float(m[1]),
                rest.roll + float(m[2]),
                (rest.shift[0] + float(m[3]), rest.shift[1] + float(m[4]), rest.shift[2] + float(m[5])),
            )
            for m in moved.T
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
    sway = np.array(SWAY)[:, None] * rng.exponential(0.5, (6, 3)) * liveliness
    breath = np.array(BREATH)[:, None] * rng.uniform(0.3, 1.5) * min(liveliness, 1.5)
    breathing = np.full((6, 1), rng.uniform(0.18, 0.35))
    return HeadMotion(
        rest,
        np.concatenate([sway, breath], 1).astype(np.float32),
        np.concatenate([rng.uniform(0.1, 0.8, (6, 3)), breathing], 1).astype(np.float32),
        np.concatenate([rng.uniform(0, 2 * np.pi, (6, 3)), np.full((6, 1), rng.uniform(0, 6))], 1).astype(np.float32),
    )


def draw_gesture(rng: np.random.Generator, onset_s: float, size: float = 1.0) -> Gesture:
    """One move, of any kind, up to `size` times as far as listed."""
    extent, seconds, turns = list(GESTURES.values())[rng.integers(len(GESTURES))]
    signs = rng.choice([-1.0, 1.0], 6)
    amounts = np.array(extent) * signs * rng.uniform(0.15, 1.0) * rng.uniform(0.4, 1.0, 6)
    times = turns if turns == 0 else int(rng.integers(1, 2 * turns + 1))
    return Gesture(onset_s, float(rng.uniform(*seconds)), (size * amounts).astype(np.float32), times)


def with_gestures(motion: HeadMotion, gestures: list[Gesture]) -> HeadMotion:
    """The same motion and these."""
    return replace(motion, gestures=(*motion.gestures, *gestures))
