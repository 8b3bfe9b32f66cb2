"""Spotted against annotated intervals, with matches that can be counted by hand."""

import math
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmer import InputError
from openmer.evaluation.spotting import SpottingScore, match_intervals, score_spotting, total_score
from openmer.timeline import Interval


def interval(onset: float, offset: float) -> Interval:
    return Interval(onset_s=onset, offset_s=offset, label="micro")


def test_the_rule_by_hand() -> None:
    truth = [interval(1.0, 2.0), interval(5.0, 5.4), interval(9.0, 9.3)]
    found = [
        interval(1.0, 1.5),  # half of the first: IoU 0.5, right
        interval(5.2, 5.8),  # 0.2 of 0.8: wrong
        interval(20.0, 20.3),  # nothing there
    ]
    score = score_spotting(found, truth, 60)
    assert score == SpottingScore(hits=1, misses=2, false_alarms=2, seconds=60)
    assert score.recall == pytest.approx(1 / 3) and score.precision == pytest.approx(1 / 3)
    assert score.f1 == pytest.approx(1 / 3) and score.false_alarms_per_minute == 2


def test_each_interval_counts_once() -> None:
    truth = [interval(1.0, 2.0)]
    found = [interval(1.0, 1.9), interval(1.1, 2.0)]
    assert score_spotting(found, truth, 10) == SpottingScore(hits=1, misses=0, false_alarms=1, seconds=10)
    assert score_spotting(truth, found, 10) == SpottingScore(hits=1, misses=1, false_alarms=0, seconds=10)


def test_counts_are_pooled_before_ratios() -> None:
    parts = [SpottingScore(hits=1, misses=0, false_alarms=0, seconds=30), SpottingScore(misses=3, seconds=30)]
    total = total_score(parts)
    assert total.recall == 0.25 and total.f1 == pytest.approx(2 / 5) and total.seconds == 60


def test_nothing_gives_no_number() -> None:
    nothing = SpottingScore()
    assert all(math.isnan(v) for v in (nothing.recall, nothing.precision, nothing.f1, nothing.false_alarms_per_minute))
    assert match_intervals([], [interval(0, 1)]) == ()
    with pytest.raises(InputError, match="IoU of a hit must be above 0"):
        match_intervals([interval(0, 1)], [interval(0, 1)], min_iou=0)


spans = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda t: interval(t[0] / 4, (t[0] + t[1]) / 4)), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(spans, spans)
def test_as_many_pairs_as_the_best_of_all_assignments(found: list[Interval], truth: list[Interval]) -> None:
    short, long = sorted((found, truth), key=len)
    best = max(
        (sum(a.iou(b) >= 0.5 for a, b in zip(short, order, strict=False)) for order in permutations(long, len(short))),
        default=0,
    )
    pairs = match_intervals(found, truth)
    assert len(pairs) == best
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    assert all(found[a].iou(truth[b]) >= 0.5 for a, b in pairs)


def test_exactly_one_half_is_a_hit_whatever_the_rounding() -> None:
    """Frames 0 to 2 of 0 to 4, and the like; in floats some are a little less than one half."""
    pairs = [
        (interval(k / fps, (k + n) / fps), interval(k / fps, (k + 2 * n) / fps))
        for fps in (25, 30, 60, 200)
        for k in range(0, 90, 7)
        for n in range(1, 12)
    ]
    assert any(a.iou(b) < 0.5 for a, b in pairs)
    assert all(match_intervals([a], [b]) == ((0, 0),) for a, b in pairs)
    less = interval(0, 0.4999)
    assert match_intervals([less], [interval(0, 1)]) == ()
