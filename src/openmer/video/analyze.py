"""From a video to a folder with its timeline, tables, overlay and report: the whole video pipeline in one place."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from openmer.clip import Array
from openmer.errors import InputError
from openmer.face.registry import face_model
from openmer.face.track import FaceTracker
from openmer.files import new_directory
from openmer.media.reader import MAX_FPS, MIN_FPS, Frame, VideoReader
from openmer.media.writer import VideoWriter
from openmer.models.engine import Engine
from openmer.progress import ProgressCallback, progress
from openmer.threads import ahead, cores, read_ahead
from openmer.timeline import Interval, Timeline
from openmer.video.frame import FrameAnalyzer, Light
from openmer.video.measurements import Measurements, measurements_of, row_of
from openmer.video.overlay import FlowCache, Image, OverlayPainter
from openmer.video.recognition import Recognition, engine_of
from openmer.video.regions import MotionMeter
from openmer.video.report import (
    Explainer,
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
    run = _Run(video, settings or AnalyzeSettings(), console or Console(quiet=True), watch)
    reader = run.reader
    if Path(video).resolve().is_relative_to(Path(out).resolve()):
        raise InputError(f"{video} lies inside {out}, which the result would replace; choose another --out")
    engine, threshold = engine_of(run.settings, run.settings.runtime)
    settings = replace(run.settings, expression_threshold=threshold)
    with new_directory(Path(out), overwrite=overwrite, marker=MARKER, own=RESULT_FILES) as folder:
        flows = FlowCache(folder / "flow.cache") if settings.overlay else None
        try:
            measured, recognition = _measure(run, engine, flows)
            intervals = judged(spot(measured.signals, settings.spotting), recognition, threshold)
            timeline = build_timeline(intervals, measured, recognition, _notes(reader), asdict(settings))
            for warning in timeline.provenance["warnings"]:
                run.console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
            asked = [_asked(moment, timeline) for moment in asked_s]
            moments = choose_moments(timeline, measured, 0 if engine is None else engine.frames, asked)
            pictures = MomentPictures(moments, engine, explainer)
            if flows is not None:
                painter = OverlayPainter(reader.info.width, reader.info.height, measured, timeline, recognition)
                _draw(run, painter, measured, pictures, flows, folder / "overlay.mp4")
            elif moments:
                _collect(run, pictures, max(m.last_frame for m in moments), len(measured.frames))
        finally:
            if flows is not None:
                flows.close()
        write_tables(folder, timeline, measured, recognition)
        rows: tuple[MomentRow, ...] = ()
        if len(pictures):
            what = "Key moments" if explainer is None else "Explaining"
            with run.progress(what, len(pictures), "moments/s") as step:
                rows = pictures.rows(step, threads=run.threads if explainer is None else 0)
        if explainer is not None:
            (folder / EXPLANATIONS).write_text(_explanations(rows, timeline) + "\n")
        write_report(folder / "report.html", measured, timeline, rows, overlay=settings.overlay)
    return Analysis(timeline, measured, rows)


class _Run:
    """What all steps of one analysis share."""

    def __init__(
        self, video: Path | str, settings: AnalyzeSettings, console: Console, watch: ProgressCallback | None
    ) -> None:
        self.reader = VideoReader(
            Path(video), fps=settings.fps, start_s=settings.start_s, end_s=settings.end_s, stream=settings.stream
        )
        self.settings = settings
        self.console = console
        workers = settings.workers or cores()
        self.threads = workers if workers > 1 else 0
        self._watch = watch

    @property
    def frames(self) -> Iterator[Frame]:
        """The frames of the video, read ahead in a thread of their own."""
        return read_ahead(self.reader, threads=min(1, self.threads))

    def progress(
        self, what: str, total: int | None, unit: str = "frames/s"
    ) -> AbstractContextManager[Callable[..., None]]:
        """A bar for one step."""
        return progress(self.console, what, total, unit, watch=self._watch)


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


def _measure(run: _Run, engine: Engine | None, flows: FlowCache | None) -> tuple[Measurements, Recognition | None]:
    """The first pass over the video: what is measured in every frame, and what the network says."""
    settings, reader = run.settings, run.reader
    tracker = FaceTracker(face_model(settings.face, settings.predictor))
    meter = MotionMeter(settings.flow, settings.align)
    network = None
    if engine is not None:
        network = BatchNetwork(engine, reader.info.clock.real_fps, reader.expected_frames)
    try:
        with run.progress("Measuring", reader.expected_frames) as step:
            analyzer = FrameAnalyzer(tracker, meter, network)
            measured = measure(run.frames, analyzer, flows, step, threads=min(1, run.threads))
        return measured, None if network is None else network.finish()
    finally:
        if network is not None:
            network.close()


def measure(
    frames: Iterable[Frame],
    analyzer: FrameAnalyzer,
    flows: FlowCache | None = None,
    on_frame: Callable[[], None] = lambda: None,
    *,
    threads: int = 0,
) -> Measurements:
    """Measure all frames, one at a time.

    Args:
        frames: gray or color.
        analyzer: one step of the analysis.
        flows: keeps the flow of every frame for drawing.
        on_frame: called after each frame.
        threads: 1 looks for faces ahead of the rest, in a thread of its own; 0 does everything here.

    Raises:
        InputError: fewer than two frames, no camera's frame rate, or no face in any.
    """
    rows, light = [], Light()
    with closing(ahead(frames, analyzer.locate, threads=threads)) as located_frames:
        for located in located_frames:
            result = analyzer.measure(located)
            if result.face is None:
                light.add(located.gray)
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
            f"the video states {1 / measured.step_s:.3g} frames a second, which no camera records; give the rate of "
            "the recording with --fps"
        )
    if not measured.with_face.any():
        raise InputError(
            f"no face was found in any of {len(rows)} frames; an upright frontal face of at least a sixteenth of the "
            f"picture's longer side is needed, not too blurred or compressed{light.words()}"
        )
    return measured


def _draw(
    run: _Run,
    painter: OverlayPainter,
    measured: Measurements,
    pictures: MomentPictures,
    flows: FlowCache,
    path: Path,
) -> None:
    """The second pass over the video, with an overlay: drawing, and key frames for the report."""
    times = measured.signals.times_s
    rate = Fraction(1 / measured.step_s).limit_denominator(1001)
    rate = min(max(rate, Fraction(1)), Fraction(1000))  # what containers can store; the frames' own times count

    def rows() -> Iterator[tuple[int, Frame, Array]]:
        for row, frame in zip(range(len(times)), run.frames, strict=False):
            pictures.add(frame.index, frame.image)
            yield row, frame, flows.read(row)

    def paint(item: tuple[int, Frame, Array]) -> Image:
        row, frame, flow = item
        return painter.paint(row, frame.image, flow)

    with (
        VideoWriter(path, *painter.size, rate) as writer,
        run.progress("Drawing", len(times)) as step,
        closing(ahead(rows(), paint, threads=run.threads)) as drawn,
    ):
        for row, picture in enumerate(drawn):
            writer.write(picture, float(times[row] - times[0]))
            step()


def _collect(run: _Run, pictures: MomentPictures, last: int, total: int) -> None:
    """The second pass over the video, without an overlay: key frames for the report."""
    with run.progress("Key frames", total) as step:
        for frame in run.frames:
            pictures.add(frame.index, frame.image)
            step()
            if frame.index >= last:
                break


def _notes(reader: VideoReader) -> SourceNotes:
    warnings = [f"While reading: {problem}." for problem in reader.problems]
    name = reader.info.source.name.encode(errors="replace").decode()
    return SourceNotes(name, warnings, clock=reader.info.clock)
