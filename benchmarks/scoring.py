"""Scores that only benchmarks quote: flow, landmarks and action units against the truth; spread over seeds."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score

from openmer.clip import NONE, Array
from openmer.clips.flow import FlowMethod, optical_flow
from openmer.clips.transforms import center_crop
from openmer.errors import InputError
from openmer.evaluation.evaluate import device_of
from openmer.evaluation.metrics import (
    ClassScores,
    Prediction,
    bootstrap,
    class_scores,
    confusion_matrix,
    detection_scores,
    endpoint_error,
    landmark_errors,
    moving_pixels,
    spread,
)
from openmer.models.mol import MOL
from openmer.training.data import ClipData

# Bounds of a pair's largest motion, px, by which flow errors are broken down.
SIZES = ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0), (1.0, math.inf))
# Bounds of how far an expression goes from a clip's first frame, px, by which recall is broken down.
REACHES = (0.0, 0.5, 1.0, 2.0, 3.0, math.inf)
FAR_PX = 0.2  # pixels that move farther count in the error `far`
FAILURE_AT = 0.10  # of the distance of the outer eye corners


def recognition_over_seeds(runs: Sequence[list[Prediction]], classes: Sequence[str]) -> dict[str, Any]:
    """Predictions of several seeds on the same clips: scores with their spread; for the first seed, also over people.

    Args:
        runs: one per seed.
        classes: in the order of the probabilities, `none` among them.

    Returns:
        `accuracy`, `uf1`, `uar` of all classes, `detection_accuracy`, `detection_uf1` of expression or none, each with
        mean and standard deviation; for the first seed, 95 % intervals of both accuracies over people and the confusion
        matrix.
    """
    four = [class_scores(run, len(classes)) for run in runs]
    none = classes.index(NONE)
    two = [detection_scores(run, none) for run in runs]
    low, high = bootstrap(runs[0], lambda rows: class_scores(rows, len(classes)).accuracy)
    detected = bootstrap(runs[0], lambda rows: detection_scores(rows, none).accuracy)
    return {
        "accuracy": spread([s.accuracy for s in four]),
        "accuracy_95_percent_over_people": [low, high],
        "uf1": spread([s.uf1 for s in four]),
        "uar": spread([s.uar for s in four]),
        "detection_accuracy": spread([s.accuracy for s in two]),
        "detection_accuracy_95_percent_over_people": list(detected),
        "detection_uf1": spread([s.uf1 for s in two]),
        "confusion_of_the_first_seed": {"classes": list(classes), "rows_are_true": four[0].counts.tolist()},
    }


def recall_by_motion(runs: Sequence[list[Prediction]], data: ClipData) -> dict[str, dict[str, float]]:
    """Shares of expressions found and classified correctly, by how far they go from the clip's first frame."""
    none = data.classes.index(NONE)
    reach: dict[tuple[str, str, str], float] = {}
    for entry in data.entries:
        flow = data.store.read(entry).flow
        if flow is not None:
            farthest = float(np.linalg.norm(flow.cumsum(0), axis=1).max())
            reach[entry.video] = max(farthest, reach.get(entry.video, 0.0))
    rows = [p for run in runs for p in run if p.truth != none]
    shares = {}
    for low, high in pairwise(REACHES):
        inside = [p for p in rows if low <= reach[p.dataset, p.subject, p.sample] < high]
        if inside:
            shares[_between(low, high)] = {
                "clips": len(inside) // len(runs),
                "found": round(float(np.mean([p.probabilities[none] < 0.5 for p in inside])), 3),
                "named_rightly": round(float(np.mean([p.predicted == p.truth for p in inside])), 3),
            }
    return shares


def judge_flow(
    model: MOL,
    data: ClipData,
    *,
    methods: Sequence[FlowMethod] = ("tvl1", "dis"),
    on_clip: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """EPE of the network's flow, of classical methods on the same pairs, and of no flow at all.

    The classical methods see the gray levels that the network's input was normalised from.

    Returns:
        `all`: EPE over all pixels; `moving`: mean over the pairs that move of a pair's EPE over its moving pixels (see
        `moving_pixels`), so that a pair with small motion counts as much as one with large motion; `by_motion`: the
        same by a pair's largest motion; `far`: EPE over the pixels of all pairs that move by more than 0.2 px, so that
        large motions count by their size. Each maps a method (`network`, `zero`, ...) to px. `pairs` says how many.
    """
    names = ("network", "zero", *methods)
    device = device_of(model)
    everywhere: dict[str, list[float]] = {name: [] for name in names}
    moving: dict[tuple[float, float], dict[str, list[float]]] = {s: {n: [] for n in names} for s in SIZES}
    far, far_pixels = dict.fromkeys(names, 0.0), 0
    for index in range(len(data)):
        batch = data.evaluation_batch([index])
        if batch.flow is None:
            continue
        truth = batch.flow[0].numpy()
        with torch.inference_mode():
            answer = model(batch.inputs.to(device), ("flow",))
        guesses = {"network": answer.flow[0].float().cpu().numpy(), "zero": np.zeros_like(truth)}
        gray = center_crop(data.store.read(data.entries[index]).frames)
        for method in methods:
            guesses[method] = np.stack([optical_flow(a, b, method) for a, b in pairwise(gray)])
        where = moving_pixels(truth)
        size_px = np.linalg.norm(truth, axis=1)
        most = size_px.max((1, 2))
        beyond = size_px > FAR_PX
        far_pixels += int(beyond.sum())
        for name, guess in guesses.items():
            error = endpoint_error(guess, truth)
            everywhere[name].append(float(error.mean()))
            far[name] += float(error[beyond].sum(dtype=np.float64))
            for k, pair in enumerate(error):
                size = next(s for s in SIZES if s[0] <= most[k] < s[1])
                if where[k].any():
                    moving[size][name].append(float(pair[where[k]].mean()))
        on_clip()
    joined = {n: [v for s in SIZES for v in moving[s][n]] for n in names}
    return {
        "all": {n: _mean(v) for n, v in everywhere.items()},
        "moving": {n: _mean(v) for n, v in joined.items()},
        "by_motion": {
            _between(low, high): {n: _mean(v) for n, v in moving[(low, high)].items()} for low, high in SIZES
        },
        "far": {n: v / far_pixels if far_pixels else float("nan") for n, v in far.items()},
        "pairs": {_between(low, high): len(moving[(low, high)]["zero"]) for low, high in SIZES},
    }


def _between(low: float, high: float) -> str:
    return f"{low:g} px and more" if high == math.inf else f"{low:g} to {high:g} px"


def uf1_of_three(predictions: Sequence[Prediction], none: int) -> float:
    """UF1 of the expressions among themselves: clips without one are left out, and so is that answer.

    Args:
        predictions: of clips; one is of an expression at least.
        none: number of the class without an expression.
    """
    shown = [p for p in predictions if p.truth != none]
    shares = np.array([p.probabilities for p in shown])
    shares[:, none] = -1
    return float(f1_score([p.truth for p in shown], shares.argmax(1), average="macro"))


def flow_over_seeds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Results of `judge_flow` for several seeds on the same clips: the network's errors with their spread.

    Args:
        results: one per seed; the classical methods, which have no seeds, need only be in the first.

    Returns:
        The result of the first seed, and `network_over_seeds`: of `all`, `moving`, `far` and `by_motion`.
    """
    sizes = results[0]["by_motion"]
    return {
        **results[0],
        "network_over_seeds": {
            "all": spread([f["all"]["network"] for f in results]),
            "moving": spread([f["moving"]["network"] for f in results]),
            "far": spread([f["far"]["network"] for f in results]),
            "by_motion": {size: spread([f["by_motion"][size]["network"] for f in results]) for size in sizes},
        },
    }


def judge_landmarks(model: MOL, data: ClipData, *, batch: int = 16) -> dict[str, float]:
    """NME of the network's landmarks, over the distance of the outer eye corners: mean, median, failures at 10 %."""
    errors: list[Array] = []
    for start in range(0, len(data), batch):
        part = data.evaluation_batch(np.arange(start, min(start + batch, len(data))))
        with torch.inference_mode():
            points = model(part.inputs.to(device_of(model)), ("landmarks",)).landmarks.float().cpu().numpy()
        truth = part.landmarks[:, 1:].numpy()
        errors.append(landmark_errors(points.reshape(-1, 68, 2), truth.reshape(-1, 68, 2)))
    joined = np.concatenate(errors)
    joined = joined[np.isfinite(joined)]
    return {
        "nme_mean": _mean(joined.tolist()),
        "nme_median": float(np.median(joined)) if len(joined) else float("nan"),
        "failures_at_10_percent": failure_rate(joined),
        "frames": len(joined),
    }


def landmarks_over_seeds(results: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Results of `judge_landmarks` for several seeds on the same clips: means with their spread."""
    names = ("nme_mean", "nme_median", "failures_at_10_percent")
    return {**{name: spread([f[name] for f in results]) for name in names}, "frames": results[0]["frames"]}


def judge_units(model: MOL, data: ClipData, *, batch: int = 16, min_clips: int = 10) -> dict[str, Any]:
    """How well a network reports action units, on clips that say which they show.

    Args:
        model: with a head for action units.
        data: clips.
        batch: clips per call of the network.
        min_clips: a unit shown in fewer clips gets no F1 of its own.

    Returns:
        `first_right`: of the clips that show any unit at all, even one that the network does not know, the share that
        shows the network's most probable unit; `f1`: unit -> F1 of its presence; `shown`: unit -> clips that show it;
        `clips`: how many were judged.

    Raises:
        InputError: the network has no such head, or no clip says what it shows.
    """
    units = model.config.units
    known = np.flatnonzero([e.units is not None for e in data.entries])
    if not units or not len(known):
        raise InputError("judging action units takes a network that names them and clips that say which they show")
    answers, truth = [], []
    for start in range(0, len(known), batch):
        part = data.evaluation_batch(known[start : start + batch], units)
        with torch.inference_mode():
            answers.append(model(part.inputs.to(device_of(model)), ("units",)).units.float().cpu().numpy())
        truth.append(part.units.numpy() > 0)
    logits, active = np.concatenate(answers), np.concatenate(truth)
    labelled = np.array([bool(data.entries[int(k)].units) for k in known])
    first = active[np.arange(len(active)), logits.argmax(1)][labelled]
    right = ((logits > 0) & active).sum(0)
    f1 = 2 * right / np.maximum((logits > 0).sum(0) + active.sum(0), 1)
    frequent = [k for k in range(len(units)) if active[:, k].sum() >= min_clips]
    return {
        "first_right": _mean(first.tolist()),
        "f1": {str(units[k]): float(f1[k]) for k in frequent},
        "shown": {str(unit): int(count) for unit, count in zip(units, active.sum(0), strict=True)},
        "clips": len(known),
    }


def units_over_seeds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Results of `judge_units` for several seeds on the same clips: means with their spread."""
    frequent = results[0]["f1"]
    return {
        "first_right": spread([f["first_right"] for f in results]),
        "f1_mean": spread([_mean(list(f["f1"].values())) for f in results]),
        "f1": {unit: spread([f["f1"][unit] for f in results]) for unit in frequent},
        "shown_in_clips": results[0]["shown"],
        "clips": results[0]["clips"],
    }


def failure_rate(errors: Array, *, at: float = FAILURE_AT) -> float:
    """Share of frames whose NME is larger than `at`."""
    return _mean((errors > at).tolist())


def analysis_f1(truth: Sequence[int], predicted: Sequence[int], classes: int) -> float:
    """Harmonic mean of macro precision and macro recall: what STRS uses for recognition (it is not UF1)."""
    scores = ClassScores(confusion_matrix(truth, predicted, classes))
    precision, recall = float(np.nan_to_num(scores.precision).mean()), float(np.nan_to_num(scores.recall).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else float("nan")


def strs(spotting_f1: float, truth: Sequence[int], predicted: Sequence[int], classes: int) -> float:
    """Spot-then-recognise score (Liong, See, Chan, MEAN, 2023): F1 of spotting times F1 of what was correctly spotted.

    Args:
        spotting_f1: interval F1 over all expressions.
        truth: classes of the correctly spotted intervals.
        predicted: the classes predicted for them.
        classes: K.
    """
    return spotting_f1 * analysis_f1(truth, predicted, classes)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
