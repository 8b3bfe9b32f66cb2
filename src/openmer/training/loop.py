"""The training loop: one function to read from top to bottom.

Lightning Fabric places the model on devices, sets the precision and coordinates several GPUs; everything else is here.
A run is a folder (`training/run.py`), to which the weights are added at the end: OUT/model.safetensors, and their
record OUT/model.json.

A run that was stopped continues from its checkpoint as if it had never stopped: batches follow from (seed, step), and
the random state of dropout is saved.
"""

import json
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor, nn

from openmer.clip import SIMULATED
from openmer.clips.store import digest_of
from openmer.clips.transforms import TRAIN, TransformSettings
from openmer.errors import InputError
from openmer.models.baselines import ConstantGuesser, OffApexNet, STSTNet
from openmer.models.config import HEADS, PARTS, PRESETS, Head, belongs_to
from openmer.models.mol import MOL, MOLOutput, create_model
from openmer.models.weights import RUN_WEIGHTS, ModelCard, initialise, load_model, read_record, save_model
from openmer.progress import progress
from openmer.training.data import Balance, Batch, ClipData, Kind
from openmer.training.encoded import ENCODED_HEADS, EncodedClips, FeatureHeads
from openmer.training.losses import LOSSES, LossSettings, total_loss
from openmer.training.run import Run, Validate
from openmer.version import __version__, commit

BASELINES = ("ststnet", "off-apexnet", "constant")
MODELS = (*PRESETS, *BASELINES)
MAX_TIMES = 4  # a clip may be in a batch: more would teach nothing, and 16 clips of MOL take some 4 GB


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Everything a run depends on except its data.

    Attributes:
        model: a preset of MOL, or a baseline.
        switches: attributes of `MOLConfig` that differ from the preset, such as `{"fcc": False}`.
        steps: optimiser steps.
        batch: clips per step, over all devices.
        lr: peak learning rate.
        weight_decay: of AdamW.
        schedule: `constant`, or `cosine` down to 1 % after `warmup` steps of linear rise.
        warmup: steps.
        clip_norm: largest gradient norm; 0 does not clip.
        balance: classes as they come, weighted in the loss, or drawn with equal probability.
        losses: their kinds and weights.
        transforms: how clips are augmented.
        seed: of initial weights, batches and dropout.
        init: weights to start from: the name of shipped ones or a path.
        init_parts: what is taken from them: `all`, `backbone`, or heads.
        freeze: parts that stay as they are.
        views: with a frozen backbone, encode this many augmented views of each clip once, in the store's folder, and
            learn from those; 0 augments and encodes clips anew in each step.
        pairs: if only flow and landmarks, which read pairs, are learned, use this many of a clip's pairs, drawn at
            random: the pairs of a clip hardly differ, so more clips teach more; 0 uses all.
        precision: of Fabric, such as `32-true`, `bf16-mixed`.
        checkpoint_every: steps.
        log_every: steps.
        validate_every: steps between evaluations on the validation clips, if there are any; the best weights are kept.
    """

    model: str = "mol-lite"
    switches: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1000
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = 50
    clip_norm: float = 1.0
    balance: Balance = "none"
    losses: LossSettings = field(default_factory=lambda: LOSSES["openmer"])
    transforms: TransformSettings = TRAIN
    seed: int = 0
    init: str | None = None
    init_parts: tuple[str, ...] = ("all",)
    freeze: tuple[str, ...] = ()
    views: int = 0
    pairs: int = 0
    precision: str = "32-true"
    checkpoint_every: int = 200
    log_every: int = 10
    validate_every: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"there is no model {self.model!r}; choose {', '.join(MODELS)}")
        if self.steps < 1 or self.batch < 1 or self.lr <= 0 or self.checkpoint_every < 1 or self.log_every < 1:
            raise InputError("steps, batch, lr, checkpoint_every and log_every must be above 0")
        if self.warmup < 0:
            raise InputError(f"warmup must not be negative, got {self.warmup}")
        for name, given in (("init_parts", self.init_parts), ("freeze", self.freeze)):
            unknown = [part for part in given if part not in PARTS]
            if unknown:
                raise InputError(f"{name}: there is no part {', '.join(unknown)}; choose {', '.join(PARTS)}")
        if self.views < 0 or self.pairs < 0:
            raise InputError(f"views and pairs must not be negative, got {self.views} and {self.pairs}")
        if self.views:
            self._check_views()
        if self.pairs and (self.losses.mer or (self.switches.get("units") and self.losses.units)):
            raise InputError("some pairs of a clip are enough for flow and landmarks, and for no other head")

    def _check_views(self) -> None:
        """Views hold a frozen backbone's features of clips and no frames: flow would have nothing to read."""
        if not {"all", "backbone"} & set(self.freeze):
            raise InputError(
                "views are encoded once, so the backbone must be frozen; name it in freeze, or leave views at 0"
            )
        others = [h for h in HEADS if h not in ENCODED_HEADS and self.switches.get(h, True) and getattr(self.losses, h)]
        if others:
            raise InputError(
                f"views hold what mer, landmarks and units read, and {', '.join(others)} would have nothing to learn "
                "from: give its loss the weight 0 (--heads mer landmarks), or leave views at 0"
            )

    @property
    def kind(self) -> Kind:
        """What the model reads."""
        return "motion" if self.model in BASELINES else "clip"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


# The authors' recipe [facts from their released code]: AdamW, no schedule, 1,000 steps per fold.
PAPER = TrainSettings(
    model="mol",
    steps=1000,
    batch=32,
    lr=1e-4,
    weight_decay=1e-3,
    schedule="constant",
    warmup=0,
    clip_norm=0.0,
    losses=LOSSES["paper"],
    transforms=TransformSettings(random_crop=True),
)


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
    if settings.model == "ststnet":
        return STSTNet(len(classes))
    if settings.model == "off-apexnet":
        return _ReadsFlow(OffApexNet(len(classes)))
    if settings.model == "constant":
        return ConstantGuesser(len(classes))
    model = create_model(settings.model, **{**settings.switches, "num_classes": len(classes)})
    if settings.init is not None:
        names = (classes, read_record(settings.init).classes)
        fresh = initialise(model, load_model(settings.init), settings.init_parts, names)
        random = [n for n in model.state_dict() if belongs_to(n, settings.freeze)]
        random = [n for n in random if n in fresh or not belongs_to(n, settings.init_parts)]
        if not settings.losses.mer:  # without a loss on classes, the classifier may stay random
            random = [n for n in random if ".classify." not in n]
        if random:
            raise InputError(
                f"{settings.init} does not provide everything to be frozen, and the rest would stay random: "
                f"{_parts_of(random)} ({', '.join(random[:3])}); do not freeze that, or name it in init_parts"
            )
        if fresh:
            say(f"not taken over from {settings.init}, so trained from scratch: {_parts_of(fresh)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not belongs_to(name, settings.freeze))
    return model


def _parts_of(names: Sequence[str]) -> str:
    """The `PARTS` that these weights belong to."""
    return ", ".join(part for part in PARTS[1:] if any(belongs_to(name, (part,)) for name in names))


class _ReadsFlow(nn.Module):
    """Off-ApexNet reads dx and dy without the strain."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, motion_B3HW: Tensor) -> MOLOutput:  # noqa: N803
        """(B, 3, 28, 28)."""
        out: MOLOutput = self.inner(motion_B3HW[:, :2])
        return out


def learning_rate(step: int, settings: TrainSettings) -> float:
    """The learning rate at a step, counted from 0."""
    rise = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    if settings.schedule == "constant":
        return settings.lr * rise
    done = max(0, step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.lr * rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(
    settings: TrainSettings,
    data: ClipData,
    out: Path | None = None,
    *,
    validate: Validate | None = None,
    trained_on: str = "",
    console: Console | None = None,
    devices: int | list[int] | Literal["auto"] = "auto",
    accelerator: str = "auto",
    stop_after: int | None = None,
) -> nn.Module:
    """Train, or continue a run that was stopped.

    Args:
        settings: see `TrainSettings`.
        data: clips to learn from.
        out: the run's folder; without one, nothing is written.
        validate: returns the scores of a model on other clips; the model with the best `score` among them is kept.
            Called every `validate_every` steps.
        trained_on: what the record of the weights says of their data.
        console: where the progress bar goes.
        devices: how many, or which, for Fabric.
        accelerator: `cpu`, `cuda` or `auto`, for Fabric.
        stop_after: end early after this many steps of this call, as if the run had been stopped (for tests).

    Returns:
        The network in eval mode, on the CPU.

    Raises:
        InputError: the folder holds a run with other settings or data, a batch holds far more clips than there are or
            fewer than devices, or training diverged.
        OutputError: the folder cannot be written.
    """
    from lightning.fabric import Fabric  # takes seconds to import

    console = console or Console(quiet=True)
    model = make_model(
        settings, data.classes, lambda line: console.print(f"[yellow]{escape(line)}[/]", highlight=False)
    )
    digest = digest_of(
        [settings.to_json(), data.store.digest, [asdict(e) for e in data.entries], data.classes]
        + ([] if settings.init is None else [read_record(settings.init).sha256])
    )
    if isinstance(model, ConstantGuesser):
        model.fit(torch.from_numpy(data.labels[data.labels >= 0]))
        return _finished(model.eval(), settings, data, out, trained_on)
    if settings.batch > MAX_TIMES * len(data):
        raise InputError(
            f"a batch of {settings.batch} would hold each of the {len(data)} clips more than {MAX_TIMES} times; "
            "choose a smaller --batch"
        )
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        precision=settings.precision,  # type: ignore[arg-type]
        strategy="ddp_find_unused_parameters_true" if _several(devices, accelerator) else "auto",
    )
    fabric.launch()
    if settings.batch < fabric.world_size:
        raise InputError(f"a batch of {settings.batch} leaves some of {fabric.world_size} devices without a clip")
    model.to(fabric.device)  # before a checkpoint is read: the optimiser's state goes where its weights are
    learning = [p for p in model.parameters() if p.requires_grad]
    if not learning:
        raise InputError("everything is frozen, so nothing can be learned")
    optimizer = torch.optim.AdamW(learning, lr=settings.lr, weight_decay=settings.weight_decay)
    if isinstance(model, MOL) and model.units is not None and settings.losses.units:
        _check_units(data, model.config.units)
    run = Run(out, settings, data, digest, main=fabric.is_global_zero)
    torch.manual_seed(settings.seed + 1 + fabric.global_rank)
    start = run.resume(model, optimizer)
    if start and fabric.world_size > 1:  # the checkpoint has the random state of one device; others must not share it
        torch.manual_seed(settings.seed + 1 + fabric.global_rank + 1_000_003 * start)
    part = (fabric.global_rank, fabric.world_size)
    heads = _heads(model, settings.losses)
    units = model.config.units if isinstance(model, MOL) else ()
    reads, encoded = model, None
    if settings.views and isinstance(model, MOL):
        reads, encoded = FeatureHeads(model), _encoded(model, data, settings, part, console)
        fabric.barrier()
    wrapped, optimizer = fabric.setup(reads, optimizer)
    weights = data.class_weights().to(fabric.device) if settings.balance == "weights" else None

    def fetch(step: int) -> Batch:
        if encoded is not None:
            return encoded.training_batch(
                step,
                settings.batch,
                seed=settings.seed,
                balance=settings.balance,
                part=part,
                units=units,
                pairs=settings.pairs,
            )
        return data.training_batch(
            step,
            settings.batch,
            seed=settings.seed,
            balance=settings.balance,
            settings=settings.transforms,
            part=part,
            flow=heads is not None and "flow" in heads,
            units=units,
            pairs=settings.pairs,
        )

    last = settings.steps if stop_after is None else min(settings.steps, start + stop_after)
    what = f"Training {settings.model}"
    with (
        closing(_ahead(fetch, range(start, last), _readers(fabric.device, fabric.world_size))) as batches,
        progress(console, what, settings.steps, "steps/s", done=start) as advance,
    ):
        for step, fetched in zip(range(start, last), batches, strict=True):
            batch = fetched.to(fabric.device)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, settings)
            _learns(wrapped, model)
            answer = wrapped(batch.inputs) if heads is None else wrapped(batch.inputs, heads)
            losses = total_loss(
                answer, batch.labels, batch.flow, batch.landmarks, settings.losses, weights, batch.units
            )
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(losses["loss"])
            if settings.clip_norm:
                fabric.clip_gradients(wrapped, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)
            optimizer.step()
            done = step + 1
            logs, saves = (done % every == 0 for every in (settings.log_every, settings.checkpoint_every))
            if logs or saves or done == last:
                values = {name: float(value.detach()) for name, value in losses.items()}
                if not math.isfinite(values["loss"]) or not all(bool(p.isfinite().all()) for p in learning):
                    raise InputError(
                        f"training diverged at step {done}: the loss is {values['loss']:.4g}; the last good checkpoint "
                        "is kept; try a smaller --lr"
                    )
            if logs or done == settings.steps:
                run.log(done, values)
                advance(" ".join(f"{name} {value:.3f}" for name, value in values.items()))
            else:
                advance()
            if validate is not None and settings.validate_every and done % settings.validate_every == 0:
                run.validated(done, model, validate)
            if saves or done == last:
                run.save(done, model, optimizer)
    run.close()
    model = model.cpu().eval()
    if run.best is not None and last == settings.steps:
        model.load_state_dict(run.best)
    if fabric.is_global_zero and last == settings.steps:
        return _finished(model, settings, data, out, trained_on)
    return model


def _several(devices: int | list[int] | Literal["auto"], accelerator: str) -> bool:
    """Whether gradients are joined over devices: then each must know that heads without a loss have none."""
    if devices in ("auto", -1):
        return accelerator != "cpu" and torch.cuda.device_count() > 1
    return (devices if isinstance(devices, int) else len(devices)) > 1


def _ahead(fetch: Callable[[int], Batch], steps: range, readers: int) -> Generator[Batch, None, None]:
    """The batches of these steps in order, each made by a thread while the network learns from earlier ones."""
    rest = iter(steps)
    with ThreadPoolExecutor(readers) as pool:
        coming = deque(pool.submit(fetch, step) for step in islice(rest, readers))
        try:
            while coming:
                batch = coming.popleft().result()
                coming.extend(pool.submit(fetch, step) for step in islice(rest, 1))
                yield batch
        finally:
            for future in coming:
                future.cancel()


def _readers(device: torch.device, devices: int) -> int:
    """How many threads make batches: on a CPU the network never waits for one; a GPU outpaces a single thread."""
    return 1 if device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) // devices))


def _encoded(
    model: MOL, data: ClipData, settings: TrainSettings, part: tuple[int, int], console: Console
) -> EncodedClips:
    """Views of all clips from the frozen backbone; existing ones are reused."""
    encoded = EncodedClips(data, model, settings.transforms, settings.views)
    mine = encoded.missing()[part[0] :: part[1]]
    if mine:
        with progress(console, "Encoding clips", len(mine), "clips/s") as step:
            encoded.fill(mine, step)
    return encoded


def _check_units(data: ClipData, units: tuple[int, ...]) -> None:
    """Check that there is something to learn each action unit from."""
    known = [set(e.units) for e in data.entries if e.units is not None]
    missing = [unit for unit in units if not any(unit in shown for shown in known)]
    if missing:
        raise InputError(
            f"no clip in {data.store.root} is known to show action unit {', '.join(map(str, missing))}; there are "
            f"{', '.join(map(str, sorted(set().union(*known)))) or 'none: prepare the store again'}"
        )


def _heads(model: nn.Module, losses: LossSettings) -> tuple[Head, ...] | None:
    """The heads that have a loss; None for a baseline."""
    if not isinstance(model, MOL):
        return None
    heads = tuple(head for head in model.heads if getattr(losses, head) > 0)
    if not heads:
        raise InputError("no head of the network has a loss of weight above 0, so there is nothing to learn")
    return heads


def _learns(wrapped: nn.Module, model: nn.Module) -> None:
    """Train mode, except for what is frozen: its statistics must not change either."""
    wrapped.train()
    for child in model.children():
        parameters = list(child.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            child.eval()


def _finished(
    model: nn.Module, settings: TrainSettings, data: ClipData, out: Path | None, trained_on: str
) -> nn.Module:
    """Write the weights; a baseline's stay in the checkpoint."""
    if out is not None and isinstance(model, MOL):
        begun = None if settings.init is None else read_record(settings.init)
        data_said = f"{data.store.settings.get('kind', 'clips')} ({len(data)} clips)"
        if begun is not None:
            data_said += f"; begun from weights trained on {begun.trained_on}"
        save_model(
            model,
            out / RUN_WEIGHTS,
            classes=data.classes,
            trained_on=trained_on or data_said,
            preprocessing=PREPROCESSING,
            notes=f"openmer {__version__}, {commit() or 'no commit known'}, {settings.steps} steps",
            people=_seen(data, begun),
        )
    return model


def _seen(data: ClipData, begun: ModelCard | None) -> tuple[str, ...] | None:
    """Whom the weights have seen, including those seen by the initial weights; None if these do not say."""
    names = {"/".join(person) for person in data.people}
    if data.store.settings.get("kind") == SIMULATED:  # one line per seed, not thousands
        names = {f"{name.rpartition('-')[0]}-*" for name in names}
    if begun is not None:
        if begun.people is None:
            return None
        names |= set(begun.people)
    return tuple(sorted(names))


PREPROCESSING = {
    "crop": "aligned square of 144 px, its middle 128 px, gray",
    "normalisation": "the clip's mean taken away, divided by its standard deviation (at least 8 gray levels)",
    "flow": "(dx, dy) px of the crop, frame k to k+1",
    "landmarks": "(x, y) px of the crop, iBUG 68, frames 2 to T",
}


__all__ = ["BASELINES", "MODELS", "PAPER", "TrainSettings", "make_model", "train"]
