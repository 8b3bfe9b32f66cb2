"""`openmer simulate`, `data check`, `prepare`, `prepare-simulated`: where clips come from."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.cli.options import options_of
from openmer.datasets.settings import CheckSettings, PrepareSettings, ReadSettings, ReenactedClips, SimulatedClips
from openmer.errors import InputError
from openmer.progress import progress
from openmer.simulator.settings import LONG, SimulateSettings, dataset_settings
from openmer.threads import cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openmer.clip import Sample
    from openmer.datasets.base import Finding
    from openmer.datasets.prepare import Problem

FIXED = ("frames", "fps", "emotions", "shortest_s", "longest_s", "windows", "compressed")  # of training clips
CLIPS = {"": SimulatedClips(), "--reenact": ReenactedClips()}


def simulate(
    out: Path,
    settings: Annotated[dict[str, Any], options_of({"": SimulateSettings(), "--long": LONG})] = {},  # noqa: B006
    long: bool = False,
    processes: int = 0,
    overwrite: bool = False,
) -> None:
    """Make a dataset of simulated micro-expressions with exact flow, landmarks and action units.

    Free to share and to train on (CC0). The same settings give the same files.

    For example:

      openmer simulate --out simulated --subjects 24 --samples 10
      openmer simulate --out happy --subjects 4 --samples 6 --emotions happiness none --fps 100
      openmer simulate --out spotting --long --minutes 2 --subjects 10
      openmer simulate --out as-casme2 --like casme2 --shares dataset

    Args:
        out: The folder to create.
        settings: What is made.
        long: Videos several minutes long with micro- and macro-expressions, blinks and speech, for spotting.
        processes: Worker processes; 0 means one per core.
        overwrite: Replace an existing dataset in OUT.
    """
    from openmer.simulator.generate import generate

    if "minutes" in settings and not long:
        raise InputError("--minutes is the length of long videos: add --long")
    base = LONG if long else SimulateSettings()
    if settings.get("shares") == "dataset" and not long:
        if settings.keys() & {"subjects", "samples", "emotions"}:
            raise InputError(
                "--shares dataset has as many people, and recordings of each emotion, as the dataset: leave out "
                "--subjects, --samples and --emotions, or choose --shares natural"
            )
        base = dataset_settings(settings.get("like", base.like))
    chosen = replace(base, **settings)
    console = Console(stderr=True)
    with progress(console, "Simulating", len(chosen.numbers), "recordings/s") as step:
        count = generate(out, chosen, overwrite=overwrite, processes=processes or cores(), on_sample=step)
    console.print(f"{count} recordings of {chosen.subjects} people in [bold]{escape(str(out))}[/]")


def data(
    action: Annotated[Literal["check"], tyro.conf.Positional, tyro.conf.arg(metavar="check")],
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ROOT")],
    /,
    judged: Annotated[CheckSettings, tyro.conf.arg(name="")] = CheckSettings(),
    read: Annotated[ReadSettings, tyro.conf.arg(name="")] = ReadSettings(),
) -> None:
    """Check whether a licensed dataset is complete, before anything is computed.

    NAME is casme2, samm, smic-hs, smic-vis, smic-nir, casme3, casme-sq, mmew, samm-long, or composite (ROOT then holds
    SMIC HS, CASME II and SAMM). Prints what was found, what is wrong, and which protocols' counts are met. The exit
    code is 0 if the counts of the chosen protocol are met, and 1 if not.

    For example:

      openmer data check casme2 /data/CASME2
      openmer data check samm /data/SAMM --protocol samm-3 --sheet samm.png
      openmer data check composite /data

    Args:
        action: check: count what is there and compare it with the published counts.
        name: Name of the dataset, one of those above.
        root: The folder it was unpacked into, or one up to five levels above (for the workbook: four).
        judged: By what it is judged.
        read: How it is read.
    """
    from openmer.datasets.check import (
        check,
        chosen_protocol,
        default_protocol,
        shorter_than_a_clip,
        write_contact_sheet,
    )
    from openmer.datasets.protocols import protocol
    from openmer.datasets.registry import open_datasets

    rule = judged.protocol or default_protocol(name)
    wanted = None if rule is None else protocol(rule)
    console = Console()
    checked = check(open_datasets(name, root, **vars(read)))
    for dataset, counts in zip(checked.datasets, checked.counts().values(), strict=True):
        labels = ", ".join(f"{label} {count}" for label, count in counts.most_common())
        rows = f"{len(dataset.rows)} rows of annotation"
        if dataset.expected:
            rows += f" (known: {' or '.join(map(str, dataset.expected))})"
        console.print(f"[bold]{dataset.title}[/], {dataset.tree.frames} frames in {escape(str(dataset.tree.root))}")
        console.print(f"  {rows}; {len(dataset)} recordings can be used: {escape(labels)}", highlight=False)
    short = shorter_than_a_clip(checked.samples)
    if short:
        console.print(
            f"  {len(short)} of {len(checked.samples)} have fewer frames than a clip: openmer prepare leaves them out, "
            "or fills them with --interpolation",
            highlight=False,
        )
    _findings(checked.findings, judged.max_listed, console)
    for label, differences in checked.rules.items():
        mark = "[green]met[/]" if not differences else "[yellow]not met[/]"
        alone = " (not comparable with the others)" if protocol(label).comparable else ""
        console.print(f"{label}: {mark}{alone}", highlight=False)
        if wanted is not None and label == wanted.name:
            for line in differences:
                console.print(f"  {escape(line)}", highlight=False)
    if judged.sheet is not None:
        write_contact_sheet(checked.samples, judged.sheet)
        console.print(f"[bold]{escape(str(judged.sheet))}[/]")
    if wanted is not None and chosen_protocol(checked, wanted):
        raise InputError(
            f"the counts of {wanted.name} are not met; docs/data.md says what a complete {name} holds and how to get it"
        )


def _findings(findings: "Sequence[Finding]", max_listed: int, console: Console) -> None:
    from rich.table import Table

    if not findings:
        return
    table = Table("what", "where", "details", title="Findings", title_justify="left")
    for kind in sorted({f.kind for f in findings}):
        of_kind = [f for f in findings if f.kind == kind]
        for finding in of_kind[:max_listed]:
            table.add_row(kind, escape(finding.where), escape(finding.what))
        if len(of_kind) > max_listed:
            table.add_row(kind, f"and {len(of_kind) - max_listed} more", "--max-listed sets how many are listed")
    console.print(table)


def prepare(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ROOT")],
    /,
    out: Path,
    settings: Annotated[PrepareSettings, tyro.conf.arg(name="")] = PrepareSettings(),
    label: Literal["label", "emotion"] = "label",
    read: Annotated[ReadSettings, tyro.conf.arg(name="")] = ReadSettings(),
    export: Literal["none", "ststnet"] = "none",
    processes: int = 0,
) -> None:
    """Turn recordings into aligned clips with landmarks and flow, for training.

    NAME is folder for your own data, with samples.csv (subject, sample, source, fps, label, onset, offset) in ROOT, or
    a licensed dataset as in `openmer data check`. What already exists is not made again, so an interrupted run
    continues. Recordings that cannot be used are listed with the reason; macro-expressions are skipped.

    For example:

      openmer prepare folder my-dataset --out my-store
      openmer prepare casme2 /data/CASME2 --out casme2-store
      openmer prepare composite /data --out composite-store --flow dis
      openmer prepare composite /data --out composite-store --export ststnet

    Args:
        name: Name of the dataset, or folder.
        root: The folder of the dataset.
        out: The store to fill.
        settings: How recordings become clips.
        label: For a folder: the column that holds the class.
        read: How a licensed dataset is read.
        export: Also write onset-apex flow and strain to OUT-ststnet, in the form that STSTNet's and HTNet's own
            programs read.
        processes: Worker processes; 0 means one per core.
    """
    from openmer.datasets.prepare import FILLED, could_be_filled, not_asked_for
    from openmer.datasets.prepare import prepare as run

    console = Console(stderr=True)
    samples = _micro_expressions(name, root, label, read, console)
    workers = processes or cores()
    replaced: list[str] = []
    with progress(console, "Preparing", len(samples), "recordings/s") as step:
        store, problems = run(samples, out, settings, processes=workers, on_sample=step, on_replaced=replaced.append)
    _left_out(problems, console)
    if could_be_filled(problems, settings):
        console.print(FILLED, highlight=False)
    if replaced:
        console.print(
            f"[yellow]made anew[/] since their files or annotation are others than in an earlier run: "
            f"{escape(', '.join(replaced[:5]))}{f' and {len(replaced) - 5} more' if len(replaced) > 5 else ''}; if "
            "these are two datasets of one name, rename a folder and choose another --out",
            highlight=False,
        )
    others = not_asked_for(store, samples)
    if others:
        console.print(
            f"[yellow]still there[/] from an earlier run, not among the recordings now: {escape(', '.join(others[:5]))}"
            f"{f' and {len(others) - 5} more' if len(others) > 5 else ''}; to leave them out, choose another --out",
            highlight=False,
        )
    recordings = len({entry.video for entry in store})
    console.print(f"{len(store)} clips of {recordings} recordings in [bold]{escape(str(out))}[/]")
    unused = {problem.sample.key for problem in problems}
    labels = Counter(s.label or "without a label" for s in samples if s.key not in unused)
    by_label = ", ".join(f"{label} {count}" for label, count in labels.most_common())
    console.print(f"recordings by label: {escape(by_label)}", highlight=False)
    if export == "ststnet":
        from openmer.datasets.export import export_ststnet, three_classes

        total = len(three_classes(name, samples)[1])
        folder = out.resolve().with_name(f"{out.resolve().name}-ststnet")
        if folder.exists():
            console.print(f"{escape(str(folder))} already exists; remove it to have it made again", highlight=False)
            return
        with progress(console, "Exporting", total, "recordings/s") as step:
            lost = export_ststnet(name, samples, folder, settings, processes=workers, on_sample=step)
        _left_out(lost, console)
        console.print(f"images for STSTNet and HTNet in [bold]{escape(str(folder))}[/]")


def _micro_expressions(
    name: str, root: Path, label: Literal["label", "emotion"], read: ReadSettings, console: Console
) -> "tuple[Sample, ...]":
    """The recordings of a folder or of a licensed dataset; prints what was left out and why."""
    from openmer.datasets.folder import FolderDataset
    from openmer.datasets.registry import open_datasets, samples_of

    if name == "folder":
        if read != ReadSettings():
            raise InputError(
                "--frames, --workbook and --no-corrections are for licensed datasets; a folder has its samples.csv"
            )
        return FolderDataset(root, label=label).samples
    if label != "label":
        raise InputError("--label is for a folder; a licensed dataset's classes come from its protocol")
    opened = open_datasets(name, root, **vars(read))
    kinds = Counter(f.kind for dataset in opened for f in dataset.findings)
    if kinds:
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        console.print(f"findings: {counts}; openmer data check {name} lists them", highlight=False)
    samples = samples_of(opened)
    micro = tuple(s for s in samples if s.kind == "micro")
    if len(micro) < len(samples):
        console.print(f"macro-expressions skipped: {len(samples) - len(micro)}")
    return micro


def _left_out(problems: "tuple[Problem, ...]", console: Console) -> None:
    for problem in problems:
        where = f"{problem.sample.subject}/{problem.sample.name}"
        console.print(f"[yellow]left out[/] {escape(where)}: {escape(problem.reason)}", highlight=False)


def prepare_simulated(
    out: Path,
    settings: Annotated[dict[str, Any], options_of(CLIPS, *FIXED)] = {},  # noqa: B006
    reenact: tuple[Path, ...] = (),
    processes: int = 0,
) -> None:
    """Fill a store with clips straight from the simulator, without detection: the training data of the shipped weights.

    With --reenact, the clips show the faces of your own videos and photographs, to which the motion of drawn
    expressions is added: training data from your own camera, without annotation. A video's name is its subject's.

    For example:

      openmer prepare-simulated --out simulated-store --subjects 800
      openmer prepare-simulated --out held-out --subjects 60 --seed 77
      openmer prepare-simulated --out ours --reenact anna.mp4 ben.mp4 carla.jpg --samples 200

    Args:
        out: The store to fill; an interrupted run continues.
        settings: How clips are simulated.
        reenact: Videos or photographs, one person each, whose faces show the expressions.
        processes: Worker processes; 0 means one per core.
    """
    from openmer.datasets.simulated import prepare_simulated as run

    workers = processes or cores()
    console = Console(stderr=True)
    kind = type(CLIPS["--reenact" if reenact else ""])
    foreign = [f"--{name.replace('_', '-')}" for name in settings if not hasattr(kind, name)]
    if foreign:
        verb = "is" if len(foreign) == 1 else "are"
        raise InputError(f"{' and '.join(foreign)} {verb} {'not' if reenact else 'only'} for --reenact")
    if reenact:
        _reenact(out, reenact, ReenactedClips(**settings), workers, console)
        return
    chosen = SimulatedClips(**settings)
    with progress(console, "Simulating", chosen.subjects, "people/s") as step:
        store = run(out, chosen, processes=workers, on_subject=step)
    console.print(f"{len(store)} clips of {chosen.subjects} people in [bold]{escape(str(out))}[/]")


def _reenact(out: Path, sources: tuple[Path, ...], settings: ReenactedClips, workers: int, console: Console) -> None:
    from openmer.datasets.reenacted import prepare_reenacted

    replaced: list[str] = []
    with progress(console, "Re-enacting", len(sources), "videos/s") as step:
        store, left_out = prepare_reenacted(
            out, sources, settings, processes=workers, on_source=step, on_replaced=replaced.append
        )
    if replaced:
        console.print(
            f"[yellow]made anew[/] of other files than before: {escape(', '.join(replaced))}", highlight=False
        )
    for left in left_out:
        console.print(f"[yellow]left out[/] {escape(left.source.name)}: {escape(left.reason)}", highlight=False)
    people = len({entry.person for entry in store})
    console.print(
        f"{len(store)} clips of {people} people in [bold]{escape(str(out))}[/]; the expressions are simulated"
    )
