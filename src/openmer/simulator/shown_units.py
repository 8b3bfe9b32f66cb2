"""Which action units expressions show, on which sides and for how long: counts of real micro-expressions, as data.

Counted in annotation workbooks that public repositories redistribute (CASME II, coding of 2014-05-08; SAMM, Micro FACS
codes v2; CAS(ME)^3 part A, second release; DFME, training labels with units); aggregates only, no recording. Classes
as in MEGC 2019. A combination's count is that of exactly these units; what remains of a class is filled so that every
unit's share holds. SMIC has no units: it borrows those of CASME II and SAMM. `others`, of which no table exists,
borrows from the three classes (our choice), and so do the emotions within a class, whose sum is always the class's
table: which of its combinations an emotion shows follows EMFACS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np

from openmer.clip import Times
from openmer.errors import InputError

Like = Literal["casme2", "samm", "smic", "casme3", "dfme", "mixture"]
Units = tuple[int, ...]

NEGATIVE = ("disgust", "anger", "fear", "sadness", "contempt", "repression")
EMOTIONS = ("happiness", "surprise", *NEGATIVE)
OTHERS = "others"
# Class of each emotion. As a class, `others` stands for itself.
THREE_CLASS: dict[str, str] = {
    "happiness": "positive",
    "surprise": "surprise",
    **dict.fromkeys(NEGATIVE, "negative"),
    OTHERS: OTHERS,
}


@dataclass(frozen=True)
class UnitTable:
    """What the clips of one class of a dataset show.

    Attributes:
        clips: how many were counted.
        one_sided: share of clips with a unit coded on one side.
        units_a_clip: mean number of units.
        shares: unit -> share of the clips that contain it; the others are rarer.
        combinations: exact sets of units -> clips.
    """

    clips: int
    one_sided: float
    units_a_clip: float
    shares: Mapping[int, float]
    combinations: Mapping[Units, int]


@dataclass(frozen=True)
class Timing:
    """Percentiles 5, 25, 50, 75, 95 in seconds.

    Attributes:
        rise: onset to apex.
        fall: apex to offset.
        whole: onset to offset.
        long: share of clips that last longer than half a second.
    """

    rise: tuple[float, ...]
    fall: tuple[float, ...]
    whole: tuple[float, ...]
    long: float


TABLES: dict[str, dict[str, UnitTable]] = {
    "casme2": {
        "negative": UnitTable(
            99,
            0.16,
            1.8,
            {4: 0.62, 7: 0.30, 17: 0.20, 10: 0.17, 9: 0.13, 15: 0.12, 1: 0.07, 14: 0.05},
            {
                (4, 7): 20, (17,): 13, (4,): 12, (4, 10): 9, (1,): 6, (15,): 4, (4, 9): 4, (15, 17): 4, (4, 7, 9): 3,
                (14,): 2, (10,): 2,
            },
        ),
        "positive": UnitTable(
            32, 0.41, 1.5, {12: 0.84, 6: 0.25, 14: 0.16, 15: 0.09}, {(12,): 15, (6, 12): 6, (14,): 3}
        ),
        "surprise": UnitTable(
            25, 0.56, 1.8, {2: 0.80, 1: 0.72, 25: 0.08, 26: 0.04}, {(1, 2): 13, (1,): 4, (2,): 3}
        ),
    },
    "samm": {
        "negative": UnitTable(
            92,
            0.20,
            1.3,
            {7: 0.42, 4: 0.24, 14: 0.12, 17: 0.08, 20: 0.08, 43: 0.07, 12: 0.04, 10: 0.04},
            {(7,): 29, (4,): 13, (14,): 5, (4, 7): 4, (20,): 4, (10,): 3, (17,): 3},
        ),
        "positive": UnitTable(26, 0.38, 1.2, {12: 0.81, 15: 0.08, 7: 0.08, 6: 0.04}, {(12,): 12, (12, 15): 2}),
        "surprise": UnitTable(15, 0.07, 1.3, {5: 0.60, 1: 0.20, 2: 0.20, 26: 0.13}, {(5,): 8, (1, 2): 2}),
    },
    "casme3": {
        "negative": UnitTable(
            457,
            0.07,
            1.2,
            {4: 0.53, 14: 0.22, 9: 0.10, 1: 0.08, 24: 0.07, 7: 0.04},
            {(4,): 202, (14,): 81, (1,): 22, (24,): 17, (4, 9): 16, (7,): 14, (9,): 12, (1, 2): 11},
        ),
        "positive": UnitTable(
            55, 0.11, 1.0, {14: 0.40, 24: 0.18, 12: 0.09, 4: 0.09}, {(14,): 21, (24,): 10, (12,): 4}
        ),
        "surprise": UnitTable(
            187,
            0.17,
            1.5,
            {1: 0.53, 2: 0.51, 5: 0.20, 4: 0.09},
            {(1, 2): 84, (5,): 35, (4,): 15, (1,): 13, (2,): 8},
        ),
    },
    "dfme": {
        "negative": UnitTable(
            1352,
            0.16,
            1.6,
            {4: 0.58, 7: 0.29, 24: 0.10, 10: 0.08, 5: 0.08, 14: 0.07, 12: 0.07, 17: 0.06, 1: 0.05},
            {
                (4,): 346, (4, 7): 235, (7,): 68, (24,): 65, (12,): 60, (14,): 39, (17,): 37, (4, 5): 28, (10,): 25,
                (4, 7, 10): 25,
            },
        ),
        "positive": UnitTable(
            206, 0.17, 1.7, {12: 0.80, 6: 0.50, 24: 0.09, 10: 0.07}, {(6, 12): 86, (12,): 52, (24,): 7}
        ),
        "surprise": UnitTable(
            298,
            0.22,
            2.4,
            {2: 0.76, 1: 0.73, 5: 0.63, 4: 0.08, 7: 0.06, 25: 0.02},
            {(1, 2, 5): 149, (1, 2): 46, (5,): 20, (2,): 11},
        ),
    },
}  # fmt: skip
TIMINGS: dict[str, Timing] = {
    "casme2": Timing(
        (0.08, 0.12, 0.15, 0.21, 0.33), (0.05, 0.11, 0.15, 0.21, 0.33), (0.18, 0.25, 0.30, 0.43, 0.50), 0.04
    ),
    "samm": Timing((0.07, 0.12, 0.16, 0.20, 0.30), (0.05, 0.14, 0.20, 0.26, 0.33), (0.19, 0.29, 0.39, 0.44, 0.50), 0.0),
    "dfme": Timing(
        (0.09, 0.15, 0.20, 0.24, 0.31), (0.06, 0.13, 0.18, 0.23, 0.30), (0.20, 0.31, 0.39, 0.46, 0.50), 0.02
    ),
    "casme3": Timing((0.0, 0.13, 0.20, 0.23, 0.27), (0.13, 0.27, 0.50, 0.90, 2.3), (0.27, 0.47, 0.70, 1.1, 2.3), 0.66),
}
# What a setting draws from, and how often. CAS(ME)^3's fades and overlapping classes are part of life, not most of it.
DRAWN_FROM: dict[Like, dict[str, float]] = {
    "casme2": {"casme2": 1.0},
    "samm": {"samm": 1.0},
    "smic": {"casme2": 0.5, "samm": 0.5},
    "casme3": {"casme3": 1.0},
    "dfme": {"dfme": 1.0},
    "mixture": {"casme2": 0.3, "samm": 0.3, "dfme": 0.3, "casme3": 0.1},
}
# Recordings of each emotion. DFME's and SMIC's negatives are known only in sum and are divided evenly.
EMOTION_COUNTS: dict[Like, dict[str, int]] = {
    "casme2": {"disgust": 63, "repression": 27, "sadness": 7, "fear": 2, "happiness": 32, "surprise": 25, OTHERS: 99},
    "samm": {
        "anger": 57, "contempt": 12, "disgust": 9, "fear": 8, "sadness": 6, "happiness": 26, "surprise": 15, OTHERS: 26,
    },
    "smic": {"disgust": 24, "fear": 23, "sadness": 23, "happiness": 51, "surprise": 43},
    "casme3": {
        "disgust": 250, "fear": 86, "anger": 64, "sadness": 57, "happiness": 55, "surprise": 187, OTHERS: 161,
    },
    "dfme": {
        "anger": 270, "contempt": 270, "disgust": 271, "fear": 271, "sadness": 270, "happiness": 206, "surprise": 298,
    },
    # CASME II, SAMM and SMIC together, as in MEGC 2019 but with all of CASME II.
    "mixture": {
        "anger": 57, "contempt": 12, "disgust": 96, "fear": 33, "sadness": 36, "repression": 27, "happiness": 109,
        "surprise": 83, OTHERS: 125,
    },
}  # fmt: skip
PEOPLE: dict[Like, int] = {"casme2": 26, "samm": 32, "smic": 16, "casme3": 100, "dfme": 656, "mixture": 74}

# EMFACS (Friesen, Ekman 1983), and for repression the CASME II paper: what an emotion shows first, and what besides.
TYPICAL: dict[str, tuple[Units, Units]] = {
    "disgust": ((9, 10), (4, 7, 15, 17)),
    "anger": ((4, 5, 7, 23, 24), (10, 17)),
    "fear": ((1, 2, 5, 20), (4, 7, 25, 26)),
    "sadness": ((1, 15), (4, 17)),
    "contempt": ((14,), (12, 10)),
    "repression": ((15, 24), (12, 14, 17)),
}
FIRST, BESIDE, ELSE = 6.0, 2.0, 0.3
RARE: Units = (2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25)  # what a table's rest may show besides
MAX_UNITS, ROUNDS = 4, 60
OTHERS_FROM = {"negative": 0.7, "positive": 0.1, "surprise": 0.2}
CONTEMPT_ONE_SIDED = 0.5


@dataclass(frozen=True)
class Draws:
    """Sets of units and how probable each is; the probabilities sum to 1."""

    sets: tuple[Units, ...]
    probability: Times


@cache
def class_draws(dataset: str, label: str) -> Draws:
    """The combinations of a class, then every small set of its rest, fitted to the shares of the units."""
    if label == OTHERS:
        parts = [(share, class_draws(dataset, name)) for name, share in OTHERS_FROM.items()]
        sets = tuple(s for _, part in parts for s in part.sets)
        return Draws(sets, np.concatenate([share * part.probability for share, part in parts]))
    table = TABLES[dataset][label]
    listed = table.combinations
    rest = _rest(table)
    pool = tuple(sorted(rest))
    others = [s for size in range(1, MAX_UNITS + 1) for s in combinations(pool, size) if s not in listed]
    showing = [np.array([k for k, s in enumerate(others) if unit in s]) for unit in pool]
    weight = np.array([0.3 ** len(s) for s in others])
    remaining = table.clips - sum(listed.values())
    for _ in range(ROUNDS):  # iterative proportional fitting (Deming, Stephan 1940)
        for unit, which in zip(pool, showing, strict=True):
            weight[which] *= rest[unit] / max(weight[which].sum(), 1e-12)
        weight *= remaining / weight.sum()
    counts = np.concatenate([[float(n) for n in listed.values()], weight])
    return Draws((*listed, *others), counts / counts.sum())


def _rest(table: UnitTable) -> dict[int, float]:
    """Unit -> how many clips besides the listed combinations show it; rare units share what the mean number leaves."""
    rest = {
        unit: table.clips * share - sum(n for s, n in table.combinations.items() if unit in s)
        for unit, share in table.shares.items()
    }
    listed = sum(n * len(s) for s, n in table.combinations.items())
    spare = table.clips * table.units_a_clip - listed - sum(max(n, 0.0) for n in rest.values())
    rare = [unit for unit in RARE if unit not in rest]
    rest |= dict.fromkeys(rare, max(spare, 0.0) / len(rare))
    return {unit: count for unit, count in rest.items() if count > 1e-9}


def emotion_shares(like: Like) -> dict[str, float]:
    """Share of each emotion among a dataset's recordings."""
    counts = EMOTION_COUNTS[like]
    return {emotion: count / sum(counts.values()) for emotion, count in counts.items()}


@cache
def emotion_draws(dataset: str, emotion: str) -> Draws:
    """The combinations of one emotion: those of its class that suit it, so that all emotions together give the class.

    Raises:
        InputError: the emotion is not simulated.
    """
    if emotion not in THREE_CLASS:
        raise InputError(f"emotion {emotion!r} is not simulated; there are {', '.join(THREE_CLASS)}")
    label = THREE_CLASS[emotion]
    draws = class_draws(dataset, label)
    if label != "negative":
        return draws
    joint = _suited(dataset) * draws.probability
    for _ in range(ROUNDS):  # Sinkhorn: every emotion equally often, every combination as often as in the class
        joint /= len(NEGATIVE) * joint.sum(1, keepdims=True)
        joint *= draws.probability / joint.sum(0)
    row = joint[NEGATIVE.index(emotion)]
    return Draws(draws.sets, row / row.sum())


@cache
def _suited(dataset: str) -> Times:
    """(6, S): how well each set of the negatives suits each emotion, the geometric mean over its units."""
    units = range(100)  # FACS numbers
    fit = np.log([[_fit(emotion, unit) for unit in units] for emotion in NEGATIVE])
    sets = class_draws(dataset, "negative").sets
    return np.asarray(np.exp(np.stack([fit[:, list(s)].mean(1) for s in sets], 1)))


def _fit(emotion: str, unit: int) -> float:
    first, beside = TYPICAL[emotion]
    return FIRST if unit in first else BESIDE if unit in beside else ELSE


def one_sided_share(dataset: str, emotion: str) -> float:
    """How often an expression is one-sided; contempt more often, so the other negatives less."""
    label = THREE_CLASS[emotion]
    share = TABLES[dataset]["negative" if label == OTHERS else label].one_sided
    if label != "negative":
        return share
    others = len(NEGATIVE) - 1
    contempt = min(CONTEMPT_ONE_SIDED, share * (others + 1))
    return contempt if emotion == "contempt" else (share * (others + 1) - contempt) / others


def draw_units(rng: np.random.Generator, dataset: str, emotion: str) -> Units:
    """A combination of action units."""
    draws = emotion_draws(dataset, emotion)
    return draws.sets[int(rng.choice(len(draws.sets), p=draws.probability))]


def draw_dataset(rng: np.random.Generator, like: Like) -> str:
    """The table that one expression follows."""
    names = DRAWN_FROM[like]
    return str(rng.choice(list(names), p=list(names.values())))


MIN_RISE_S, MIN_FALL_S = 0.04, 0.03  # a rise of no frame was shorter than the camera could see


def draw_timing(rng: np.random.Generator, dataset: str) -> tuple[float, float]:
    """Seconds from onset to apex, and from apex to offset.

    Most tables end at half a second, where their datasets' definition does; what is drawn longer is drawn again, but
    for the share that the table has.
    """
    timing = TIMINGS[dataset]
    long = rng.random() < timing.long
    while True:
        rise = max(_quantile(timing.rise, rng.random()), MIN_RISE_S)
        fall = max(_quantile(timing.fall, rng.random()), MIN_FALL_S)
        if (rise + fall > 0.5) == long:
            return rise, fall


def _quantile(percentiles: tuple[float, ...], share: float) -> float:
    """Linear between the percentiles; beyond the outer ones as far again as to their neighbors' half distance."""
    low = max(percentiles[0] - 0.25 * (percentiles[1] - percentiles[0]), 0.0)
    high = percentiles[-1] + 0.25 * (percentiles[-1] - percentiles[-2])
    return float(np.interp(share, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (low, *percentiles, high)))
