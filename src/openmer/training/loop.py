"""The training loop: set up once, then one loop to read from top to bottom.

Lightning Fabric places the model on devices, sets the precision and coordinates several GPUs; everything else is here.
A run is a folder (`training/run.py`).

A run that was stopped continues from its checkpoint as if it had never stopped: batches follow from (seed, step), and
the random state of dropout is saved.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor, nn

from openmer.clips.store import digest_of
from openmer.errors import InputError, OutputError
from openmer.models.baselines import SVM_FILE, ConstantGuesser, FlowSVM
from openmer.models.config import Head
from openmer.models.mol import MOL
from openmer.models.weights import read_record
from openmer.progress import progress
from openmer.training.data import Batch, ClipData
from openmer.training.encoded import EncodedClips, FeatureHeads
from openmer.training.kernel import with_kernel
from openmer.training.losses import total_loss
from openmer.training.network import make_model
from openmer.training.run import Run, Validate
from openmer.training.settings import LossSettings, TrainSettings

if TYPE_CHECKING:
    from lightning.fabric import Fabric

MAX_TIMES = 4  # a clip may be in a batch: more would teach nothing, and 16 clips of MOL take some 4 GB


@dataclass(frozen=True)
class Devices:
    """Where a network is trained, in the terms of Fabric.

    Attributes:
        accelerator: `cpu`, `cuda` or `auto`.
        devices: how many, or which.
    """

    accelerator: str = "auto"
    devices: int | list[int] | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.devices, int) and self.devices < 1 and self.devices != -1:
            raise InputError(f"--devices must be at least 1, got {self.devices}")

    @property
    def several(self) -> bool:
        """Whether gradients are joined over devices: then each must know that heads without a loss have none."""
        if self.devices in ("auto", -1):
            return self.accelerator != "cpu" and torch.cuda.device_count() > 1
        return (self.devices if isinstance(self.devices, int) else len(self.devices)) > 1


def train(
    settings: TrainSettings,
    data: ClipData,
    out: Path | None = None,
    *,
    on: Devices = Devices(),
    validate: Validate | None = None,
    trained_on: str = "",
    console: Console | None = None,
    stop_after: int | None = None,
) -> nn.Module:
    """Train, or continue a run that was stopped.

    Args:
        settings: see `TrainSettings`.
        data: clips to learn from.
        out: the run's folder; without one, nothing is written.
        on: where to train.
        validate: returns the scores of a model on other clips; the model with the best `score` among them is kept.
            Called every `validate_every` steps.
        trained_on: what the card of the weights says of their data.
        console: where the progress bar goes.
        stop_after: end early after this many steps of this call, as if the run had been stopped (for tests).

    Returns:
        The network in eval mode, on the CPU.

    Raises:
        InputError: the folder holds a run with other settings or data, a batch holds far more clips than there are or
            fewer than devices, or training diverged.
        OutputError: the folder cannot be written.
    """
    console = console or Console(quiet=True)
    model = make_model(
        settings, data.classes, lambda line: console.print(f"[yellow]{escape(line)}[/]", highlight=False)
    )
    if isinstance(model, ConstantGuesser | FlowSVM):
        return _fitted(model, settings, data, out)
    if settings.kernel:
        run = Run(out, settings, data, _digest(settings, data), main=True)
        return run.close(_compared(model, settings, data, console), trained_on, finished=True)
    fabric = _fabric(settings, data, on)
    learner = _Learner(model, settings, data, fabric)
    run = Run(out, settings, data, _digest(settings, data), main=fabric.is_global_zero)
    start = learner.resume(run)
    fetch = learner.set_up(console)
    last = settings.steps if stop_after is None else min(settings.steps, start + stop_after)
    what = f"Training {settings.model}"
    with (
        closing(_ahead(fetch, range(start, last), _readers(fabric.device, fabric.world_size))) as batches,
        progress(console, what, settings.steps, "steps/s", done=start) as advance,
    ):
        for done, batch in zip(range(start + 1, last + 1), batches, strict=True):
            losses = learner.learn(batch, learning_rate(done - 1, settings))
            note = ""
            logs, saves = (done % every == 0 for every in (settings.log_every, settings.checkpoint_every))
            if logs or saves or done == last:
                values = {name: float(value.detach()) for name, value in losses.items()}
                learner.check_finite(done, values["loss"])
                if logs or done == settings.steps:
                    run.log(done, values)
                    note = " ".join(f"{name} {value:.3f}" for name, value in values.items())
            advance(note)
            if validate is not None and settings.validate_every and done % settings.validate_every == 0:
                run.validated(done, model, validate)
            if saves or done == last:
                run.save(done, model, learner.optimizer)
    return run.close(model.cpu().eval(), trained_on, finished=last == settings.steps)


def _fitted(model: ConstantGuesser | FlowSVM, settings: TrainSettings, data: ClipData, out: Path | None) -> nn.Module:
    """A baseline that is fitted at once; the SVM is written, the constant guesser leaves no folder."""
    labelled = np.flatnonzero(data.labels >= 0)
    labels = torch.from_numpy(data.labels[labelled])
    if isinstance(model, ConstantGuesser):
        return model.fit(labels).eval()
    run = Run(out, settings, data, _digest(settings, data), main=True)
    run.close(model.fit(data.evaluation_batch(labelled).inputs, labels), "", finished=True)
    if out is not None:
        try:
            model.save(out / SVM_FILE)
        except OSError as error:
            raise OutputError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    return model.eval()


def _compared(model: nn.Module, settings: TrainSettings, data: ClipData, console: Console) -> MOL:
    """The network with a classifier that compares clips; it is fitted at once."""
    if not isinstance(model, MOL) or settings.init is None:
        raise TypeError("a classifier that compares clips belongs to MOL, with weights")
    begun = read_record(settings.init)
    seen = begun.known(data.people)
    if seen:
        console.print(
            f"[yellow]{escape(settings.init)} has learned from {len(seen)} of these people[/] "
            f"({escape(', '.join(seen[:3]))}{' ...' if len(seen) > 3 else ''}), so its own opinion does not count",
            highlight=False,
        )
    # Weights that compare clips know no class by themselves.
    knows = not seen and not begun.config.kernel and set(data.classes) <= set(begun.classes)
    with progress(console, "Measuring clips", int((data.labels >= 0).sum()), "clips/s") as step:
        joined, fit = with_kernel(model, data, knows=knows, step=step)
    console.print(
        f"UF1 of people left out while fitting: {fit.uf1:.2f}; the opinion of {escape(settings.init)} counts "
        f"{fit.trust:g} beside the comparison",
        highlight=False,
    )
    return joined


def learning_rate(step: int, settings: TrainSettings) -> float:
    """The learning rate at a step, counted from 0."""
    rise = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    if settings.schedule == "constant":
        return settings.lr * rise
    done = max(0, step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.lr * rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class _Learner:
    """A network with what a step of its training needs: device, optimizer, the heads that have a loss.

    Args:
        model: moved to the device; its optimizer is made after that, so that a checkpoint's state goes there too.
        settings: of the run.
        data: clips to learn from.
        fabric: launched.
    """

    def __init__(self, model: nn.Module, settings: TrainSettings, data: ClipData, fabric: "Fabric") -> None:
        self.model, self._settings, self._data, self._fabric = model.to(fabric.device), settings, data, fabric
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        if not self._parameters:
            raise InputError("everything is frozen, so nothing can be learned")
        self.optimizer = torch.optim.AdamW(self._parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        if isinstance(model, MOL) and model.units is not None and settings.losses.units:
            _check_units(data, model.config.units)
        self._heads = _heads(model, settings.losses)
        self._class_weights = data.class_weights().to(fabric.device) if settings.balance == "weights" else None

    def resume(self, run: Run) -> int:
        """Restore the checkpoint, if there is one; returns the number of steps done."""
        rank = self._fabric.global_rank
        torch.manual_seed(self._settings.seed + 1 + rank)
        start = run.resume(self.model, self.optimizer)
        if (
            start and self._fabric.world_size > 1
        ):  # a checkpoint has one device's random state: others must not share it
            torch.manual_seed(self._settings.seed + 1 + rank + 1_000_003 * start)
        return start

    def set_up(self, console: Console) -> Callable[[int], Batch]:
        """Hand the network to Fabric, encode clips if heads learn from views; returns what makes a step's batch."""
        model, settings, fabric = self.model, self._settings, self._fabric
        part = (fabric.global_rank, fabric.world_size)
        units = model.config.units if isinstance(model, MOL) else ()
        if settings.views and isinstance(model, MOL):
            encoded = _encoded(model, self._data, settings, part, console)
            fabric.barrier()
            self._wrapped, self.optimizer = fabric.setup(FeatureHeads(model), self.optimizer)
            return partial(encoded.training_batch, settings=settings, part=part, units=units)
        self._wrapped, self.optimizer = fabric.setup(model, self.optimizer)
        flow = self._heads is not None and "flow" in self._heads
        return partial(self._data.training_batch, settings=settings, part=part, units=units, flow=flow)

    def learn(self, fetched: Batch, rate: float) -> Mapping[str, Tensor]:
        """One step; returns the losses."""
        batch = fetched.to(self._fabric.device)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._train_mode()
        answer = self._wrapped(batch.inputs) if self._heads is None else self._wrapped(batch.inputs, self._heads)
        losses = total_loss(answer, batch, self._settings.losses, self._class_weights)
        self.optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(losses["loss"])
        if self._settings.clip_norm:
            norm = self._settings.clip_norm
            self._fabric.clip_gradients(self._wrapped, self.optimizer, max_norm=norm, error_if_nonfinite=False)
        self.optimizer.step()
        return losses

    def _train_mode(self) -> None:
        """Train mode, except for what is frozen: its statistics must not change either."""
        self._wrapped.train()
        for child in self.model.children():
            parameters = list(child.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                child.eval()

    def check_finite(self, done: int, loss: float) -> None:
        """Refuse to go on, or to save, once the loss or a weight is not finite."""
        if not math.isfinite(loss) or not all(bool(p.isfinite().all()) for p in self._parameters):
            raise InputError(
                f"training diverged at step {done}: the loss is {loss:.4g}; the last good checkpoint is kept; try a "
                "smaller --lr"
            )


def check_batch(settings: TrainSettings, count: int) -> None:
    """Check that a batch does not hold each of so many clips again and again.

    Raises:
        InputError: it does.
    """
    if settings.batch > MAX_TIMES * count:
        raise InputError(
            f"a batch of {settings.batch} would hold each of the {count} clips more than {MAX_TIMES} times; "
            "choose a smaller --batch"
        )


def _fabric(settings: TrainSettings, data: ClipData, on: Devices) -> "Fabric":
    """Fabric, launched, after checks that the batches suit clips and devices."""
    from lightning.fabric import Fabric  # takes seconds to import

    check_batch(settings, len(data))
    fabric = Fabric(
        accelerator=on.accelerator,
        devices=on.devices,
        precision=settings.precision,  # type: ignore[arg-type]
        strategy="ddp_find_unused_parameters_true" if on.several else "auto",
    )
    fabric.launch()
    if settings.batch < fabric.world_size:
        raise InputError(f"a batch of {settings.batch} leaves some of {fabric.world_size} devices without a clip")
    return fabric


def _digest(settings: TrainSettings, data: ClipData) -> str:
    """Of everything that the run's result depends on."""
    begun = [] if settings.init is None else [read_record(settings.init).sha256]
    clips = [asdict(e) for e in data.entries]
    return digest_of([settings.to_json(), data.store.digest, clips, data.classes, *begun])


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
    encoded = EncodedClips(data, model, settings.transforms, settings.views, _heads(model, settings.losses) or ())
    mine = encoded.missing()[part[0] :: part[1]]
    if mine:
        with progress(console, "Encoding clips", len(mine), "clips/s") as step:
            encoded.fill(mine, step)
    return encoded


def _check_units(data: ClipData, units: tuple[int, ...]) -> None:
    """Check that there is something to learn each action unit from."""
    known = [set(e.units) for e in data.entries if e.units is not None]
    missing = [unit for unit in units if not any(unit in labels for labels in known)]
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
