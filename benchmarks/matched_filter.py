"""Another rule of the spotter, on trial: a matched filter against the noise of the moment. Nothing that ships uses it.

Run: python benchmarks/implants.py --again FOLDER --rule matched

    curves of the regions -> amplitudes of a rise and fall, at each moment and length -> compared with their covariance
    in the seconds around, along the directions of action units -> peaks -> the course that fits best

An amplitude is that of least squares beside a straight line. The covariance, of regions and head together, is taken
from the seconds around a moment without the moment itself; so a region that is busy counts little, what two regions do
together all the time counts little, and what goes with the head is taken off. The score is Kelly's (1986), for a target
of known direction in noise that has to be estimated. Directions are those of the simulator's action units.

Shape legend: N samples, C channels (x and y of R regions, 6 of the head), K directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from openmer.clip import CROP_PX
from openmer.face.align import align
from openmer.face.pose import mean_head
from openmer.simulator.facial_motion import action_weights
from openmer.simulator.head import draw_identity
from openmer.simulator.reenact import Actor, cast
from openmer.timeline import CANDIDATE, Interval
from openmer.video import spotting
from openmer.video.regions import REGIONS, region_flow
from openmer.video.settings import SpottingSettings
from openmer.video.spotting import Signals

Matrix = npt.NDArray[np.float64]

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25)
ONE_PIECE = (17, 23, 24, 25)  # units whose sides are not shown alone
TOGETHER = ((4, 7), (1, 2), (1, 2, 5), (6, 12), (4, 9), (4, 10))
SPREAD_PX, STRENGTH = 1.6, 0.3  # of the simulated skin; of a full unit


@dataclass(frozen=True)
class MatchedSettings:
    """Chosen on the people of `face_videos` with the half `chosen`; the last five were varied.

    Attributes:
        lengths_s: of the rise and fall that are looked for.
        settle_s: before and after it, where the line is taken from.
        guard_s: beyond half its length, left out of the covariance.
        hop_s: between two covariances.
        floor: standard deviation that each channel has at least.
        fit_s: on each side of a peak, where its course is fitted.
        min_px: smallest motion of all regions together.
        score: least of a peak.
        load: share of each variance that is added to it.
        context_s: on each side, from which the covariance is taken.
        penalty: how much what the direction does not explain counts.
        fit: share of the course's variance that a rise and fall must explain.
    """

    lengths_s: tuple[float, ...] = (0.2, 0.28, 0.37, 0.47)
    settle_s: float = 0.2
    guard_s: float = 0.35
    hop_s: float = 0.2
    floor: float = 0.03
    fit_s: float = 0.42
    min_px: float = 0.15
    score: float = 5.0
    load: float = 0.4
    context_s: float = 2.5
    penalty: float = 1.0
    fit: float = 0.7


@dataclass(frozen=True)
class Course:
    """A rise and fall, seconds from the peak's moment."""

    onset_s: float
    apex_s: float
    offset_s: float


def spot_matched(signals: Signals, settings: MatchedSettings | None = None) -> list[Interval]:
    """The candidates."""
    settings = settings or MatchedSettings()
    found: list[Interval] = []
    for first, last in spotting._stretches(signals):
        found += _spot_stretch(signals, slice(first, last), settings)
    return sorted((i.slowed(signals.slowdown) for i in found), key=lambda i: i.onset_s)


def _spot_stretch(signals: Signals, part: slice, settings: MatchedSettings) -> Iterator[Interval]:
    times, rule = signals.real_s[part], SpottingSettings()
    even, rate = spotting._even_times(times)
    if len(even) < 1.5 * rate:
        return
    regions = spotting._resampled(even, times, signals.displacement[part].reshape(len(times), -1))
    steps = np.nan_to_num(signals.head[part].astype(np.float64))
    curves = np.concatenate([regions, spotting._resampled(even, times, np.cumsum(steps, axis=0))], axis=1)
    closed = spotting._closures(spotting._resampled(even, times, signals.eyes_open[part]).mean(1), rate, rule)
    blinking = np.zeros(len(even), np.bool_)
    for start, _, end in closed:
        blinking[max(0, start - round(0.12 * rate)) : end + round(0.12 * rate) + 1] = True
    score, size, filters, length = _scores(curves, rate, blinking, settings)
    path = spotting._head_path(steps)
    head = spotting._resampled(even, times, path.reshape(len(times), -1)).reshape(len(even), -1, 2)
    peaks, _ = signal.find_peaks(score, height=settings.score, distance=max(1, round(0.3 * rate)))
    for peak in peaks.tolist():
        course, explained = _fitted(curves @ filters[peak], peak, rate, settings.fit_s)
        half = length[peak] / 2 * rate
        inside = head[max(0, int(peak - half)) : int(peak + half) + 2]
        reach = float(np.linalg.norm(np.ptp(inside, axis=0), axis=1).max())
        onset, apex, offset = (even[peak] + s for s in (course.onset_s, course.apex_s, course.offset_s))
        if (
            explained >= settings.fit
            and settings.min_px <= size[peak]
            and max(size[peak], reach) <= rule.max_px
            and even[0] <= onset < offset <= even[-1]
        ):
            yield Interval(
                onset_s=float(onset),
                apex_s=float(apex),
                offset_s=float(offset),
                label=CANDIDATE,
                score=round(float(score[peak]), 3),
                peak_px=round(float(size[peak]), 3),
            )


def _scores(
    curves: Matrix, rate: float, blinking: npt.NDArray[np.bool_], settings: MatchedSettings
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Of the best length and direction at each sample: score, px, the filter (N, C) of the channels, seconds."""
    count, channels = curves.shape
    steer = np.zeros((len(directions()), channels))
    steer[:, : 2 * len(REGIONS)] = directions()
    best, size, lengths = np.full(count, -np.inf), np.zeros(count), np.zeros(count)
    filters = np.zeros((count, channels))
    hop = max(1, round(settings.hop_s * rate))
    for length in settings.lengths_s:
        amplitude = ndimage.correlate1d(curves, _kernel(length, rate, settings.settle_s), axis=0, mode="nearest")
        for start in range(0, count, hop):
            covariance = _covariance(amplitude, start, rate, length, settings)
            if covariance is None:
                continue
            rows = np.arange(start, min(count, start + hop))
            for lids in (False, True):
                chosen = rows[blinking[rows] == lids]
                if not len(chosen):
                    continue
                noise = covariance.copy()
                if lids:  # the lids say nothing then
                    noise[range(8, 12), range(8, 12)] += 25.0
                inverse = np.linalg.inv(noise)
                weights = steer @ inverse
                power = np.einsum("kc,kc->k", weights, steer)
                along = amplitude[chosen] @ weights.T
                whole = np.einsum("nc,cd,nd->n", amplitude[chosen], inverse, amplitude[chosen])
                rest = np.maximum(0, whole[:, None] - along**2 / power) / channels
                scores = along / np.sqrt(power * (1 + settings.penalty * rest))
                top = scores.argmax(1)
                value = scores[np.arange(len(chosen)), top]
                better = value > best[chosen]
                at, k = chosen[better], top[better]
                best[at], lengths[at] = value[better], length
                size[at] = along[better, k] / power[k]
                filters[at] = weights[k] / power[k, None]
    return best, size, filters, lengths


def _covariance(amplitude: Matrix, at: int, rate: float, length: float, settings: MatchedSettings) -> Matrix | None:
    """(C, C) in the seconds around, bursts held down; None with too few samples."""
    reach, guard = round(settings.context_s * rate), max(1, round((settings.guard_s + length / 2) * rate))
    low, high = max(0, at - reach), min(len(amplitude), at + reach + 1)
    rows = np.r_[low : max(low, at - guard), min(high, at + guard + 1) : high]
    if len(rows) < 20:
        return None
    around = amplitude[rows]
    burst = np.sqrt((around**2 / (np.median(around**2, axis=0) + settings.floor**2)).mean(1))
    weight = np.maximum(1, burst / np.median(burst)) ** -0.5
    weighted = around * weight[:, None]
    covariance = weighted.T @ weighted / (weight**2).sum() + settings.floor**2 * np.eye(amplitude.shape[1])
    return np.asarray(covariance + settings.load * np.diag(np.diag(covariance)))


def _smooth(x: Matrix) -> Matrix:
    x = np.clip(x, 0, 1)
    return np.asarray(x**3 * (10 - 15 * x + 6 * x**2))


def _course(times_s: Matrix, onset_s: float, length_s: float, share: float) -> Matrix:
    """Rises and falls with minimum jerk; `share` of its length it rises."""
    rise = length_s * share
    return _smooth((times_s - onset_s) / rise) - _smooth((times_s - onset_s - rise) / (length_s - rise))


@cache
def _kernel(length: float, rate: float, settle_s: float) -> Matrix:
    """What gives the amplitude of least squares of a rise and fall beside a line."""
    half = int(np.ceil((length / 2 + settle_s) * rate))
    times = np.arange(-half, half + 1) / rate
    parts = [_course(times, -length / 2, length, 0.48), np.ones_like(times), times]
    return np.asarray(np.linalg.pinv(np.stack(parts, axis=1))[0])


@cache
def _courses(rate: float, fit_s: float) -> tuple[Matrix, Matrix, tuple[Course, ...]]:
    """What takes a line off, the courses without their line at unit length, and where each lies."""
    half = round(fit_s * rate)
    times = np.arange(-half, half + 1) / rate
    line = np.stack([np.ones_like(times), times], axis=1)
    off = np.eye(len(times)) - line @ np.linalg.pinv(line)
    rows, courses = [], []
    for length in np.arange(0.18, 0.56, 0.04):
        for share in (0.35, 0.45, 0.55, 0.65):
            for apex in np.arange(-0.12, 0.121, 1 / min(rate, 60)):
                row = off @ _course(times, apex - length * share, length, share)
                rows.append(row / np.linalg.norm(row))
                courses.append(Course(apex - length * share, apex, apex + length * (1 - share)))
    return off, np.array(rows), tuple(courses)


def _fitted(curve: Matrix, peak: int, rate: float, fit_s: float) -> tuple[Course, float]:
    """The course that explains most of the curve around a peak, and which share."""
    off, rows, courses = _courses(round(float(rate), 2), fit_s)
    half = len(off) // 2
    around = off @ np.interp(np.arange(peak - half, peak + half + 1), np.arange(len(curve)), curve)
    along = rows @ around
    best = int(along.argmax())
    return courses[best], float(along[best] ** 2 / max(1e-12, around @ around))


@cache
def directions() -> Matrix:
    """(K, 2R) of unit length: how units, their sides and what often comes together move the regions."""
    actor = cast((mean_head().landmarks[:, :2] * 2 + 300).astype(np.float32), draw_identity(np.random.default_rng(1)))
    sides = {"both": (1.0, 1.0), "right": (1.0, 0.0), "left": (0.0, 1.0)}
    single = {(u, s): _moved(actor, u, *sides[s]) for u in UNITS for s in sides}
    rows = [row for (unit, side), row in single.items() if side == "both" or unit not in ONE_PIECE]
    rows += [np.sum([single[unit, side] for unit in units], axis=0) for units in TOGETHER for side in sides]
    return np.array([row / np.linalg.norm(row) for row in rows])


def _moved(actor: Actor, unit: int, right: float, left: float) -> Matrix:
    """(2R,) how a unit moves the regions, for a largest motion of 1."""
    motion = actor.displacement(STRENGTH * action_weights(unit, right, left))
    motion = np.stack([ndimage.gaussian_filter(each, SPREAD_PX * 2) for each in motion])
    square = align(actor.marks, size=CROP_PX)
    crop = np.stack([cv2.warpAffine(each, square.matrix.astype(np.float64), (CROP_PX, CROP_PX)) for each in motion])
    moved = region_flow(crop.astype(np.float32), square.to_crop(actor.marks)).ravel()
    return np.asarray(moved / np.hypot(*motion).max(), np.float64)
