"""Where and when a decision comes from: a clip compared with the same face standing still.

The question behind every attribution is "compared with what?". Here the baseline is the clip's first frame, repeated
for every frame of the clip: the same face, light and alignment, without any motion. So what does not move cannot get a
share, and the shares add up to what the motion changed in the network's decision.

Shape legend: T frames, C = 128 px crop, K classes, R regions.
"""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openmer.choices import Attributor
from openmer.clip import Array, Gray
from openmer.clips.transforms import normalized
from openmer.errors import InputError, to_install
from openmer.models.lucas_kanade import AffineHeadMotion
from openmer.models.mol import MOL

METHODS: tuple[Attributor, ...] = get_args(Attributor)

STEPS = 16  # points on the path of integrated gradients
PATCH_PX, STRIDE_PX = 16, 8
BATCH = 8


@dataclass(frozen=True)
class Attribution:
    """What each place and frame contributed to the log-odds of a class.

    Attributes:
        target: the class.
        method: how it was computed.
        moving: log-odds of the class for the clip.
        still: log-odds of the class for its first frame standing still.
        places: (T, C, C). For `integrated`, added log-odds, which sum to `moving - still` up to the steps of the path.
            For `held`, the log-odds lost while a patch around the place is held still, averaged over the patches that
            contain it; the same in all frames.
    """

    target: str
    method: Attributor
    moving: float
    still: float
    places: Array

    @property
    def map(self) -> Array:
        """(C, C) over all frames, unsigned: how much a place mattered, for or against."""
        return np.asarray(np.abs(self.places).sum(0), np.float32)

    @property
    def frames(self) -> Array | None:
        """(T,) share of each frame, unsigned; they sum to 1 unless nothing mattered. None of `held`: see `places`."""
        if self.method == "held":
            return None
        total = np.abs(self.places).sum((1, 2))
        return np.asarray(total / max(float(total.sum()), 1e-12), np.float32)

    def share(self, inside: npt.NDArray[np.bool_] | npt.NDArray[np.float32]) -> float:
        """The share of `map` inside a mask (C, C), boolean or with weights between 0 and 1."""
        whole = self.map
        return float((whole * inside).sum() / max(float(whole.sum()), 1e-12))


@dataclass(frozen=True)
class Channel:
    """One channel of F(g), the output of F5C for the second frame of every pair.

    Attributes:
        number: 0 to 127.
        share: share of the contributions of all channels, unsigned.
        change: (S, S) how far its values differ from those of the still face, the largest over the pairs.
    """

    number: int
    share: float
    change: Array


def need_captum() -> None:
    """Check that captum is installed.

    Raises:
        InputError: it is not installed.
    """
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise InputError(f"explaining needs captum; {to_install('explain', 'captum')}") from error


def attribute(
    model: MOL,
    crops_TCC: Gray,
    classes: tuple[str, ...],
    target: str,
    *,
    method: Attributor = "integrated",
    temperature: float = 1.0,
) -> Attribution:
    """Attribute the log-odds of a class to places and frames.

    `integrated` is integrated gradients (Sundararajan, Taly, Yan 2017). `held` is occlusion (Zeiler, Fergus 2014) in
    which a patch is held still instead of being covered: how far the log-odds fall when nothing in it moves.

    Args:
        model: with the recognition head.
        crops_TCC: (T, C, C) gray levels, aligned, as the network reads them.
        classes: names of the network's outputs.
        target: one of them.
        method: see above.
        temperature: by which the logits are divided, as the record of the weights says.

    Raises:
        InputError: the class is unknown, or captum is not installed.
    """
    if target not in classes:
        raise InputError(f"the network has no class {target!r}; there are {', '.join(classes)}")
    need_captum()
    from captum.attr import IntegratedGradients, Occlusion

    clip, still = _clips(model, crops_TCC)

    def log_odds(clips: Tensor) -> Tensor:
        return _log_odds(model, clips, classes.index(target), temperature)

    was_training = model.training
    model.eval()
    head_motions = [part for part in model.modules() if isinstance(part, AffineHeadMotion)]
    try:
        for part in head_motions:
            part.differentiable = True
        with torch.no_grad():
            moving, standing = (float(log_odds(c)) for c in (clip, still))
        if method == "integrated":
            places = IntegratedGradients(log_odds).attribute(clip, still, n_steps=STEPS, internal_batch_size=BATCH)
        else:
            frames = clip.shape[1]
            with torch.no_grad():
                places = Occlusion(log_odds).attribute(
                    clip,
                    (frames, 1, PATCH_PX, PATCH_PX),
                    (frames, 1, STRIDE_PX, STRIDE_PX),
                    still,
                    perturbations_per_eval=BATCH,
                )
    finally:
        model.train(was_training)
        for part in head_motions:
            part.differentiable = False
    values = np.asarray(places[0, :, 0].detach().float().cpu().numpy(), np.float32)
    return Attribution(target, method, moving, standing, values)


def strongest_channels(
    model: MOL,
    crops_TCC: Gray,
    classes: tuple[str, ...],
    target: str,
    *,
    most: int = 6,
    temperature: float = 1.0,
) -> tuple[Channel, ...]:
    """The channels of F(g) that contribute most to the log-odds: gradient times change from the still face.

    This covers only what reaches the decision through F5C's features; a network with `motion` also reads motion,
    and one that reads nothing else has no such channels.

    Args:
        model: with the recognition head.
        crops_TCC: (T, C, C) gray levels.
        classes: names of the network's outputs.
        target: one of them.
        most: largest number of channels.
        temperature: see `attribute`.
    """
    if not model.reads_features({"mer"}):
        return ()
    clip, still = _clips(model, crops_TCC)
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept.append(output)

    was_training = model.training
    model.eval()
    handle = model.second.register_forward_hook(keep)
    try:
        (gradient,) = torch.autograd.grad(_log_odds(model, clip, classes.index(target), temperature).sum(), kept[0])
        with torch.no_grad():
            _log_odds(model, still, 0, temperature)
    finally:
        handle.remove()
        model.train(was_training)
    change = kept[0].detach() - kept[1]
    added = (gradient * change).sum((0, 2, 3)).abs()
    shares = added / added.sum().clamp_min(1e-12)
    order = shares.argsort(descending=True)[:most].tolist()
    return tuple(Channel(k, float(shares[k]), change[:, k].abs().amax(0).float().cpu().numpy()) for k in order)


def _clips(model: MOL, crops_TCC: Gray) -> tuple[Tensor, Tensor]:
    """(1, T, 1, C, C) each: the clip as the network reads it, and its first frame standing still."""
    clip = torch.from_numpy(normalized(crops_TCC))[None].to(next(model.parameters()).device)
    return clip, clip[:, :1].expand_as(clip).contiguous()


def _log_odds(model: MOL, clips: Tensor, number: int, temperature: float) -> Tensor:
    """(B,) log-odds of a class against all others together: those of the probability that is given."""
    logits = model(clips, ("mer",)).logits
    assert logits is not None  # noqa: S101  (it was asked for)
    logits = logits / temperature
    others = torch.cat([logits[:, :number], logits[:, number + 1 :]], 1)
    odds: Tensor = logits[:, number] - others.logsumexp(1)
    return odds
