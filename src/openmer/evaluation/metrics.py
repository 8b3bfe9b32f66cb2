"""Metrics of classes, flow and landmarks; always from pooled counts, one vote per video.

Definitions follow the MEGC 2019 guidelines (See, Yap, Li, Hong, Wang): counts are pooled over all folds before any
ratio is taken; UF1 is the unweighted mean of the classes' F1, UAR that of their recalls. A class without samples that
was never predicted is left out of both means.

Shape legend: K classes, N videos, P pairs.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from openmer.clip import Array, person_of
from openmer.errors import InputError

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A network's prediction for one video, and the truth: one row of every result.

    Attributes:
        dataset: name.
        subject: unique within the dataset.
        sample: the video's name.
        truth: number of the true class.
        probabilities: (K,), the mean over the video's clips.
        clips: how many there were.
        fold: who was held out when it was made.
        seed: of the training.
    """

    dataset: str
    subject: str
    sample: str
    truth: int
    probabilities: tuple[float, ...]
    clips: int = 1
    fold: str = ""
    seed: int = 0

    @property
    def person(self) -> tuple[str, str]:
        """Who appears in it."""
        return person_of(self.dataset, self.subject)

    @property
    def predicted(self) -> int:
        """Number of the most probable class."""
        return int(np.argmax(self.probabilities))


def confusion_matrix(truth: Sequence[int], predicted: Sequence[int], classes: int) -> Counts:
    """(K, K) counts: rows are true classes, columns predicted ones."""
    if len(truth) != len(predicted):
        raise InputError(f"{len(truth)} true classes and {len(predicted)} predicted ones do not belong together")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (np.asarray(truth, np.int64), np.asarray(predicted, np.int64)), 1)
    return counts


@dataclass(frozen=True)
class ClassScores:
    """Everything that follows from a confusion matrix; NaN where undefined.

    Attributes:
        counts: (K, K), rows true.
    """

    counts: Counts

    @property
    def accuracy(self) -> float:
        """Share of videos classified correctly."""
        return _ratio(np.trace(self.counts), self.counts.sum())

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """(K,), NaN for a class without samples."""
        return _ratios(np.diag(self.counts), self.counts.sum(1))

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """(K,), NaN for a class that was never predicted."""
        return _ratios(np.diag(self.counts), self.counts.sum(0))

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """(K,) 2 TP / (2 TP + FP + FN), NaN for a class that neither occurs nor was predicted."""
        return _ratios(2 * np.diag(self.counts), self.counts.sum(1) + self.counts.sum(0))

    @property
    def uar(self) -> float:
        """Unweighted average recall, over classes with samples."""
        return _mean(self.recall)

    @property
    def uf1(self) -> float:
        """Unweighted F1, over classes that occur or were predicted."""
        return _mean(self.f1)

    @property
    def wf1(self) -> float:
        """F1 weighted by the number of samples per class."""
        size = self.counts.sum(1)
        return _ratio(float(np.nansum(np.where(size > 0, self.f1, 0) * size)), size.sum())

    def summary(self) -> dict[str, float]:
        """The numbers that a table shows."""
        return {"accuracy": self.accuracy, "uf1": self.uf1, "uar": self.uar, "wf1": self.wf1}


def class_scores(predictions: Sequence[Prediction], classes: int) -> ClassScores:
    """Pooled over all videos, whichever fold they were judged in."""
    return ClassScores(confusion_matrix([p.truth for p in predictions], [p.predicted for p in predictions], classes))


def detection_scores(predictions: Sequence[Prediction], none: int) -> ClassScores:
    """Micro-expression (1) or none (0): a video is positive if all other classes together are likelier than none."""
    truth = [int(p.truth != none) for p in predictions]
    predicted = [int(p.probabilities[none] < 0.5 * sum(p.probabilities)) for p in predictions]
    return ClassScores(confusion_matrix(truth, predicted, 2))


def bootstrap(
    predictions: Sequence[Prediction],
    score: Callable[[Sequence[Prediction]], float],
    *,
    times: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of a score, resampling people instead of videos: a person's videos are not independent.

    Raises:
        InputError: there are no predictions.
    """
    people: dict[Hashable, list[Prediction]] = {}
    for prediction in predictions:
        people.setdefault(prediction.person, []).append(prediction)
    if not people:
        raise InputError("there are no predictions to draw from")
    groups = [people[key] for key in sorted(people, key=str)]
    rng = np.random.default_rng(seed)
    drawn = [
        score([p for k in rng.integers(0, len(groups), len(groups)) for p in groups[int(k)]]) for _ in range(times)
    ]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def endpoint_error(flow: Array, truth: Array) -> Array:
    """(..., 2, H, W) px, twice -> (..., H, W) px: length of the difference (Otte, Nagel 1994)."""
    return np.asarray(np.linalg.norm(np.asarray(flow) - truth, axis=-3), np.float32)


def moving_pixels(truth: Array, *, share: float = 0.1, min_px: float = 0.02) -> npt.NDArray[np.bool_]:
    """(..., 2, H, W) -> (..., H, W): where a pair moves by more than `share` of its largest motion and `min_px`."""
    size = np.linalg.norm(truth, axis=-3)
    most = size.max((-1, -2), keepdims=True)
    return np.asarray(size > np.maximum(share * most, min_px))


def landmark_errors(points: Array, truth: Array) -> Array:
    """NME per frame: (N, 68, 2) px, twice -> (N,) mean distance over that of the outer eye corners (iBUG 36, 45)."""
    distance = np.linalg.norm(truth[:, 45] - truth[:, 36], axis=-1)
    return np.asarray(np.linalg.norm(points - truth, axis=-1).mean(-1) / distance, np.float32)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation over seeds; no deviation for a single one."""
    each = np.asarray(values, np.float64)
    deviation = float(each.std(ddof=1)) if len(each) > 1 else None
    return {"mean": float(each.mean()), "sd": deviation, "n": len(each)}


def _ratio(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")


def _ratios(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
