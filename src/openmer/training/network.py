"""The network of a run: fresh or begun from other weights, with what is frozen."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from openmer.errors import InputError
from openmer.models.baselines import ConstantGuesser, FlowSVM, OffApexNet, STSTNet
from openmer.models.config import PARTS, PRESETS, belongs_to
from openmer.models.mol import MOLOutput, create_model
from openmer.models.weights import initialise, load_model, read_record
from openmer.training.settings import TrainSettings


class _ReadsFlow(nn.Module):
    """Off-ApexNet reads dx and dy without the strain."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.inner = OffApexNet(num_classes)

    def forward(self, motion_B3HW: Tensor) -> MOLOutput:  # noqa: N803
        """(B, 3, 28, 28)."""
        out: MOLOutput = self.inner(motion_B3HW[:, :2])
        return out


BASELINES: dict[str, Callable[[int], nn.Module]] = {
    "ststnet": STSTNet,
    "off-apexnet": _ReadsFlow,
    "flow-svm": FlowSVM,
    "constant": ConstantGuesser,
}


def make_model(
    settings: TrainSettings, classes: Sequence[str], say: Callable[[str], None] = lambda _: None
) -> nn.Module:
    """A network with fresh weights (after seeding), or with those of `settings.init`.

    Args:
        settings: of the run.
        classes: in the order of the logits.
        say: called with which initial weights could not be used.

    Raises:
        InputError: a switch is unknown, the initial weights do not fit, or what would be frozen is not among them.
    """
    torch.manual_seed(settings.seed)
    if settings.model in BASELINES:
        return BASELINES[settings.model](len(classes))
    begun = None if settings.init is None else read_record(settings.init)
    if begun is not None and begun.config.kernel and not settings.kernel:
        raise InputError(
            f"{settings.init} recognizes by comparing clips with those that it was fitted to, which training in steps "
            "cannot continue; begin with what it began with, such as --init mol-lite"
        )
    kept: dict[str, Any] = {}
    if begun is not None and {"all", "mer"} & set(settings.init_parts):
        whole = all(
            settings.switches.get(part, getattr(PRESETS[settings.model], part)) for part in ("motion", "centered")
        )
        kept["pairwise"] = begun.config.pairwise and whole  # or the initial weights would say something else
    if begun is not None and settings.kernel:
        kept["units"] = begun.config.units  # nothing in it changes
    model = create_model(settings.model, **{**kept, **settings.switches, "num_classes": len(classes)})
    if begun is not None and settings.init is not None:
        names = (classes, begun.classes)
        fresh = initialise(model, load_model(settings.init), settings.init_parts, names)
        _check_frozen(model, settings, fresh)
        if fresh and not settings.kernel:
            say(f"not taken over from {settings.init}, so trained from scratch: {_parts_of(fresh)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not belongs_to(name, settings.freeze))
    return model


def _check_frozen(model: nn.Module, settings: TrainSettings, fresh: Sequence[str]) -> None:
    """Check that what would be frozen comes from the initial weights."""
    unchanged = ("all",) if settings.kernel else settings.freeze
    random = [n for n in model.state_dict() if belongs_to(n, unchanged)]
    random = [n for n in random if n in fresh or not belongs_to(n, settings.init_parts)]
    if settings.kernel or not settings.losses.mer:  # nobody asks what the classifier says of new classes
        random = [n for n in random if ".classify." not in n]
    if random:
        raise InputError(
            f"{settings.init} does not provide everything that stays unchanged, and the rest would stay random: "
            f"{_parts_of(random)} ({', '.join(random[:3])}); do not freeze that, or name it in init_parts"
        )


def _parts_of(names: Sequence[str]) -> str:
    """The `PARTS` that these weights belong to."""
    return ", ".join(part for part in PARTS[1:] if any(belongs_to(name, (part,)) for name in names))
