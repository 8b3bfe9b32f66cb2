"""Blind coding: candidates among control moments, in an order that says nothing.

A coder who only ever sees candidates knows that something is there. Controls are moments in which the analysis marked
nothing, as long as candidates are; how often a coder accepts them tells how much an acceptance is worth.
"""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from openmer.exchange.export import read_result
from openmer.review.document import REVIEWED_LABELS, Review, new_review
from openmer.review.frames import FrameTimes, read_frame_times
from openmer.review.settings import BlindSettings
from openmer.timeline import Interval, Timeline

CONTROL = "control"
MARGIN_S = 0.25  # real seconds between a control and whatever was marked or another control


def blind_review(result_folder: Path, coder: str, settings: BlindSettings) -> Review:
    """A review in which nothing is judged yet, its entries shuffled among controls; it is not written.

    The controls depend on the analysis and the seed, the order also on the coder's name. In a video that is too full
    there are fewer controls.

    Raises:
        InputError: there is no result, it is damaged, or the coder's name cannot be used.
    """
    result = read_result(result_folder)
    candidates = [i for i in result.timeline if i.label in REVIEWED_LABELS]
    count = -(-len(candidates) // 2) if settings.controls is None else settings.controls
    controls = draw_controls(result.timeline, read_frame_times(result.folder), count, settings.seed) if count else ()
    review = new_review(result.folder, coder, blind=True, controls=controls)
    order = _generator(settings.seed, review.source.timeline_sha256, coder).permutation(len(review.entries))
    entries = tuple(review.entries[k] for k in order)
    return msgspec.structs.replace(review, entries=entries, seed=settings.seed)


def draw_controls(timeline: Timeline, times: FrameTimes, count: int, seed: int) -> tuple[Interval, ...]:
    """Moments in which nothing was marked, by time, each as long as a drawn candidate, its apex as far from the onset.

    Args:
        timeline: the analysis.
        times: its frames.
        count: how many; fewer are drawn where there is no room for more.
        seed: of the drawing.
    """
    like = [i for i in timeline if i.label in REVIEWED_LABELS]
    rng = _generator(seed, str(timeline.provenance.get("source_digest", timeline.provenance.get("source"))))
    margin = MARGIN_S * timeline.clock.slowdown
    free = np.ones(len(times.times_s), bool)
    for taken in (*timeline, *timeline.gaps):
        _take(free, times, taken, margin)
    drawn: list[Interval] = []
    while like and len(drawn) < count:
        model = like[int(rng.integers(len(like)))]
        starts = _starts(free, times, model.duration_s)
        if not len(starts):  # no room for one as long as this
            like = [i for i in like if i.duration_s < model.duration_s]
            continue
        control = _placed(times, int(starts[rng.integers(len(starts))]), model)
        _take(free, times, control, margin)
        drawn.append(control)
    return tuple(sorted(drawn, key=lambda i: i.onset_s))


def _generator(seed: int, *words: str) -> np.random.Generator:
    """The same for the same seed and words, on any machine."""
    return np.random.default_rng([seed, *(byte for word in words for byte in b"\0" + word.encode())])


def _take(free: npt.NDArray[np.bool_], times: FrameTimes, interval: Interval, margin: float) -> None:
    at = times.times_s
    free[(at >= interval.onset_s - margin) & (at <= interval.offset_s + margin)] = False


def _starts(free: npt.NDArray[np.bool_], times: FrameTimes, duration_s: float) -> npt.NDArray[np.int64]:
    """Rows from which all frames are free for so long, and the last of which is there, not across a gap in time."""
    at = times.times_s
    step = float(np.median(np.diff(at))) if len(at) > 1 else 0.0
    ends = np.searchsorted(at, at + duration_s - step / 2)
    fits = ends < len(at)
    ends = np.minimum(ends, len(at) - 1)
    fits &= np.abs(at[ends] - at - duration_s) <= step
    counted = np.concatenate([[0], np.cumsum(free)])
    fits &= counted[ends + 1] - counted[: len(at)] == ends + 1 - np.arange(len(at))
    return np.flatnonzero(fits)


def _placed(times: FrameTimes, start: int, model: Interval) -> Interval:
    """An interval of whole frames, as long as its model, with the apex at the same share."""
    onset = float(times.times_s[start])
    marks = (onset, None if model.apex_s is None else onset + model.apex_s - model.onset_s, onset + model.duration_s)
    rows = [None if mark is None else times.nearest(mark) for mark in marks]
    apex_s, apex_frame = (
        (None, None) if rows[1] is None else (float(times.times_s[rows[1]]), int(times.frames[rows[1]]))
    )
    end = max(start + 1, rows[2] or 0)
    return Interval(
        label=CONTROL,
        onset_s=onset,
        apex_s=apex_s,
        offset_s=float(times.times_s[end]),
        onset_frame=int(times.frames[start]),
        apex_frame=apex_frame,
        offset_frame=int(times.frames[end]),
    )
