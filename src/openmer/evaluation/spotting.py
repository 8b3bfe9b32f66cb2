"""Spotted intervals against annotated ones, by the rule of the Micro-Expression Grand Challenge (MEGC).

A spotted interval is correct if its intersection over union with an annotated one is at least 0.5 (MEGC 2019: See, Yap,
Li, Hong, Wang, IEEE FG); each spotted interval can match one annotated one, and each annotated one counts once. Counts
are pooled over videos before any ratio is taken. Lengths are of time, from onset to offset; MEGC's programs count
frames, the last one included, so that short intervals overlap a little more there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from openmer.errors import InputError
from openmer.evaluation.settings import MEGC_IOU
from openmer.timeline import Interval

ROUNDING = 1e-9  # of an IoU: an intersection of exactly one half is one


def match_intervals(
    spotted: Sequence[Interval], truth: Sequence[Interval], *, min_iou: float = MEGC_IOU
) -> tuple[tuple[int, int], ...]:
    """Pairs (index in `found`, index in `truth`), one to one, as many as possible.

    Among assignments with that many pairs, one with the largest sum of IoU is taken.

    Raises:
        InputError: `min_iou` is not above 0 and at most 1.
    """
    if not 0 < min_iou <= 1:
        raise InputError(f"the IoU of a hit must be above 0 and at most 1, got {min_iou}")
    if not spotted or not truth:
        return ()
    iou = np.array([[a.iou(b) for b in truth] for a in spotted])
    # A pair that counts is worth more than any sum of IoU gained without it.
    hit = iou >= min_iou - ROUNDING
    worth = np.where(hit, iou + min(iou.shape), 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return tuple((int(a), int(b)) for a, b in zip(rows, columns, strict=True) if hit[a, b])


@dataclass(frozen=True, kw_only=True)
class SpottingScore:
    """Pooled counts of one or many videos.

    Attributes:
        hits: annotated intervals that were found.
        misses: annotated intervals that were not.
        false_alarms: spotted intervals that match no annotated one.
        seconds: length of what was analysed.
    """

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    seconds: float = 0.0

    def __add__(self, other: "SpottingScore") -> "SpottingScore":
        return SpottingScore(
            hits=self.hits + other.hits,
            misses=self.misses + other.misses,
            false_alarms=self.false_alarms + other.false_alarms,
            seconds=self.seconds + other.seconds,
        )

    @property
    def recall(self) -> float:
        """Share of annotated intervals that were found; NaN if there are none."""
        return _ratio(self.hits, self.hits + self.misses)

    @property
    def precision(self) -> float:
        """Share of spotted intervals that are correct; NaN if there are none."""
        return _ratio(self.hits, self.hits + self.false_alarms)

    @property
    def f1(self) -> float:
        """The interval F1-score; NaN if nothing was annotated and nothing spotted."""
        return _ratio(2 * self.hits, 2 * self.hits + self.misses + self.false_alarms)

    @property
    def false_alarms_per_minute(self) -> float:
        """NaN if no time was analysed."""
        return _ratio(60 * self.false_alarms, self.seconds)


def score_spotting(
    spotted: Sequence[Interval], truth: Sequence[Interval], seconds: float, *, min_iou: float = MEGC_IOU
) -> SpottingScore:
    """The counts of one video.

    Args:
        spotted: spotted intervals, only of the kind that is judged.
        truth: annotated intervals.
        seconds: length of what was analysed.
        min_iou: below this, a spotted interval is not correct.
    """
    hits = len(match_intervals(spotted, truth, min_iou=min_iou))
    return SpottingScore(
        hits=hits, misses=len(truth) - hits, false_alarms=len(spotted) - hits, seconds=max(0.0, seconds)
    )


def total_score(scores: Iterable[SpottingScore]) -> SpottingScore:
    """The score of many videos: counts are added, ratios follow from the sums."""
    return sum(scores, SpottingScore())


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
