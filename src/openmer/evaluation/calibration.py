"""Probabilities that mean what they say, and when to answer `unsure`; from predictions of people left out of training.

Both are chosen on videos of people that the network has not seen, and hold for videos like those.

Shape legend: N videos, K classes.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import beta

from openmer.errors import InputError
from openmer.evaluation.metrics import Prediction
from openmer.models.weights import Unsure
from openmer.timeline import most_likely

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TEMPERATURES = (0.05, 20.0)  # between which it is sought
SHARES = tuple(k / 10 for k in range(1, 11))  # of the videos, surest first, that may be answered
_LEAST = 1e-12  # stands for a probability of 0, whose logarithm is none


def fit_temperature(predictions: Sequence[Prediction]) -> float:
    """The temperature whose probabilities have the least mean cross-entropy (Guo et al., ICML 2017).

    The logits are taken from the probabilities; for a video of several clips these are the clips' mean.

    Raises:
        InputError: there are no predictions, or they do not determine it, as when all are right.
    """
    if not predictions:
        raise InputError("there are no predictions to fit a temperature to")
    found = minimize_scalar(
        lambda log: cross_entropy(predictions, np.exp(log)), bounds=np.log(TEMPERATURES), method="bounded"
    )
    if min(cross_entropy(predictions, t) for t in TEMPERATURES) < found.fun + 1e-9:  # it goes on falling
        raise InputError(
            f"these {len(predictions)} predictions determine no temperature between {TEMPERATURES[0]:g} and "
            f"{TEMPERATURES[1]:g}: they are all right, or know nothing; bring more videos of people left out"
        )
    return float(np.exp(found.x))


def cross_entropy(predictions: Sequence[Prediction], temperature: float = 1.0) -> float:
    """Mean over the videos of minus the logarithm of the true class's probability."""
    logs = log_softmax(_logits(predictions) / temperature, axis=1)
    return float(-np.mean(logs[np.arange(len(predictions)), [p.truth for p in predictions]]))


def tempered(predictions: Sequence[Prediction], temperature: float) -> Floats:
    """(N, K) probabilities with this temperature."""
    return np.asarray(softmax(_logits(predictions) / temperature, axis=1), np.float64)


def _logits(predictions: Sequence[Prediction]) -> Floats:
    return np.log(np.maximum([p.probabilities for p in predictions], _LEAST))


def answers(predictions: Sequence[Prediction], classes: Sequence[str], temperature: float) -> tuple[Floats, Bools]:
    """(N,) largest probabilities, rounded as results store them, and whether the timeline's answer would be right."""
    rows = tempered(predictions, temperature).round(4)
    named = [most_likely(dict(zip(classes, row.tolist(), strict=True))) for row in rows]
    right = np.array([name == classes[p.truth] for name, p in zip(named, predictions, strict=True)], bool)
    return rows.max(1), right


def design_effect(right: Bools, people: Sequence[Hashable]) -> float:
    """How many times the variance of the accuracy is what independent videos would have: a person's are alike.

    At least 1. The variance between people is that of a ratio of sums over clusters (Kish, Survey Sampling, 1965).
    """
    share, count = right.mean(), len(set(people))
    if share in (0, 1) or count < 2:
        return 1.0
    left: dict[Hashable, float] = dict.fromkeys(people, 0.0)
    for person, is_right in zip(people, right, strict=True):
        left[person] += is_right - share
    between = count / (count - 1) * sum(v**2 for v in left.values()) / len(right) ** 2
    return max(1.0, float(between / (share * (1 - share) / len(right))))


def lower_bound(right: float, count: float, confidence: float) -> float:
    """The accuracy that is exceeded with this confidence (Clopper, Pearson, Biometrika 1934).

    Args:
        right: right answers.
        count: answers. With both divided by a design effect, the bound is that of Korn and Graubard (1998).
        confidence: one-sided, 0 to 1.
    """
    return 0.0 if right <= 0 else float(beta.ppf(1 - confidence, right, count - right + 1))


def choose_threshold(
    predictions: Sequence[Prediction],
    classes: Sequence[str],
    accuracy: float,
    *,
    temperature: float = 1.0,
    confidence: float = 0.95,
    on: str = "",
) -> Unsure:
    """The lowest of ten thresholds at which the promise holds: they answer the surest 10 %, 20 % ... of the videos.

    Each is tried with a tenth of the error that the confidence leaves (Bonferroni), so that the best of ten is no luck.

    Args:
        predictions: one for each video, of people left out of the training.
        classes: in the order of the probabilities.
        accuracy: promised share of right answers, 0 to 1.
        temperature: of the probabilities.
        confidence: with which it is promised.
        on: what the result says about the videos.

    Raises:
        InputError: it cannot be promised at any of them.
    """
    if not (0 < accuracy < 1 and 0 < confidence < 1):
        raise InputError(f"accuracy and confidence lie between 0 and 1, got {accuracy:g} and {confidence:g}")
    if not predictions:
        raise InputError("there are no predictions to choose a threshold on")
    largest, right = answers(predictions, classes, temperature)
    people = [p.person for p in predictions]
    effect = design_effect(right, people)
    each = 1 - (1 - confidence) / len(SHARES)
    ranked = np.sort(largest)[::-1]
    tried: list[tuple[float, float, Bools]] = []  # bound, threshold, answered
    for share in SHARES:
        threshold = float(ranked[max(1, round(share * len(ranked))) - 1])
        answered = largest >= threshold
        bound = lower_bound(float(right[answered].sum()) / effect, float(answered.sum()) / effect, each)
        tried.append((bound, threshold, answered))
    kept = [(threshold, answered) for bound, threshold, answered in tried if bound >= accuracy]
    if not kept:
        bound, threshold, answered = max(tried, key=lambda t: t[0])
        raise InputError(
            f"an accuracy of {accuracy:g} cannot be promised from {len(predictions)} videos of {len(set(people))} "
            f"people: at best, {right[answered].mean():.3f} of {answered.sum()} answers are right (from "
            f"{threshold:.2f} on), which shows no more than {bound:.3f}; promise less, or bring more people"
        )
    threshold, answered = min(kept, key=lambda k: k[0])
    return Unsure(
        threshold=threshold, accuracy=accuracy, confidence=confidence, answered=round(float(answered.mean()), 4), on=on
    )
