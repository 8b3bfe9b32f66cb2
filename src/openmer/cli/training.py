"""`openmer train`, `loso`, `report`: from clips to a network and an honest score."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError
from openmer.progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openmer.clips.store import ClipStore
    from openmer.datasets.protocols import Protocol
    from openmer.training.data import ClipData, Kind
    from openmer.training.loop import TrainSettings


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        model: mol, mol-authors, mol-lite, or a baseline: ststnet, off-apexnet, constant; by default mol-lite, or mol
            with --recipe paper.
        recipe: openmer (ours) or paper (the authors': AdamW 1e-4, no schedule, their loss weights).
        without: Ablations: leave out fcc, ccc, flow, landmarks or motion.
        steps: Number of training steps, one batch each.
        batch: Clips per step; by default 16, or 32 with --recipe paper.
        lr: Peak learning rate; by default 1.5e-3, or 1e-4 with --recipe paper.
        warmup: Steps over which the learning rate rises; by default 50, at most a quarter of all; 0 with --recipe
            paper.
        balance: Use classes as they come, weight them in the loss, or sample them with equal chance.
        init: Weights to start from: shipped ones by name, or a .safetensors file.
        init_parts: Parts taken from them: all, backbone, mer, flow, landmarks, units.
        freeze: Parts that stay unchanged: all, backbone, mer, flow, landmarks, units.
        views: With a frozen backbone: encode this many augmented views of each clip once (1 MB each, in the store;
            shared by folds and seeds) and learn from those, which is faster; 0 encodes the clips anew in every step.
        heads: Heads that have a loss.
        pairs: When only flow and landmarks are learned (--heads flow landmarks): use this many pairs of each clip per
            step, so that more clips are seen in the same time; 0 uses all.
        units: Action units that an additional head learns to name, such as 1 2 4 12; needs clips that say which they
            show.
        augment: How clips are augmented: usual crops, flips, adds noise; strong also turns, stretches, sways and blurs.
        precision: Arithmetic precision, in Lightning's terms: 32-true, or bf16-mixed on newer GPUs and CPUs.
        validate_every: Steps between validations on clips held out of training; the best weights are kept.
        checkpoint_every: Steps between checkpoints.
    """

    model: str | None = None
    recipe: Literal["openmer", "paper"] = "openmer"
    without: tuple[Literal["fcc", "ccc", "flow", "landmarks", "motion"], ...] = ()
    steps: int = 1000
    batch: int | None = None
    lr: float | None = None
    warmup: int | None = None
    balance: Literal["none", "weights", "sampler"] = "none"
    init: str | None = None
    init_parts: tuple[str, ...] = ("all",)
    freeze: tuple[str, ...] = ()
    views: int = 0
    heads: tuple[Literal["mer", "flow", "landmarks", "units"], ...] = ("mer", "flow", "landmarks", "units")
    pairs: int = 0
    units: tuple[int, ...] = ()
    augment: Literal["usual", "strong"] = "usual"
    precision: str = "32-true"
    validate_every: int = 0
    checkpoint_every: int = 100

    def settings(self, seed: int) -> "TrainSettings":
        """As the training loop needs them."""
        from openmer.clips.transforms import STRONG
        from openmer.models.config import HEADS
        from openmer.training.loop import BASELINES, PAPER, TrainSettings

        base = PAPER if self.recipe == "paper" else TrainSettings(lr=1.5e-3, batch=16)
        model = self.model or base.model
        if model in BASELINES and (self.without or self.init or self.freeze or self.units):
            raise InputError(f"--without, --init, --freeze and --units are for MOL, not for {model}")
        if model in BASELINES and "mer" not in self.heads:
            raise InputError(f"{model} has no other head than mer; name it in --heads, or leave out --heads")
        if self.freeze and not self.init:
            raise InputError("--freeze keeps parts unchanged, and without --init they are random; add --init")
        silent: dict[str, Any] = dict.fromkeys(set(HEADS) - set(self.heads), 0.0)
        return replace(
            base,
            model=model,
            switches=dict.fromkeys(self.without, False) | ({"units": self.units} if self.units else {}),
            steps=self.steps,
            batch=base.batch if self.batch is None else self.batch,
            lr=base.lr if self.lr is None else self.lr,
            warmup=min(base.warmup, self.steps // 4) if self.warmup is None else self.warmup,
            balance=self.balance,
            init=self.init,
            init_parts=self.init_parts,
            freeze=self.freeze,
            views=self.views,
            pairs=self.pairs,
            losses=replace(base.losses, **silent),
            transforms=STRONG if self.augment == "strong" else base.transforms,
            precision=self.precision,
            validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every,
            seed=seed,
        )


def train(
    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")],
    /,
    out: Path,
    classes: tuple[str, ...] = (),
    seed: int = 0,
    devices: int = 1,
    training: Annotated[Training, tyro.conf.arg(name="")] = Training(),
) -> None:
    """Train a network on a store of clips. To continue an interrupted run, repeat the same command.

    Writes to OUT: run.json, checkpoint.pt, log.csv, tensorboard/, and at the end model.safetensors with model.json.
    To measure how good it is, use `openmer loso`, which holds out every subject once.

    For example:

      openmer prepare-simulated --out simulated-store
      openmer train simulated-store --out runs/lite --steps 900
      openmer train my-store --out runs/tuned --init runs/lite/model.safetensors --init-parts backbone flow --steps 200
      openmer train my-store --out au --init mol-lite --freeze backbone mer flow landmarks --heads units --units 1 4

    Args:
        store: Made by `openmer prepare` or `openmer prepare-simulated`.
        out: The run's folder.
        classes: Labels to learn, in this order; all by default.
        seed: For initial weights, batches and dropout.
        devices: How many GPUs to train on at once, if there are any.
        training: How the network is trained.
    """
    from openmer.models.weights import RUN_WEIGHTS
    from openmer.training.loop import train as run

    settings = training.settings(seed)
    data = _clip_data(store, classes, settings.kind)
    console = Console(stderr=True)
    if settings.validate_every:
        raise InputError("--validate-every is for openmer loso, which holds out subjects of the training side")
    counts = ", ".join(f"{name} {count}" for name, count in data.counts().items())
    console.print(f"clips: {escape(counts)}", highlight=False)
    run(settings, data, out, console=console, devices=devices)
    console.print(f"trained on {len(data)} clips; [bold]{escape(str(out))}[/]")
    if settings.kind == "clip":
        weights = escape(str(out / RUN_WEIGHTS))
        console.print(f"next: openmer analyze VIDEO --out RESULT --engine {weights}", highlight=False, soft_wrap=True)


def loso(
    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")],
    /,
    out: Path,
    classes: tuple[str, ...] = (),
    protocol: str | None = None,
    incomplete: bool = False,
    split: str = "subject",
    seeds: tuple[int, ...] = (0,),
    inner: float = 0.0,
    workers: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    executor: Literal["processes", "ray"] = "processes",
    address: str | None = None,
    training: Annotated[Training, tyro.conf.arg(name="")] = Training(),
) -> None:
    """Evaluate a network honestly: every subject is held out once, and no training ever sees who is held out.

    To continue an interrupted evaluation, repeat the same command: finished folds are kept, and interrupted ones
    continue from their checkpoints. Writes metrics.json, predictions.csv (one row per video) and report.html.

    For example:

      openmer loso my-store --out results/lite --steps 300 --seeds 0 1 2
      openmer loso casme2-store --out results/casme2 --protocol casme2-3 --init mol-lite --steps 200
      openmer loso my-store --out results/head --init mol-lite --freeze backbone --views 4 --heads mer --steps 300
      openmer loso my-store --out results/ststnet --model ststnet --steps 300 --split 5
      openmer loso my-store --out results/ray --executor ray --address auto

    Args:
        store: Made by `openmer prepare` or `openmer prepare-simulated`.
        out: The evaluation's folder.
        classes: Labels to evaluate, in this order; all by default.
        protocol: A protocol of the literature, such as casme2-5, samm-3, composite: sets recordings and classes, checks
            counts.
        incomplete: Continue even if a protocol's counts are not met; the result says so.
        split: subject (LOSO), dataset, or a number of groups of subjects.
        seeds: Repeat everything with each; the report then has means and standard deviations.
        inner: Share of the training subjects on which the best step is chosen; 0 takes the last step.
        workers: Trainings at once; 0 means one per GPU, or one on a CPU.
        device: Where the networks run; auto uses a GPU if there is one.
        executor: Processes on this machine, or a Ray cluster.
        address: Address of the Ray cluster; a local one by default.
        training: How the networks are trained.
    """
    from openmer.evaluation.loso import LosoSettings, run_loso
    from openmer.evaluation.report import write_evaluation

    if address is not None and executor != "ray":
        raise InputError("--address is the address of a Ray cluster: add --executor ray")
    settings = LosoSettings(training=training.settings(seeds[0] if seeds else 0), split=split, seeds=seeds, inner=inner)
    data = _clip_data(store, classes, settings.training.kind, protocol, incomplete)
    console = Console(stderr=True)
    total = len(settings.folds(data)) * len(seeds)
    with progress(console, "Folds", total, "folds/s") as step:
        metrics = run_loso(
            data.store,
            data,
            settings,
            out,
            executor=executor,
            address=address,
            workers=workers,
            device=device,
            protocol=_said_of(protocol, data),
            on_fold=lambda name: step(name),
        )
    page = write_evaluation(out)
    scores = ", ".join(f"{name} {value['mean']:.3f}" for name, value in metrics["scores"].items())
    console.print(
        f"{metrics['videos']} videos of {metrics['subjects']} subjects: {scores}; [bold]{escape(str(page))}[/]"
    )


def report(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    /,
    weights: str | None = None,
    store: Path | None = None,
) -> None:
    """Write the report of a finished `openmer loso` again, optionally with a network's flow and landmarks.

    For example:

      openmer report results/lite
      openmer report results/lite --weights runs/lite/model.safetensors --store held-out

    Args:
        folder: The folder that `openmer loso` wrote.
        weights: The network whose flow and landmarks to show.
        store: Clips to show them on, of people that the weights have not seen.
    """
    from openmer.evaluation.report import write_evaluation
    from openmer.evaluation.splits import check_unseen
    from openmer.models.weights import load_model, read_record

    if (weights is None) != (store is None):
        raise InputError("--weights and --store belong together")
    model = None if weights is None else load_model(weights)
    data = None if store is None else _clip_data(store, (), "clip")
    about = ""
    if weights is not None and data is not None:
        record = read_record(weights)
        check_unseen(record, weights, data.people)
        seen = "whom it has not seen" if record.people is not None else "whom it may have seen: its record does not say"
        about = (
            f"Of the network {Path(weights).name}, which was trained on {record.trained_on}, on clips of {store} with "
            f"people {seen}. It is none of the networks that are judged above."
        )
    page = write_evaluation(folder, model=model, data=data, about=about)
    Console(stderr=True).print(f"[bold]{escape(str(page))}[/]")


def _clip_data(
    store: Path, classes: tuple[str, ...], kind: "Kind", protocol: str | None = None, incomplete: bool = False
) -> "ClipData":
    """The labelled clips of a store; by default all labels are classes, or else those of a protocol."""
    from openmer.clips.store import ClipStore
    from openmer.training.data import ClipData

    found = ClipStore(store)
    if not found.finished:
        raise InputError(
            f"{store} is incomplete: it is still being prepared, or its preparation was interrupted. Repeat the same "
            "command that made it: it continues where it stopped"
        )
    if protocol is not None:
        if classes:
            raise InputError("a protocol sets its own classes: leave out --classes")
        return _protocol_data(found, protocol, kind, incomplete)
    there = sorted({e.label for e in found if e.label is not None})
    missing = sorted(set(classes) - set(there))
    if missing:
        raise InputError(f"no clip in {store} is labelled {', '.join(missing)}; labels: {', '.join(there)}")
    chosen = classes or tuple(there)
    if len(chosen) < 2:
        raise InputError(f"at least two classes are needed, {store} has {', '.join(there) or 'no labels'}")
    return ClipData(found, [e for e in found if e.label in chosen], chosen, kind)


def _protocol_data(store: "ClipStore", name: str, kind: "Kind", incomplete: bool) -> "ClipData":
    """Clips with the protocol's labels; counts are of recordings, and must be met."""
    from openmer.datasets.protocols import protocol
    from openmer.training.data import ClipData

    rule = protocol(name)
    labels = {e.video: rule.label(e.dataset, e.subject, e.sample, e.label) for e in store}
    differences = _differences(rule, labels)
    if differences and not incomplete:
        shown = "; ".join(differences[:8]) + (f"; and {len(differences) - 8} more" if len(differences) > 8 else "")
        raise InputError(
            f"{store.root} does not hold what {name} needs: {shown}. Check with openmer data check, or continue with "
            "--incomplete; the result is then not comparable with others"
        )
    entries = [replace(e, label=labels[e.video]) for e in store if labels[e.video] is not None]
    if not entries:
        raise InputError(f"no recording in {store.root} belongs to {name}, which is for {', '.join(rule.mapping)}")
    return ClipData(store, entries, rule.classes, kind)


def _differences(rule: "Protocol", labels: "Mapping[tuple[str, str, str], str | None]") -> tuple[str, ...]:
    """What differs from a protocol's counts, from the labels of recordings."""
    return rule.differences([(d, subject, label) for (d, subject, _), label in labels.items() if label is not None])


def _said_of(name: str | None, data: "ClipData") -> dict[str, Any] | None:
    """What a result says about its protocol."""
    from openmer.datasets.protocols import protocol

    if name is None:
        return None
    rule = protocol(name)
    return {
        "name": rule.name,
        "source": rule.source,
        "not_comparable": rule.comparable,
        "differences": list(_differences(rule, {e.video: e.label for e in data.entries})),
    }
