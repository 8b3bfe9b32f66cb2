"""Run a network on clips that it has not seen: one prediction for each video."""

from collections import Counter, defaultdict
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

    A network that judges by centered motion reads the mean of a recording's interleaved clips instead, frame by frame
    (`ClipData.mean_inputs`): noise hides small motion, and a mean of frames has less of it. Clips without a label are
    left out. The model's mode is restored.
    """
    probabilities: dict[tuple[str, str, str], list[Array]] = defaultdict(list)
    truth: dict[tuple[str, str, str], int] = {}
    device = device_of(model)
    was_training = model.training
    model.eval()
    # Whether what is judged are recordings or clips.
    whole = isinstance(model, MOL) and model.reads_motion
    groups = data.recordings() if whole else list(np.flatnonzero(data.labels >= 0)[:, None])
    clips: Counter[tuple[str, str, str]] = Counter()
    with torch.inference_mode():
        for start in range(0, len(groups), batch):
            some = groups[start : start + batch]
            inputs = data.mean_inputs(some) if whole else data.evaluation_batch(np.concatenate(some)).inputs
            answer = model(inputs.to(device), ("mer",)) if isinstance(model, MOL) else model(inputs.to(device))
            for places, row in zip(some, answer.logits.float().softmax(1).cpu().numpy(), strict=True):
                video = data.entries[int(places[0])].video
                probabilities[video].append(row)
                truth[video] = int(data.labels[places[0]])
                clips[video] += len(places)
                for _ in places:
                    on_clip()
    model.train(was_training)
    return [
        Prediction(
            dataset=video[0],
            subject=video[1],
            sample=video[2],
            truth=truth[video],
            probabilities=tuple(float(v) for v in np.mean(rows, 0)),
            clips=clips[video],
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
