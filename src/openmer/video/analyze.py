"""From a video to a folder with its timeline, tables, overlay and report: the whole video pipeline in one place."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.markup import escape

from openmer.clips.flow import FlowMethod
from openmer.errors import InputError
from openmer.face.align import AlignMode
from openmer.face.track import FaceModelName, FaceTracker, face_model
from openmer.files import new_directory
from openmer.media.reader import VideoReader
from openmer.media.writer import VideoWriter
from openmer.progress import ProgressCallback, progress
from openmer.timeline import Interval, Timeline
from openmer.version import __version__
from openmer.video.measure import FlowCache, Measurements, measure
from openmer.video.overlay import OverlayPainter
from openmer.video.recognition import (
    CAUTION,
    CLASSICAL,
    DEFAULT_ENGINE,
    Engine,
    Recognition,
    Recognizer,
    Runtime,
    load_engine,
    provenance_of,
    reviewed,
    threshold_for,
)
from openmer.video.regions import MotionMeter
from openmer.video.report import (
    Explainer,
    KeyMoment,
    MomentPictures,
    MomentRow,
    choose_moments,
    write_report,
)
from openmer.video.spotting import FEW_FPS, SpottingSettings, largest_step, spot

MARKER = "timeline.json"
EXPLANATIONS = "explanations.json"
OWN = (
    MARKER,
    "timeline.csv",
    "frames.csv",
    "landmarks.npz",
    "windows.csv",
    "network_flow.csv",
    EXPLANATIONS,
    "report.html",
    "overlay.mp4",
)
ASKED = "asked"  # a moment that the user asked to see, whatever happens in it


@dataclass(frozen=True)
class AnalyzeSettings:
    """How a video is analysed.

    Attributes:
        fps: frames per second, for a folder of images or a file without timestamps.
        start_s: first second to analyse.
        end_s: last second to analyse, or None for the end.
        align: one alignment while the head stays in place (`per_clip`), or one per frame (`per_frame`).
        flow: how motion is measured.
        overlay: whether to draw `overlay.mp4`.
        engine: `classical`, the name of weights that come with the package, or the path of a .safetensors or
            .onnx file.
        device: where the network runs: `auto`, `cpu` or `cuda`.
        runtime: `torch`, or `onnx` for onnxruntime (extra `onnx`).
        expression_threshold: a candidate is set aside if the network's probability of all expressions together is below
            this.
        alarms_per_minute: sets `expression_threshold` so that the weights gave at most this many false alarms a minute
            on simulated videos.
        face: who finds the face and its landmarks: `dlib`, or `mesh`, whose weights may be used by everyone.
        predictor: dlib's 68-point predictor; by default the installed one.
        spotting: what counts as a candidate.
    """

    fps: Fraction | None = None
    start_s: float = 0.0
    end_s: float | None = None
    align: AlignMode = "per_clip"
    flow: FlowMethod = "dis"
    overlay: bool = True
    engine: str = DEFAULT_ENGINE
    device: str = "auto"
    runtime: Runtime = "torch"
    expression_threshold: float = 0.5
    alarms_per_minute: float | None = None
    face: FaceModelName = "dlib"
    predictor: Path | None = None
    spotting: SpottingSettings = field(default_factory=SpottingSettings)


@dataclass(frozen=True)
class Analysis:
    """Everything that one analysis found, for callers that show it in another way than the report.

    Attributes:
        timeline: what was found.
        measured: one row per frame.
        moments: the key moments with their pictures.
    """

    timeline: Timeline
    measured: Measurements
    moments: tuple[MomentRow, ...]


def analyze(
    video: Path | str,
    out: Path | str,
    settings: AnalyzeSettings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> Timeline:
    """Analyse a video and write the results to a new folder.

    Writes `timeline.json`, `timeline.csv`, `frames.csv`, `landmarks.npz`, `report.html`, with a network `windows.csv`
    and `network_flow.csv`, and, unless switched off, `overlay.mp4`. The folder appears complete or not at all.

    Args:
        video: a video file, or a folder of numbered images.
        out: the folder to create.
        settings: see `AnalyzeSettings`.
        overwrite: whether an existing result at `out` may be replaced.
        console: where progress and warnings go; by default nowhere.

    Returns:
        What was found.

    Raises:
        InputError: the video cannot be read, has fewer than two frames, or shows no face.
        OutputError: `out` already exists or cannot be written.
    """
    return run_analysis(video, out, settings, overwrite=overwrite, console=console).timeline


def run_analysis(
    video: Path | str,
    out: Path | str,
    settings: AnalyzeSettings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    watch: ProgressCallback | None = None,
    explainer: Explainer | None = None,
    asked_s: Sequence[float] = (),
) -> Analysis:
    """Like `analyze`, but returns the whole result, and reports every step to `watch`.

    With an `explainer` (see `openmer.explain`), the report says for each moment where the network's decision comes
    from, and `explanations.json` is written; `asked_s` are moments, in seconds, to show instead of the strongest.
    """
    settings = settings or AnalyzeSettings()
    console = console or Console(quiet=True)
    reader = VideoReader(Path(video), fps=settings.fps, start_s=settings.start_s, end_s=settings.end_s)
    if Path(video).resolve().is_relative_to(Path(out).resolve()):
        raise InputError(f"{video} lies inside {out}, which the result would replace; choose another --out")
    engine = None if settings.engine == CLASSICAL else load_engine(settings.engine, settings.device, settings.runtime)
    if settings.alarms_per_minute is not None:
        if engine is None:
            raise InputError("--alarms-per-minute needs a network's opinion; the classical engine has none")
        settings = replace(settings, expression_threshold=threshold_for(engine.record, settings.alarms_per_minute))
    with new_directory(Path(out), overwrite=overwrite, marker=MARKER, own=OWN) as folder:
        flows = FlowCache(folder / "flow.cache") if settings.overlay else None
        try:
            measured, recognition = _measure(reader, settings, engine, flows, console, watch)
            timeline = _timeline(reader, measured, recognition, settings)
            for warning in timeline.provenance["warnings"]:
                console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
            asked = [_asked(moment, timeline) for moment in asked_s]
            moments = choose_moments(timeline, measured, 0 if engine is None else engine.frames, asked)
            pictures = MomentPictures(moments, engine, explainer)
            _draw(reader, measured, recognition, timeline, moments, pictures, flows, folder, console, watch)
        finally:
            if flows is not None:
                flows.close()
        (folder / MARKER).write_text(timeline.to_json() + "\n")
        (folder / "timeline.csv").write_text(timeline.to_csv())
        table = measured.table()
        table["time_s"] = table["time_s"].map("{:.6f}".format)  # six significant digits are too few for an hour
        table.to_csv(folder / "frames.csv", index=False, float_format="%.6g")
        if recognition is not None:
            (folder / "windows.csv").write_text(recognition.windows_csv())
            (folder / "network_flow.csv").write_text(recognition.flow_csv())
        measured.save_landmarks(folder / "landmarks.npz", recognition)
        rows: tuple[MomentRow, ...] = ()
        if len(pictures):
            what = "Key moments" if explainer is None else "Explaining"
            with progress(console, what, len(pictures), "moments/s", watch=watch) as step:
                rows = pictures.rows(step)
        if explainer is not None:
            (folder / EXPLANATIONS).write_text(_explanations(rows, timeline) + "\n")
        write_report(folder / "report.html", measured, timeline, rows, overlay=settings.overlay)
    return Analysis(timeline, measured, rows)


def _asked(moment_s: float, timeline: Timeline) -> Interval:
    """The network's window around a moment, as an interval to show.

    Raises:
        InputError: no window contains it.
    """
    window = timeline.window_at(moment_s)
    if window is None:
        covered = f"{timeline.windows[0].start_s:.2f} to {timeline.windows[-1].end_s:.2f} s" if timeline.windows else ""
        raise InputError(
            f"the network has no window around {moment_s:g} s"
            + (f"; its windows cover {covered}" if covered else "; it gave no opinion on this video")
        )
    share = (moment_s - window.start_s) / (window.end_s - window.start_s)
    return Interval(
        label=ASKED,
        onset_s=window.start_s,
        apex_s=moment_s,
        offset_s=window.end_s,
        onset_frame=window.start_frame,
        apex_frame=round(window.start_frame + share * (window.end_frame - window.start_frame)),
        offset_frame=window.end_frame,
        probabilities=window.probabilities,
    )


def _explanations(rows: Sequence[MomentRow], timeline: Timeline) -> str:
    content = [
        {
            "label": r.interval.label,
            "apex_s": r.interval.apex_s,
            "sentence": r.explained.sentence,
            **r.explained.content,
        }
        for r in rows
        if r.explained is not None
    ]
    about = {k: timeline.provenance[k] for k in ("source", "engine", "trained_on", "openmer", "caution")}
    return json.dumps({"schema": "openmer.explanations/1", **about, "moments": content}, indent=2, allow_nan=False)


def _measure(
    reader: VideoReader,
    settings: AnalyzeSettings,
    engine: Engine | None,
    flows: FlowCache | None,
    console: Console,
    watch: ProgressCallback | None,
) -> tuple[Measurements, Recognition | None]:
    tracker = FaceTracker(face_model(settings.face, settings.predictor))
    meter = MotionMeter(settings.flow, settings.align)
    fps = reader.info.fps
    recognizer = None
    if engine is not None:
        recognizer = Recognizer(engine, None if fps is None else float(fps), reader.expected_frames)
    try:
        with progress(console, "Measuring", reader.expected_frames, watch=watch) as step:
            measured = measure(reader, tracker, meter, flows=flows, recognizer=recognizer, on_frame=step)
        return measured, None if recognizer is None else recognizer.finish()
    finally:
        if recognizer is not None:
            recognizer.close()


def _draw(
    reader: VideoReader,
    measured: Measurements,
    recognition: Recognition | None,
    timeline: Timeline,
    moments: Sequence[KeyMoment],
    pictures: MomentPictures,
    flows: FlowCache | None,
    folder: Path,
    console: Console,
    watch: ProgressCallback | None,
) -> None:
    """The second pass over the video: key frames for the report and, if flows were kept, the overlay."""
    if flows is None:
        if moments:
            last = max(m.last_frame for m in moments)
            with progress(console, "Key frames", len(measured.frames), watch=watch) as step:
                for frame in reader:
                    pictures.see(frame.index, frame.image)
                    step()
                    if frame.index >= last:
                        break
        return
    painter = OverlayPainter(reader.info.width, reader.info.height, measured, timeline, recognition)
    times = measured.signals.times_s
    rate = Fraction(1 / float(np.median(np.diff(times)))).limit_denominator(1001)
    rate = min(max(rate, Fraction(1)), Fraction(1000))  # what containers can store; the frames' own times count
    with (
        VideoWriter(folder / "overlay.mp4", *painter.size, rate) as writer,
        progress(console, "Drawing", len(times), watch=watch) as step,
    ):
        for row, frame in zip(range(len(times)), reader, strict=False):
            pictures.see(frame.index, frame.image)
            writer.write(painter.paint(row, frame.image, flows.read(row)), float(times[row] - times[0]))
            step()


def _timeline(
    reader: VideoReader, measured: Measurements, recognition: Recognition | None, settings: AnalyzeSettings
) -> Timeline:
    times = measured.signals.times_s
    intervals = spot(measured.signals, settings.spotting)
    learned = provenance_of(CLASSICAL, None)
    if recognition is not None:
        intervals = tuple(
            reviewed(i, recognition.windows, recognition.engine, settings.expression_threshold) for i in intervals
        )
        learned = provenance_of(recognition.engine.name, recognition.engine.record)
    return Timeline(
        intervals=intervals,
        start_s=float(times[0]),
        end_s=float(times[-1] + np.median(np.diff(times))),  # when the last frame ends
        gaps=measured.gaps(),
        windows=() if recognition is None else recognition.windows,
        provenance={
            "source": reader.info.source.name.encode(errors="replace").decode(),
            "openmer": __version__,
            **learned,
            "caution": CAUTION,
            "warnings": _warnings(reader, measured, recognition),
            "frames_with_face": int(measured.found.sum()),
            "settings": _plain(asdict(settings)),
            "opencv": cv2.__version__,
            "python": platform.python_version(),
        },
    )


def _warnings(reader: VideoReader, measured: Measurements, recognition: Recognition | None) -> list[str]:
    times = measured.signals.times_s
    fps = 1 / float(np.median(np.diff(times)))
    found = []
    if fps < FEW_FPS:
        found.append(
            f"{fps:.3g} frames a second: a micro-expression lasts 1/25 to 1/2 s, so the shortest ones span one or "
            f"two frames here and can be missed; {FEW_FPS} or more are better, the datasets have 200."
        )
    holes = np.diff(times) > largest_step(times)
    if holes.any():
        found.append(
            f"{int(holes.sum())} gaps in time, the longest of {np.diff(times).max():.2f} s: frames are missing there, "
            "and nothing is marked across them."
        )
    scales = [a.scale for a in measured.alignments if a is not None]
    if np.median(scales) > 1.2:
        found.append(
            f"The face is small: it was enlarged {np.median(scales):.1f} times to fill the crop, so motion is "
            "measured less exactly than its pixels suggest."
        )
    seen, total = int(measured.found.sum()), len(measured.found)
    if seen < total:
        few = "Only " if seen < total / 2 else ""
        found.insert(0, f"{few}{seen} of {total} frames could be analysed; in the others no face was found.")
    tracks = len(set(measured.signals.track.tolist()) - {-1})
    if tracks > 1:
        found.append(f"The face was lost and {tracks} tracks were followed; they may be different people.")
    if recognition is not None and recognition.silent is not None:
        found.append(f"The network gives no opinion: {recognition.silent}.")
    kinds = dict.fromkeys(reader.problems)
    found += [f"While reading: {kind} ({reader.problems.count(kind)} times)." for kind in kinds]
    return found


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings in a form that JSON can hold; only the name of a path, since folder names can identify people."""
    plain: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Fraction):
            plain[key] = str(value)
        elif isinstance(value, Path) or key == "engine":
            plain[key] = Path(value).name
        else:
            plain[key] = value
    return plain
