"""Run a network on clips that it has not seen: one prediction for each video."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from openmer.clip import Array
from openmer.evaluation.metrics import Prediction, class_scores
from openmer.models.mol import MOL
from openmer.training.data import ClipData


def predict(
    model: nn.Module,
    data: ClipData,
    *,
    batch: int = 16,
    fold: str = "",
    seed: int = 0,
    on_clip: Callable[[], None] = lambda: None,
) -> list[Prediction]:
    """One prediction per video: the mean probabilities of its clips, centre-cropped, in eval mode.

    Clips without a label are left out. The model's mode is restored.
    """
    labelled = np.flatnonzero(data.labels >= 0)
    probabilities: dict[tuple[str, str, str], list[Array]] = defaultdict(list)
    truth: dict[tuple[str, str, str], int] = {}
    device = device_of(model)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(labelled), batch):
            places = labelled[start : start + batch]
            inputs = data.evaluation_batch(places).inputs.to(device)
            answer = model(inputs, ("mer",)) if isinstance(model, MOL) else model(inputs)
            for place, row in zip(places, answer.logits.float().softmax(1).cpu().numpy(), strict=True):
                entry = data.entries[int(place)]
                probabilities[entry.video].append(row)
                truth[entry.video] = int(data.labels[place])
                on_clip()
    model.train(was_training)
    return [
        Prediction(
            dataset=video[0],
            subject=video[1],
            sample=video[2],
            truth=truth[video],
            probabilities=tuple(float(v) for v in np.mean(rows, 0)),
            clips=len(rows),
            fold=fold,
            seed=seed,
        )
        for video, rows in sorted(probabilities.items())
    ]


def validation(data: ClipData) -> Callable[[nn.Module], dict[str, float]]:
    """For `train`: UF1 on these clips, which selects the best weights."""

    def scores(model: nn.Module) -> dict[str, float]:
        result = class_scores(predict(model, data), len(data.classes))
        return {"score": float(np.nan_to_num(result.uf1)), **result.summary()}

    return scores


def device_of(model: nn.Module) -> torch.device:
    """Where its weights are."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
