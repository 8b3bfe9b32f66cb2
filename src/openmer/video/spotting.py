"""The classical spotter: candidate micro-expressions from the motion of facial regions.

A micro-expression is a brief excursion: a region leaves its position and returns within half a second. A running median
removes the region's slow drift, the rest is compared with its own typical size around that moment, and whatever stands
out for between 1/25 and 1/2 second, and after which the region is back where it was, is marked. Comparing with the
local context follows Moilanen, Zhao, Pietikäinen 2014 and Li et al. 2018 (feature difference contrast); regional flow
minus the head's motion follows Zhang et al. 2020 and He et al. 2021; the limits on duration follow Yan et al. 2013. The
running median and the numbers in `SpottingSettings` are our choice.

A candidate is a place to look. It says nothing about feelings, and a spotter without a learned model cannot tell a
micro-expression from, say, a twitch or the first syllable of a word.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from openmer.clip import CROP_PX, Array, Times
from openmer.media.clock import stretches, usual_step_s
from openmer.timeline import BLINK, CANDIDATE, LARGE_MOTION, Interval
from openmer.video.regions import EYES, REGION_NAMES
from openmer.video.settings import SpottingSettings

FEW_FPS = 60  # at fewer frames a second the shortest micro-expressions are one or two frames long

Curve = npt.NDArray[np.float64]

# The middle of the face and four points on its rim, px from the crop's middle; by the rim, a head that tilts or comes
# nearer moves too.
_ON_HEAD = CROP_PX / 3 * np.array([(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)])

_MIN_FRAMES = 5  # frames with a face; with fewer, nothing can be said about excursions


@dataclass(frozen=True)
class Signals:
    """The spotter's input; n frames, R regions, NaN where there was no face.

    Attributes:
        frames: (n,) frame numbers in the source.
        times_s: (n,) seconds of the file.
        displacement: (n, R, 2) px, see `openmer.video.regions`.
        head: (n, 6) dx, dy (px), roll (degrees), growth (percent), yaw, pitch (degrees) since the previous frame.
        eyes_open: (n, 2) eye aspect ratio.
        track: (n,) track number, -1 where there was no face.
        slowdown: seconds of the file that show one second of what was recorded; durations are judged in the latter.
    """

    frames: npt.NDArray[np.int64]
    times_s: Times
    displacement: Array
    head: Array
    eyes_open: Array
    track: npt.NDArray[np.int64]
    slowdown: float = 1.0

    @property
    def real_s(self) -> Times:
        """(n,) seconds of what was recorded."""
        return self.times_s / self.slowdown


@dataclass(frozen=True)
class _Event:
    """One region's excursion, in samples of an evenly sampled stretch.

    Attributes:
        region: its index.
        start: where it rises above `rel_height` of its peak.
        peak: the apex.
        end: where it has fallen below that again.
        height: of the peak, px.
        score: the height over the threshold there.
        returns: whether the region is then where it was before.
    """

    region: int
    start: float
    peak: int
    end: float
    height: float
    score: float
    returns: bool


@dataclass(frozen=True)
class _Region:
    """How one region moves in a stretch, evenly sampled; no threshold has a part in it.

    Attributes:
        path: (n, 2) px, where it stands.
        curve: (n,) px from its slow drift.
        typical: (n,) px, the usual size of the curve around each moment.
    """

    path: Curve
    curve: Curve
    typical: Curve


@dataclass(frozen=True)
class _Stretch:
    """Frames in a row that show the same face, evenly sampled.

    Attributes:
        part: their rows.
        even: (n,) seconds of what was recorded.
        rate: samples a second.
        head: (n, points, 2) px, see `_head_path`.
        eyes: (n,) opening.
        regions: one after the other, or all of them if they are needed again.
    """

    part: slice
    even: Curve
    rate: float
    head: Curve
    eyes: Curve
    regions: Iterable[_Region]


def spot(signals: Signals, settings: SpottingSettings | None = None) -> tuple[Interval, ...]:
    """Mark candidates, blinks, and short movements that are too large or during which the head moves far.

    Each stretch with the same face is handled separately.
    """
    settings = settings or SpottingSettings()
    found = (_spot_stretch(signals, stretch, settings) for stretch in _sampled(signals, settings))
    return _in_order(signals, found)


def spot_with(
    signals: Signals, settings: SpottingSettings, thresholds: Iterable[tuple[float, float]]
) -> Iterator[tuple[Interval, ...]]:
    """`spot` with one pair of `contrast` and `min_px` after the other; what they have no part in is made only once."""
    kept = [replace(stretch, regions=tuple(stretch.regions)) for stretch in _sampled(signals, settings)]
    for contrast, min_px in thresholds:
        own = replace(settings, contrast=contrast, min_px=min_px)
        yield _in_order(signals, (_spot_stretch(signals, stretch, own) for stretch in kept))


def _in_order(signals: Signals, found: Iterable[list[Interval]]) -> tuple[Interval, ...]:
    every = (interval.slowed(signals.slowdown) for part in found for interval in part)
    return tuple(sorted(every, key=lambda i: i.onset_s))


def _sampled(signals: Signals, settings: SpottingSettings) -> Iterator[_Stretch]:
    """The stretches that are long enough to say something about."""
    for first, last in _stretches(signals):
        part = slice(first, last)
        times = signals.real_s[part]
        even, rate = _even_times(times)
        if len(even) < _MIN_FRAMES:
            continue
        head = _resampled(even, times, _head_path(signals.head[part]).reshape(len(times), -1))
        paths = _paths(even, times, signals.displacement[part], rate)
        yield _Stretch(
            part=part,
            even=even,
            rate=rate,
            head=head.reshape(len(even), -1, 2),
            eyes=_resampled(even, times, signals.eyes_open[part]).mean(1),
            regions=(_region(path, rate, settings) for path in paths),
        )


def _stretches(signals: Signals) -> Iterator[tuple[int, int]]:
    """Stretches of rows with the same face and without a gap in time."""
    track = signals.track
    edges = {0, len(track), *(np.flatnonzero(np.diff(track)) + 1), *(part.start for part in stretches(signals.real_s))}
    for first, last in pairwise(sorted(edges)):
        if track[first] >= 0 and last - first >= _MIN_FRAMES:
            yield int(first), int(last)


def _spot_stretch(signals: Signals, stretch: _Stretch, settings: SpottingSettings) -> list[Interval]:
    even, rate, head, part = stretch.even, stretch.rate, stretch.head, stretch.part
    times = signals.real_s[part]
    closed = _closures(stretch.eyes, rate, settings)

    events = [
        event
        for number, region in enumerate(stretch.regions)
        for event in _events(number, region, rate, settings)
        if event.height > settings.head_share * _reach(head[:, :1], event)
    ]
    # A blink is one wherever the lids come to rest.
    blinking = [group for group in _grouped(events) if _is_blink(group, closed)]
    blinked = {event for group in blinking for event in group}
    groups = blinking + _grouped([event for event in events if event.returns and event not in blinked])
    intervals = [
        _interval(group, even, times, signals.frames[part], closed, _reach(head, group[0]), settings.max_px)
        for group in groups
    ]
    blinks = [c for c in closed if _between_open_eyes(stretch.eyes, c, rate)]
    return intervals + _unmatched_blinks(blinks, intervals, even, times, signals.frames[part])


def region_motion(signals: Signals, settings: SpottingSettings | None = None) -> Array:
    """What the spotter judges, one value per frame and region: (n, R) px from the region's slow drift, or NaN."""
    settings = settings or SpottingSettings()
    motion = np.full(signals.displacement.shape[:2], np.nan, np.float32)
    for first, last in _stretches(signals):
        times = signals.real_s[first:last]
        even, rate = _even_times(times)
        if len(even) >= _MIN_FRAMES:
            for region, path in enumerate(_paths(even, times, signals.displacement[first:last], rate)):
                motion[first:last, region] = np.interp(times, even, excursion(path, rate, settings))
    return motion


def _even_times(times: Times) -> tuple[Curve, float]:
    rate = 1 / (usual_step_s(times) or 1.0)
    return np.arange(times[0], times[-1] + 0.25 / rate, 1 / rate), rate


def _paths(even: Curve, times: Times, displacement: Array, rate: float) -> Iterator[Curve]:
    """Where each region stands, evenly sampled and smoothed over a tenth of a second: R times (n, 2) px."""
    # Region by region: all at once would take twelve times the memory for a long video.
    length = _odd(0.1 * rate, min_length=5)
    for region in range(displacement.shape[1]):
        path = _resampled(even, times, displacement[:, region])
        yield signal.savgol_filter(path, length, 2, axis=0) if len(path) > length else path


def excursion(path: Curve, rate: float, settings: SpottingSettings) -> Curve:
    """How far a region is from its slow drift: (n, 2) px -> (n,) px.

    Args:
        path: where it stands, evenly sampled.
        rate: samples per second.
        settings: see `SpottingSettings`.
    """
    window = _odd(settings.baseline_s * rate, min_length=3)
    slow = ndimage.median_filter(path, size=(window, 1), mode="mirror")
    return np.asarray(np.linalg.norm(path - slow, axis=1))


def _region(path: Curve, rate: float, settings: SpottingSettings) -> _Region:
    curve = excursion(path, rate, settings)
    context = _odd(settings.context_s * rate, min_length=3)
    return _Region(path, curve, ndimage.median_filter(curve, size=context, mode="mirror"))


def _events(number: int, region: _Region, rate: float, settings: SpottingSettings) -> Iterator[_Event]:
    path, curve = region.path, region.curve
    threshold = np.maximum(settings.min_px, settings.contrast * region.typical)
    peaks, _ = signal.find_peaks(curve, height=threshold, distance=max(1, round(0.1 * rate)))
    for peak in peaks:
        # The excursion has to return: on both sides it falls to `rel_height` of the peak before anything higher comes.
        start = _crossing(curve, peak, -1, settings.rel_height)
        end = _crossing(curve, peak, +1, settings.rel_height)
        if start is None or end is None:
            continue
        if settings.min_s <= (end - start) / rate <= settings.max_s + 1 / rate:
            height = float(curve[peak])
            residual = _difference(path, start - settings.settle_s * rate, end + settings.settle_s * rate)
            returns = residual <= settings.max_return_error * height
            yield _Event(number, start, int(peak), end, height, height / float(threshold[peak]), returns)


def _difference(path: Curve, before: float, after: float) -> float:
    """How far apart the places at two moments are, in samples; beyond an end, the last place counts."""
    first, last = max(0, int(before)), min(len(path), int(after) + 2)  # an hour has many samples elsewhere
    at, near = np.arange(first, last), path[first:last]
    return float(np.hypot(*(np.diff(np.interp((before, after), at, axis))[0] for axis in near.T)))


def _crossing(curve: Curve, peak: int, step: int, rel_height: float) -> float | None:
    """Where the curve, followed from its peak, has fallen to `rel_height` of it; None if it never does or rises."""
    level, position = rel_height * curve[peak], peak
    while 0 <= position + step < len(curve):
        following = position + step
        if curve[following] > curve[peak]:
            return None
        if curve[following] <= level:
            drop = curve[position] - curve[following]
            return position + step * float((curve[position] - level) / drop)
        position = following
    return None


def _closures(eyes: Curve, rate: float, settings: SpottingSettings) -> list[tuple[int, int, int]]:
    """(start, lowest, end) samples of each time the eyes were shut for under half a second."""
    typical = ndimage.median_filter(eyes, size=_odd(2.0 * rate, min_length=3), mode="mirror")
    shut = eyes < np.minimum((1 - settings.blink_closure) * typical, settings.blink_ratio)
    labels, count = ndimage.label(shut)
    closures = []
    for part in ndimage.find_objects(labels)[:count]:
        start, end = part[0].start, part[0].stop - 1
        if (end - start) / rate <= settings.max_s:
            lowest = start + int(np.argmin(eyes[start : end + 1]))
            closures.append((max(0, start - 1), lowest, min(len(eyes) - 1, end + 1)))
    return closures


def _between_open_eyes(eyes: Curve, closure: tuple[int, int, int], rate: float) -> bool:
    """Whether the eyes were open just before and just after: lids that tremble while shut are not blinking."""
    start, _, end = closure
    near, open_ = round(0.25 * rate) + 1, 0.5 * float(np.quantile(eyes, 0.75))
    return bool(eyes[max(0, start - near) : start + 1].max() > open_ and eyes[end : end + near + 1].max() > open_)


def _grouped(events: Sequence[_Event]) -> list[list[_Event]]:
    """Group events of several regions that coincide, strongest first: each group is one occurrence."""
    groups: list[list[_Event]] = []
    for event in sorted(events, key=lambda e: -e.score):
        for group in groups:
            shared = min(event.end, group[0].end) - max(event.start, group[0].start)
            if shared > 0.5 * min(event.end - event.start, group[0].end - group[0].start):
                group.append(event)
                break
        else:
            groups.append([event])
    return groups


def _is_blink(group: Sequence[_Event], closed: Sequence[tuple[int, int, int]]) -> bool:
    """Both lids at once, or a lid while the landmarks say shut. One lid with open eyes stays a candidate."""
    strongest = group[0]
    shut = any(start <= strongest.end and end >= strongest.start for start, _, end in closed)
    return strongest.region in EYES and (shut or {e.region for e in group}.issuperset(EYES))


def _interval(
    group: Sequence[_Event],
    even: Curve,
    times: Times,
    frames: npt.NDArray[np.int64],
    closed: Sequence[tuple[int, int, int]],
    head_px: float,
    max_px: float,
) -> Interval:
    strongest = group[0]
    regions = [e.region for e in group]
    label = BLINK if _is_blink(group, closed) else CANDIDATE
    if label == CANDIDATE and max(head_px, *(e.height for e in group)) > max_px:
        label = LARGE_MOTION
    return _placed(
        label,
        (strongest.start, strongest.peak, strongest.end),
        even,
        times,
        frames,
        score=round(strongest.score, 3),
        peak_px=round(strongest.height, 3),
        regions=tuple(dict.fromkeys(REGION_NAMES[r] for r in regions)),
    )


def _unmatched_blinks(
    closed: Sequence[tuple[int, int, int]],
    known: Sequence[Interval],
    even: Curve,
    times: Times,
    frames: npt.NDArray[np.int64],
) -> list[Interval]:
    blinks = [_placed(BLINK, c, even, times, frames, regions=("eye_right", "eye_left")) for c in closed]
    marked = [k for k in known if k.label == BLINK]
    return [b for b in blinks if not any(b.overlap(k) > 0 for k in marked)]


def _placed(
    label: str,
    samples: tuple[float, float, float],
    even: Curve,
    times: Times,
    frames: npt.NDArray[np.int64],
    *,
    regions: tuple[str, ...],
    score: float | None = None,
    peak_px: float | None = None,
) -> Interval:
    step = even[1] - even[0]
    # Move to the times of actual frames: nobody can look at an event between two frames.
    rows = [int(np.argmin(np.abs(times - (even[0] + s * step)))) for s in samples]
    if rows[0] == rows[2]:
        rows[0], rows[2] = max(0, rows[0] - 1), min(len(times) - 1, rows[2] + 1)
    onset, apex, offset = (float(times[row]) for row in rows)
    marks = [int(frames[row]) for row in rows]
    return Interval(
        label=label,
        onset_s=round(onset, 6),
        apex_s=round(apex, 6),
        offset_s=round(offset, 6),
        onset_frame=marks[0],
        apex_frame=marks[1],
        offset_frame=marks[2],
        score=score,
        peak_px=peak_px,
        regions=regions,
    )


def _resampled(at: Curve, times: Curve, values: Array | Curve) -> Curve:
    return np.stack([np.interp(at, times, column) for column in values.T.astype(np.float64)], axis=1)


def _head_path(steps: Array) -> Curve:
    """Where the points of `_ON_HEAD` are: (n, 6) steps as in `Signals.head` -> (n, 5, 2) px from where each began."""
    roll, growth = np.radians(steps[:, 2, None]), steps[:, 3, None] / 100
    x, y = _ON_HEAD.T
    turned = np.stack([growth * x - roll * y, roll * x + growth * y], axis=2)
    return np.cumsum(steps[:, None, :2] + turned, axis=0, dtype=np.float64)


def _reach(path: Curve, event: _Event) -> float:
    """How far the farthest of the points moves during an event; `path` is (n, points, 2)."""
    part = path[int(event.start) : int(np.ceil(event.end)) + 1]
    return float(np.linalg.norm(part.max(0) - part.min(0), axis=1).max())


def _odd(samples: float, *, min_length: int) -> int:
    return max(min_length, 2 * round(samples / 2) + 1)
