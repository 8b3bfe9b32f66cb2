"""`openmer train`, `loso`, `report`: from clips to a network and an honest score."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.cli.options import options_of
from openmer.errors import InputError
from openmer.evaluation.settings import LosoSettings, Workers
from openmer.models.config import HEADS, Head
from openmer.progress import progress
from openmer.training.settings import BASELINES, RECIPES, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openmer.clips.store import ClipStore
    from openmer.datasets.protocols import Protocol
    from openmer.training.data import ClipData
    from openmer.training.settings import Kind

BASES = {f"--recipe {name}": base for name, base in RECIPES.items()}
OTHERWISE_GIVEN = ("switches", "losses", "transforms")  # by the short forms


@dataclass(frozen=True)
class ShortForms:
    """Short forms of settings that hold more than a word.

    Attributes:
        recipe: openmer (ours), paper (the authors': AdamW 1e-4, no schedule, their loss weights), few (for some
            hundred clips: compares their motion, as mol-lite measures it, in closed form), or mol (recognition and
            action units of mol, from raw frames, for thousands of clips).
        without: Ablations: leave out fcc, ccc, flow, landmarks or motion. The recognition of mol-lite reads motion
            alone, so fcc and ccc change only its flow and landmarks.
        heads: Heads that have a loss.
        units: Action units that an additional head learns to name, such as 1 2 4 12; needs clips that say which they
            show.
        augment: How clips are augmented: the recipe's way; crop only crops and flips; noise also adds noise and
            flicker; strong also turns, zooms, sways, blurs.
    """

    recipe: Literal["openmer", "paper", "few", "mol"] = "openmer"
    without: tuple[Literal["fcc", "ccc", "flow", "landmarks", "motion"], ...] = ()
    heads: tuple[Head, ...] = HEADS
    units: tuple[int, ...] = ()
    augment: Literal["default", "crop", "noise", "strong"] = "default"

    def applied(self, given: "Mapping[str, Any]") -> TrainSettings:
        """The settings of the recipe, with what was given on the command line."""
        from openmer.clips.transforms import CROP, STRONG, TRAIN

        base = RECIPES[self.recipe]
        model = given.get("model", base.model)
        if model in BASELINES and (self.without or self.units or given.get("init") or given.get("freeze")):
            raise InputError(f"--without, --init, --freeze and --units are for MOL, not for {model}")
        if model in BASELINES and "mer" not in self.heads:
            raise InputError(f"{model} has no other head than mer; name it in --heads, or leave out --heads")
        if given.get("freeze") and not given.get("init"):
            raise InputError("--freeze keeps parts unchanged, and without --init they are random; add --init")
        switches: dict[str, Any] = {**base.switches, **dict.fromkeys(self.without, False)}
        if self.units:
            switches["units"] = self.units
        augmented = {"default": base.transforms, "crop": CROP, "noise": TRAIN, "strong": STRONG}
        silent: dict[str, Any] = {head: 0.0 for head in HEADS if head not in self.heads}
        short = {
            "switches": switches,
            "warmup": min(base.warmup, given.get("steps", base.steps) // 4),
            "losses": replace(base.losses, **silent),
            "transforms": augmented[self.augment],
        }
        chosen = replace(base, **{**short, **given})
        ignored = sorted(set(given) - {"model", "steps", "init", "kernel", "seed"})
        ignored += ["augment"] * (self.augment != "default") + ["heads"] * (set(self.heads) != set(ShortForms.heads))
        if chosen.kernel and ignored:
            option = ignored[0].replace("_", "-")
            raise InputError(
                f"a classifier that compares clips is fitted in closed form, and --{option} is for learning in steps: "
                "leave it out, or add --no-kernel --steps 300"
            )
        return chosen


@dataclass(frozen=True)
class Judged:
    """Which clips of a store count, and as what.

    Attributes:
        classes: Labels that count, in this order; all by default.
        protocol: A protocol of the literature, such as casme2-5, samm-3, composite: sets recordings and classes, checks
            counts.
        incomplete: Continue even if a protocol's counts are not met; the result says so.
    """

    classes: tuple[str, ...] = ()
    protocol: str | None = None
    incomplete: bool = False

    def __post_init__(self) -> None:
        if self.protocol is not None and self.classes:
            raise InputError("a protocol sets its own classes: leave out --classes")


def train(
    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")],
    /,
    out: Path,
    judged: Annotated[Judged, tyro.conf.arg(name="")] = Judged(),
    devices: int = 1,
    short: Annotated[ShortForms, tyro.conf.arg(name="")] = ShortForms(),
    settings: Annotated[dict[str, Any], options_of(BASES, *OTHERWISE_GIVEN, "validate_every")] = {},  # noqa: B006
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
        judged: Which clips it learns from.
        devices: How many GPUs to train on at once, if there are any.
        short: Short forms.
        settings: How the network is trained.
    """
    from openmer.models.weights import RUN_WEIGHTS
    from openmer.training.loop import Devices
    from openmer.training.loop import train as run

    chosen = short.applied(settings)
    if chosen.model == "constant":
        raise InputError("the constant guesser has nothing to write; openmer loso judges it")
    data = clip_data(store, judged, chosen.kind)
    console = Console(stderr=True)
    counts = ", ".join(f"{name} {count}" for name, count in data.counts().items())
    console.print(f"clips: {escape(counts)}", highlight=False)
    run(chosen, data, out, on=Devices(devices=devices), console=console)
    console.print(f"trained on {len(data)} clips; [bold]{escape(str(out))}[/]")
    if chosen.kind == "clip":
        weights = escape(str(out / RUN_WEIGHTS))
        console.print(f"next: openmer analyze VIDEO --out RESULT --engine {weights}", highlight=False, soft_wrap=True)


def loso(
    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")],
    /,
    out: Path,
    judged: Annotated[Judged, tyro.conf.arg(name="")] = Judged(),
    how: Annotated[dict[str, Any], options_of({"openmer": LosoSettings(training=TrainSettings())}, "training")] = {},  # noqa: B006
    on: Annotated[Workers, tyro.conf.arg(name="")] = Workers(),
    short: Annotated[ShortForms, tyro.conf.arg(name="")] = ShortForms(),
    settings: Annotated[dict[str, Any], options_of(BASES, *OTHERWISE_GIVEN, "seed")] = {},  # noqa: B006
) -> None:
    """Evaluate a network honestly: every subject is held out once, and no training ever sees who is held out.

    To continue an interrupted evaluation, repeat the same command: finished folds are kept, and interrupted ones
    continue from their checkpoints. Writes metrics.json, predictions.csv (one row per video) and report.html.

    For example:

      openmer loso my-store --out results/few --recipe few
      openmer loso my-store --out results/lite --steps 300 --seeds 0 1 2
      openmer loso casme2-store --out results/casme2 --protocol casme2-3 --init mol-lite --steps 200
      openmer loso my-store --out results/head --init mol-lite --freeze backbone --views 4 --heads mer --steps 300
      openmer loso my-store --out results/ststnet --model ststnet --steps 300 --split 5
      openmer loso my-store --out results/ray --executor ray --address auto

    Args:
        store: Made by `openmer prepare` or `openmer prepare-simulated`.
        out: The evaluation's folder.
        judged: Which clips are evaluated.
        how: How the network is evaluated.
        on: Where folds are trained.
        short: Short forms.
        settings: How the networks are trained.
    """
    from openmer.evaluation.loso import run_loso
    from openmer.evaluation.report import write_evaluation

    chosen = LosoSettings(training=short.applied(settings), **how)
    data = clip_data(store, judged, chosen.training.kind)
    console = Console(stderr=True)
    total = len(chosen.folds(data)) * len(chosen.seeds)
    with progress(console, "Folds", total, "folds/s") as step:
        about = _about(judged.protocol, data)
        metrics = run_loso(
            data,
            chosen,
            out,
            on=on,
            protocol=about,
            on_fold=lambda name: step(name, 0.0),
            on_part=lambda amount: step("", amount),
        )
    page = write_evaluation(out)
    scores = ", ".join(f"{name} {value['mean']:.3f}" for name, value in metrics["scores"].items())
    console.print(
        f"{metrics['videos']} videos of {metrics['subjects']} subjects: {scores}; [bold]{escape(str(page))}[/]"
    )
    if about is not None and about["differences"]:
        console.print(
            f"[yellow]not comparable:[/] the store does not hold what {judged.protocol} needs; the report lists the "
            f"{len(about['differences'])} counts that differ",
            highlight=False,
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
    data = None if store is None else clip_data(store, Judged(), "clip")
    about = ""
    if weights is not None and data is not None:
        record = read_record(weights)
        check_unseen(record, weights, data.people)
        known = (
            "who were not in its training data"
            if record.people is not None
            else "who may have been in its training data: its record does not name them"
        )
        about = (
            f"Of the network {Path(weights).name}, which was trained on {record.trained_on}, on clips of {store} with "
            f"people {known}. It is not one of the networks evaluated above."
        )
    page = write_evaluation(folder, model=model, data=data, about=about)
    Console(stderr=True).print(f"[bold]{escape(str(page))}[/]")


def clip_data(store: Path, judged: Judged, kind: "Kind") -> "ClipData":
    """The labelled clips of a store; by default all labels are classes, or else those of a protocol."""
    from openmer.clips.store import ClipStore
    from openmer.training.data import ClipData

    clips = ClipStore(store)
    if not clips.finished:
        raise InputError(
            f"{store} is incomplete: it is still being prepared, or its preparation was interrupted. Repeat the same "
            "command that made it: it continues where it stopped"
        )
    if judged.protocol is not None:
        return _protocol_data(clips, judged.protocol, kind, judged.incomplete)
    of_dataset: dict[str, set[str]] = {}
    for entry in clips:
        if entry.label is not None:
            of_dataset.setdefault(entry.dataset, set()).add(entry.label)
    labels = sorted(set().union(*of_dataset.values()))
    apart = [name for name, own in of_dataset.items() if own != set(labels)]
    if apart and not judged.classes:
        told = "; ".join(f"{name}: {', '.join(sorted(own))}" for name, own in of_dataset.items())
        raise InputError(
            f"the datasets in {store} have different labels ({told}), and what one calls differently would be another "
            "class, which the camera gives away; use --protocol, such as composite, or name --classes"
        )
    missing = sorted(set(judged.classes) - set(labels))
    if missing:
        raise InputError(f"no clip in {store} is labelled {', '.join(missing)}; labels: {', '.join(labels)}")
    chosen = judged.classes or tuple(labels)
    if len(chosen) < 2:
        raise InputError(f"at least two classes are needed, {store} has {', '.join(labels) or 'no labels'}")
    return ClipData(clips, [e for e in clips if e.label in chosen], chosen, kind)


def _protocol_data(store: "ClipStore", name: str, kind: "Kind", incomplete: bool) -> "ClipData":
    """Clips with the protocol's labels; counts are of recordings, and must be met."""
    from openmer.datasets.protocols import protocol
    from openmer.training.data import ClipData

    rule = protocol(name)
    labels = {e.video: rule.label(e.dataset, e.subject, e.sample, e.label) for e in store}
    differences = _differences(rule, labels)
    if differences and not incomplete:
        named = "; ".join(differences[:8]) + (f"; and {len(differences) - 8} more" if len(differences) > 8 else "")
        raise InputError(
            f"{store.root} does not hold what {name} needs: {named}. Check with openmer data check, or continue with "
            "--incomplete; the result is then not comparable with others"
        )
    entries = [replace(e, label=labels[e.video]) for e in store if labels[e.video] is not None]
    if not entries:
        raise InputError(f"no recording in {store.root} belongs to {name}, which is for {', '.join(rule.mapping)}")
    return ClipData(store, entries, rule.classes, kind)


def _differences(rule: "Protocol", labels: "Mapping[tuple[str, str, str], str | None]") -> tuple[str, ...]:
    """What differs from a protocol's counts, from the labels of recordings."""
    return rule.differences([(d, subject, label) for (d, subject, _), label in labels.items() if label is not None])


def _about(name: str | None, data: "ClipData") -> dict[str, Any] | None:
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
