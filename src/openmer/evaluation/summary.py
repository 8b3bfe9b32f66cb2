"""Predictions of all folds and seeds, pooled: the scores, what guessing would score, and the table of all videos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmer.clip import NONE
from openmer.errors import InputError
from openmer.evaluation.metrics import ClassScores, Prediction, bootstrap, class_scores, detection_scores, spread
from openmer.files import read_json, table_text


def summarise(predictions: Sequence[Prediction], classes: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Scores from each seed's pooled counts, with their spread, intervals over people, and scores per class."""
    names = ("accuracy", "uf1", "uar", "wf1")
    of_seeds = [[p for p in predictions if p.seed == seed] for seed in seeds]
    scores = [class_scores(part, len(classes)) for part in of_seeds]
    content: dict[str, Any] = {
        "classes": list(classes),
        "seeds": list(seeds),
        "videos": len(of_seeds[0]),
        "subjects": len({p.person for p in of_seeds[0]}),
        "scores": {name: spread([s.summary()[name] for s in scores]) for name in names},
        "confusion": [s.counts.tolist() for s in scores],
        "per_class": [
            {
                "class": name,
                "videos": int(scores[0].counts.sum(1)[k]),
                "precision": spread([float(s.precision[k]) for s in scores]),
                "recall": spread([float(s.recall[k]) for s in scores]),
                "f1": spread([float(s.f1[k]) for s in scores]),
            }
            for k, name in enumerate(classes)
        ],
    }
    known = np.isfinite(scores[0].f1)
    measures: dict[str, Callable[[Sequence[Prediction]], float]] = {
        "accuracy": lambda part: class_scores(part, len(classes)).accuracy,
        # A class that a resample happens to lack counts as 0, or a class that is always missed would be forgotten.
        "uf1": lambda part: float(np.nan_to_num(class_scores(part, len(classes)).f1[known]).mean()),
    }
    for name, measure in measures.items():
        low, high = bootstrap(of_seeds[0], measure)
        content["scores"][name]["interval_95_over_subjects"] = [low, high]
    datasets = sorted({p.dataset for p in predictions})
    if len(datasets) > 1:
        content["datasets"] = {
            dataset: _of_dataset([[p for p in part if p.dataset == dataset] for part in of_seeds], len(classes))
            for dataset in datasets
        }
    if NONE in classes:
        detected = [detection_scores(part, list(classes).index(NONE)) for part in of_seeds]
        content["detection"] = {n: spread([d.summary()[n] for d in detected]) for n in ("accuracy", "uf1")}
    content["most_frequent_class"] = _guessed(scores[0].counts, classes)
    return content


def _guessed(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """The scores of answering the most frequent class for every video."""
    frequent = counts.sum(1)
    guess = {"class": classes[int(frequent.argmax())], "scores": _always(frequent).summary()}
    if NONE in classes:
        none = int(frequent[list(classes).index(NONE)])
        guess["detection"] = _always(np.array([none, int(frequent.sum()) - none])).summary()
    return guess


def _always(frequent: npt.NDArray[np.int64]) -> ClassScores:
    """(K,) videos of each class, all of them predicted as the most frequent one."""
    counts = np.zeros((len(frequent), len(frequent)), np.int64)
    counts[:, frequent.argmax()] = frequent
    return ClassScores(counts)


def _of_dataset(of_seeds: Sequence[Sequence[Prediction]], classes: int) -> dict[str, Any]:
    """One dataset's share of a joint evaluation, reported next to the whole."""
    scores = [class_scores(part, classes) for part in of_seeds]
    named = {name: spread([s.summary()[name] for s in scores]) for name in ("accuracy", "uf1", "uar")}
    return {"videos": len(of_seeds[0]), **named}


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """What a finished fold wrote.

    Attributes:
        digest: of everything that it depends on.
        predictions: one for each video.
        openmer: the version that made it.
        commit: likewise.
    """

    digest: str
    predictions: tuple[Prediction, ...]
    openmer: str = "unknown version"
    commit: str | None = None

    @property
    def made_by(self) -> str:
        """Version and commit of the code that made it, which may be an earlier one."""
        return f"{self.openmer}, {self.commit or 'unknown commit'}"


def read_fold(path: Path, classes: int) -> FoldResult:
    """What a finished fold wrote.

    Args:
        path: of its predictions.json.
        classes: how many there are.

    Raises:
        InputError: the file is missing or damaged.
    """
    advice = "remove the file and openmer loso will make it again"
    try:
        fold = read_json(path, FoldResult)
    except InputError as error:
        raise InputError(f"{error}; {advice}") from error
    for row in fold.predictions:
        if not 0 <= row.truth < classes or len(row.probabilities) != classes:
            raise InputError(
                f"cannot read {path}: {row.sample:.40} has a class or probabilities that do not fit {classes} classes; "
                f"{advice}"
            )
    return fold


def predictions_table(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """One row per video, seed by seed."""
    plain = [f.name for f in fields(Prediction) if f.name not in ("truth", "probabilities")]
    columns = [*plain, "truth", "predicted", *(f"p_{name}" for name in classes)]
    rows = []
    for p in predictions:
        row: dict[str, Any] = {name: getattr(p, name) for name in plain}
        row |= {"truth": classes[p.truth], "predicted": classes[p.predicted]}
        row |= {f"p_{name}": round(v, 6) for name, v in zip(classes, p.probabilities, strict=True)}
        rows.append(row)
    return table_text(rows, columns)
