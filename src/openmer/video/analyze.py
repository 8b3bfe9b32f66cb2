"""From a video to a folder with its timeline, tables, overlay and report: the whole video pipeline in one place."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError
from openmer.face.track import FaceTracker, face_model
from openmer.files import new_directory
from openmer.media.reader import MAX_FPS, MIN_FPS, Frame, VideoReader
from openmer.media.writer import VideoWriter
from openmer.models.engine import Engine
from openmer.progress import ProgressCallback, progress
from openmer.timeline import Interval, Timeline
from openmer.video.frame import FrameAnalyzer
from openmer.video.measurements import Measurements, measurements_of, row_of
from openmer.video.overlay import FlowCache, OverlayPainter
from openmer.video.recognition import Recognition, engine_of
from openmer.video.regions import MotionMeter
from openmer.video.report import (
    Explainer,
    KeyMoment,
    MomentPictures,
    MomentRow,
    choose_moments,
    write_report,
)
from openmer.video.result import (
    EXPLANATIONS,
    MARKER,
    RESULT_FILES,
    SourceNotes,
    build_timeline,
    judged,
    write_tables,
)
from openmer.video.settings import AnalyzeSettings
from openmer.video.spotting import spot
from openmer.video.windows import BatchNetwork

ASKED = "asked"  # a moment that the user asked to see, whatever happens in it


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
    engine, threshold = engine_of(settings, settings.runtime)
    settings = replace(settings, expression_threshold=threshold)
    with new_directory(Path(out), overwrite=overwrite, marker=MARKER, own=RESULT_FILES) as folder:
        flows = FlowCache(folder / "flow.cache") if settings.overlay else None
        try:
            measured, recognition = _measure(reader, settings, engine, flows, console, watch)
            intervals = judged(spot(measured.signals, settings.spotting), recognition, settings.expression_threshold)
            timeline = build_timeline(intervals, measured, recognition, _notes(reader), asdict(settings))
            for warning in timeline.provenance["warnings"]:
                console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
            asked = [_asked(moment, timeline) for moment in asked_s]
            moments = choose_moments(timeline, measured, 0 if engine is None else engine.frames, asked)
            pictures = MomentPictures(moments, engine, explainer)
            _draw(reader, measured, recognition, timeline, moments, pictures, flows, folder, console, watch)
        finally:
            if flows is not None:
                flows.close()
        write_tables(folder, timeline, measured, recognition)
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
    """The first pass over the video: what is measured in every frame, and what the network says."""
    tracker = FaceTracker(face_model(settings.face, settings.predictor))
    meter = MotionMeter(settings.flow, settings.align)
    fps = reader.info.fps
    network = None
    if engine is not None:
        network = BatchNetwork(engine, None if fps is None else float(fps), reader.expected_frames)
    try:
        with progress(console, "Measuring", reader.expected_frames, watch=watch) as step:
            measured = measure(reader, FrameAnalyzer(tracker, meter, network), flows, step)
        return measured, None if network is None else network.finish()
    finally:
        if network is not None:
            network.close()


def measure(
    frames: Iterable[Frame],
    analyzer: FrameAnalyzer,
    flows: FlowCache | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Measurements:
    """Measure all frames, one at a time.

    Args:
        frames: gray or color.
        analyzer: one step of the analysis.
        flows: keeps the flow of every frame for drawing.
        on_frame: called after each frame.

    Raises:
        InputError: fewer than two frames, no camera's frame rate, or no face in any.
    """
    rows = []
    for frame in frames:
        result = analyzer.update(frame)
        if flows is not None:
            flows.append(result.motion.flow if result.motion else None)
        rows.append(row_of(result))
        on_frame()
    if len(rows) < 2:
        count = "was 1" if len(rows) == 1 else f"were {len(rows)}"
        raise InputError(f"motion needs at least 2 frames, but there {count} in the part to analyse")
    measured = measurements_of(rows)
    if not 0.99 / MAX_FPS <= measured.step_s <= 1.01 / MIN_FPS:
        raise InputError(
            f"the video states {1 / measured.step_s:.3g} frames a second, which no camera records; give its rate with "
            "--fps"
        )
    if not measured.found.any():
        raise InputError(
            f"no face was found in any of {len(rows)} frames; an upright frontal face of at least a sixteenth of the "
            "picture's longer side is needed, not too blurred or compressed"
        )
    return measured


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


def _notes(reader: VideoReader) -> SourceNotes:
    kinds = dict.fromkeys(reader.problems)
    warnings = [f"While reading: {kind} ({reader.problems.count(kind)} times)." for kind in kinds]
    return SourceNotes(reader.info.source.name.encode(errors="replace").decode(), warnings)
