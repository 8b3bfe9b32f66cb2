"""What is minimised. Every loss is returned per clip, unreduced, so that clips can be weighted.

Shape legend: B clips, P = T - 1 pairs, H rows, W columns.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from openmer.models.config import HEADS
from openmer.models.mol import MOLOutput
from openmer.training.data import Batch
from openmer.training.settings import FlowLoss, LossSettings


def classification_loss(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, (B, K) and (B,) -> (B,); 0 for clips whose label is -1 (unknown)."""
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="none", label_smoothing=smoothing)


def flow_loss(flow: Tensor, truth: Tensor, kind: FlowLoss = "mse") -> Tensor:
    """(B, P, 2, H, W) px, twice -> (B,).

    `mse` is the mean square over pixels and components, summed over pairs and divided by P, as in the authors' code.
    `epe` is the mean end-point error (Otte, Nagel 1994). `relative` adds the mean error over the pixels that move, each
    divided by the largest motion of any pixel in its pair: a small motion counts as much as a large one.
    """
    if kind == "mse":
        return (flow - truth).square().mean((1, 2, 3, 4))
    error = _soft_norm(flow - truth)
    if kind == "epe":
        return error.mean((1, 2, 3))
    size: Tensor = torch.linalg.vector_norm(truth, dim=2)
    most = size.amax((2, 3), keepdim=True)
    moving = (size > 0.1 * most).to(error.dtype)
    share = (error * moving).sum((2, 3)) / moving.sum((2, 3)).clamp_min(1)
    both: Tensor = error.mean((2, 3)) + share / (most[..., 0, 0] + 0.2)
    return both.mean(1)


def _soft_norm(difference: Tensor) -> Tensor:
    """Length of (B, P, 2, H, W) along dim 2, differentiable at 0 too."""
    return (difference.square().sum(2) + 1e-4).sqrt() - 1e-2


def landmark_loss(points: Tensor, truth: Tensor) -> Tensor:
    """(B, P, 68, 2) px, twice -> (B,): mean absolute error of a coordinate pair over the distance of the pupils.

    The authors' loss up to a factor: theirs sums over frames, ours takes the mean. Frames whose landmarks are unknown
    (NaN) do not count.
    """
    known = truth.isfinite().all(-1).all(-1)
    safe = torch.where(known[..., None, None], truth, torch.zeros_like(truth))
    pupils: Tensor = torch.linalg.vector_norm(safe[..., 36:42, :].mean(-2) - safe[..., 42:48, :].mean(-2), dim=-1)
    error = (points - safe).abs().sum(-1).mean(-1) / pupils.clamp_min(1.0)
    return (error * known).sum(1) / known.sum(1).clamp_min(1)


def units_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of each action unit, summed over the known ones: (B, U) twice -> (B,)."""
    known = truth.isfinite()
    each = F.binary_cross_entropy_with_logits(logits, truth.nan_to_num(), reduction="none")
    return (each * known).sum(1)


def total_loss(
    out: MOLOutput, batch: Batch, settings: LossSettings, class_weights: Tensor | None = None
) -> dict[str, Tensor]:
    """The weighted sum and its parts, each the mean over the batch.

    Args:
        out: of the network, from `batch.inputs`; its landmarks are those of frames 2 to T.
        batch: what is known about the clips; class -1, no flow, or NaN where something is not known.
        settings: weights.
        class_weights: (K,) factor of the cross-entropy of each class.

    Returns:
        `loss` and whichever of `mer`, `flow`, `landmarks`, `units` apply.
    """
    parts: dict[str, Tensor] = {}
    if out.logits is not None and settings.mer:
        each = classification_loss(out.logits.float(), batch.labels, smoothing=settings.label_smoothing)
        weight = (batch.labels >= 0).to(each.dtype)
        if class_weights is not None:
            weight = weight * class_weights[batch.labels.clamp_min(0)]
        parts["mer"] = (each * weight).sum() / weight.sum().clamp_min(1e-6)
    if out.flow is not None and batch.flow is not None and settings.flow:
        parts["flow"] = flow_loss(out.flow.float(), batch.flow, settings.flow_kind).mean()
    if out.landmarks is not None and settings.landmarks:
        parts["landmarks"] = landmark_loss(out.landmarks.float(), batch.landmarks[:, 1:]).mean()
    if out.units is not None and settings.units:
        clips = batch.units.isfinite().any(1).sum().clamp_min(1)
        parts["units"] = units_loss(out.units.float(), batch.units).sum() / clips
    weights: dict[str, float] = {name: getattr(settings, name) for name in HEADS}
    total = sum((weights[name] * value for name, value in parts.items()), torch.zeros((), device=batch.labels.device))
    return {"loss": total, **parts}
