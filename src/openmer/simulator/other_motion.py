"""Movements of the face that are no expressions: blinks, glances, speech, swallowing, lips, squints, breath.

Sizes and rates are our choice but where a source stands.
"""

from collections.abc import Callable

import numpy as np

from openmer.clip import Array
from openmer.simulator.facial_motion import Event, Part, named_weights


def draw_blink(rng: np.random.Generator, onset_s: float) -> Event:
    """Both lids, closing faster than they open (Stern et al. 1984): mostly 0.1 to 0.4 s, some longer, some half.

    The lower lids and the skin around the eyes move a little with them.
    """
    total = float(np.clip(np.exp(rng.normal(np.log(0.22), 0.4)), 0.09, 0.9))
    depth = rng.uniform(0.25, 0.7) if rng.random() < 0.2 else rng.uniform(0.85, 1.0)
    weights = named_weights(AU45=depth, AU6=rng.uniform(0, 0.12) * depth, AU4=rng.uniform(0, 0.05) * depth)
    return Event(
        kind="blink",
        onset_s=onset_s,
        apex_s=onset_s + rng.uniform(0.28, 0.42) * total,
        hold_s=rng.uniform(0.02, 0.2) * total,
        offset_s=onset_s + total,
        parts=(Part(weights),),
    )


def draw_gaze(rng: np.random.Generator, onset_s: float) -> Event:
    """A saccade and, after a while, one back: both eyes to one side, or up or down; brows and lids may follow up."""
    strength = rng.uniform(0.1, 0.6)
    pairs = (
        ("eyeLookInLeft", "eyeLookOutRight"),
        ("eyeLookOutLeft", "eyeLookInRight"),
        ("eyeLookUpLeft", "eyeLookUpRight"),
        ("eyeLookDownLeft", "eyeLookDownRight"),
    )
    which = int(rng.choice(4, p=(0.35, 0.35, 0.12, 0.18)))
    weights = named_weights(**dict.fromkeys(pairs[which], strength))
    if which == 2:
        weights += named_weights(AU5=0.4 * strength, AU2=rng.uniform(0, 0.15) * strength)
    if which == 3:
        weights += named_weights(AU45=0.35 * strength)
    hold = rng.uniform(0.1, 1.0)
    return Event(
        kind="gaze",
        onset_s=onset_s,
        apex_s=onset_s + 0.05,
        hold_s=hold,
        offset_s=onset_s + 0.1 + hold,
        parts=(Part(weights),),
    )


# Mouth shapes of speech, each for full articulation.
VOWELS: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.32, "AU25": 0.5},
    {"jawOpen": 0.16, "AU20": 0.25, "AU25": 0.6},
    {"jawOpen": 0.08, "AU20": 0.35, "AU25": 0.4, "AU12": 0.05},
    {"jawOpen": 0.15, "mouthFunnel": 0.35},
    {"jawOpen": 0.07, "mouthPucker": 0.45, "AU18": 0.3},
)
CONSONANTS: tuple[dict[str, float], ...] = (
    {"AU24": 0.5, "mouthRollLower": 0.12},
    {"mouthRollLower": 0.3, "AU10": 0.15},
    {"jawOpen": 0.05, "AU25": 0.3},
    {"AU17": 0.25, "AU23": 0.3},
    {"mouthFunnel": 0.2, "AU18": 0.15},
)


def draw_speech(rng: np.random.Generator, onset_s: float, seconds: float) -> list[Event]:
    """Syllables, four to six a second, whose shapes overlap (coarticulation): each begins while the last still fades.

    A stressed syllable may come with raised brows or a narrowed eye.
    """
    events, at = [], onset_s
    loudness = rng.uniform(0.3, 1.0)
    while at < onset_s + seconds:
        length = rng.uniform(0.15, 0.28)
        vowel, consonant = VOWELS[rng.integers(len(VOWELS))], CONSONANTS[rng.integers(len(CONSONANTS))]
        stress = loudness * rng.uniform(0.4, 1.1)
        events.append(_mouth(rng, consonant, stress, at - 0.03, 0.5 * length))
        events.append(_mouth(rng, vowel, stress, at + 0.15 * length, 1.25 * length))
        if rng.random() < 0.12:
            brows = named_weights(AU1=0.3 * stress, AU2=0.3 * stress) if rng.random() < 0.7 else named_weights(AU4=0.2)
            events.append(_event("speech", at, rng.uniform(0.15, 0.3), 0.1, rng.uniform(0.2, 0.5), brows))
        at += length
    return sorted(events, key=lambda e: e.onset_s)


def _mouth(rng: np.random.Generator, shape: dict[str, float], stress: float, at: float, length: float) -> Event:
    weights = named_weights(**{name: stress * w * rng.uniform(0.7, 1.3) for name, w in shape.items()})
    rise = rng.uniform(0.4, 0.55) * length
    return _event("speech", at, rise, 0.0, length - rise, weights)


def _event(kind: str, onset_s: float, rise: float, hold: float, fall: float, weights: Array) -> Event:
    apex = onset_s + rise
    return Event(
        kind=kind, onset_s=onset_s, apex_s=apex, hold_s=hold, offset_s=apex + hold + fall, parts=(Part(weights),)
    )


def draw_swallow(rng: np.random.Generator, onset_s: float) -> Event:
    """The chin tightens and the lips close more firmly for about half a second."""
    weights = named_weights(
        AU17=rng.uniform(0.2, 0.8),
        AU24=rng.uniform(0.3, 1.0),
        AU14=rng.uniform(0, 0.3),
        AU15=rng.uniform(0, 0.15),
        jawForward=rng.uniform(0, 0.1),
    )
    return _event("swallow", onset_s, rng.uniform(0.15, 0.3), rng.uniform(0, 0.15), rng.uniform(0.2, 0.4), weights)


def draw_lips(rng: np.random.Generator, onset_s: float) -> Event:
    """Lips pressed, sucked in or licked, or moved to one side, for up to a second."""
    side = "mouthLeft" if rng.random() < 0.5 else "mouthRight"
    shapes: tuple[dict[str, float], ...] = (
        {"AU24": 1.0, "AU17": 0.3},
        {"AU28": 0.3},
        {"AU25": 0.6, "jawOpen": 0.08, "mouthRollLower": 0.15},
        {side: 0.15},
        {"AU18": 0.5},
    )
    shape = shapes[rng.integers(len(shapes))]
    weights = named_weights(**{name: w * rng.uniform(0.3, 1.2) for name, w in shape.items()})
    return _event("lips", onset_s, rng.uniform(0.12, 0.35), rng.uniform(0.05, 0.8), rng.uniform(0.15, 0.5), weights)


def draw_squint(rng: np.random.Generator, onset_s: float) -> Event:
    """Eyes narrowed against the light: lids, cheeks and brows together, and the upper lip sometimes."""
    size = rng.uniform(0.1, 0.8)
    weights = named_weights(
        AU7=size, AU6=size * rng.uniform(0.2, 0.8), AU4=size * rng.uniform(0, 0.4), AU10=size * rng.uniform(0, 0.2)
    )
    return _event("squint", onset_s, rng.uniform(0.2, 0.6), rng.uniform(0.1, 1.5), rng.uniform(0.2, 0.7), weights)


def draw_breath(rng: np.random.Generator, onset_s: float) -> Event:
    """The nostrils widen with a breath in, hardly visibly."""
    weights = named_weights(AU9=rng.uniform(0.02, 0.1), noseSneerLeft=0.04, noseSneerRight=0.04)
    return _event("breath", onset_s, rng.uniform(0.6, 1.2), rng.uniform(0, 0.3), rng.uniform(0.8, 1.6), weights)


# How often each occurs: in a short recording without an expression, and beside one; and seconds between two of them.
Draw = Callable[[np.random.Generator, float], Event]
OTHERS: dict[str, tuple[Draw, float, float, float]] = {
    "blink": (draw_blink, 0.45, 0.15, 4.0),  # some 15 blinks a minute (Bentivoglio et al. 1997)
    "gaze": (draw_gaze, 0.4, 0.15, 8.0),
    "swallow": (draw_swallow, 0.12, 0.02, 60.0),
    "lips": (draw_lips, 0.15, 0.02, 25.0),
    "squint": (draw_squint, 0.12, 0.03, 40.0),
    "breath": (draw_breath, 0.3, 0.2, 4.0),
}
SPEAKS, SPEAKS_BESIDE = 0.3, 0.03


def draw_others(rng: np.random.Generator, seconds: float, *, alone: bool) -> list[Event]:
    """What else happens in a short recording; more if nothing is expressed."""
    events: list[Event] = []
    for draw, often, beside, _ in OTHERS.values():
        if rng.random() < (often if alone else beside):
            events.append(draw(rng, float(rng.uniform(-0.1, seconds))))
    if rng.random() < (SPEAKS if alone else SPEAKS_BESIDE):
        events += draw_speech(rng, float(rng.uniform(-0.2, seconds / 2)), float(rng.uniform(0.3, 1.0)) * seconds)
    return events
