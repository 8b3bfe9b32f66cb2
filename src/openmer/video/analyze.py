"""From a video to a folder with its timeline, tables, overlay and report: the whole video pipeline in one place."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Literal, overload

import numpy as np
from rich.console import Console
from rich.markup import escape

from openmer.choices import Faces
from openmer.clip import Array
from openmer.errors import InputError, OutputError
from openmer.face.likeness import DlibRecognizer
from openmer.face.people import PeopleTracker
from openmer.face.registry import face_model
from openmer.face.track import FaceTracker
from openmer.files import new_directory
from openmer.media.identity import source_digest
from openmer.media.reader import Frame, VideoReader
from openmer.media.writer import VideoWriter
from openmer.memory import given_back
from openmer.models.engine import Engine
from openmer.progress import ProgressCallback, progress
from openmer.threads import ahead, cores, read_ahead
from openmer.timeline import Interval, Timeline
from openmer.video.frame import FrameAnalyzer
from openmer.video.measure import Measuring, PeopleMeasuring, Person, measure
from openmer.video.measurements import Measurements
from openmer.video.overlay import FlowCache, Image, OverlayPainter
from openmer.video.people import FOLDER, PEOPLE, PeoplePainter, Portraits, write_people, write_people_report
from openmer.video.recognition import engine_of, is_unsure
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
    with_opinions,
    write_tables,
)
from openmer.video.settings import AnalyzeSettings
from openmer.video.spotting import spot
from openmer.video.windows import BatchNetwork

SEARCH_S = 0.5  # between searches of the whole picture for people who are new
ASKED = "asked"  # a moment that the user asked to see, whatever happens in it


@dataclass(frozen=True)
class Analysis:
    """Everything that one analysis found of one person, for callers that show it in another way than the report.

    Attributes:
        timeline: what was found.
        measured: one row per frame.
        moments: the key moments with their pictures.
    """

    timeline: Timeline
    measured: Measurements
    moments: tuple[MomentRow, ...]


@overload
def analyze(
    video: Path | str,
    out: Path | str,
    settings: AnalyzeSettings | None = None,
    *,
    faces: Literal["all"],
    overwrite: bool = False,
    console: Console | None = None,
) -> tuple[Timeline, ...]: ...


@overload
def analyze(
    video: Path | str,
    out: Path | str,
    settings: AnalyzeSettings | None = None,
    *,
    faces: Literal["largest"] | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Timeline: ...


def analyze(
    video: Path | str,
    out: Path | str,
    settings: AnalyzeSettings | None = None,
    *,
    faces: Faces | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Timeline | tuple[Timeline, ...]:
    """Analyse a video and write the results to a new folder.

    Writes `timeline.json`, `timeline.csv`, `frames.csv`, `landmarks.npz`, `report.html`, with a network `windows.csv`
    and `network_flow.csv`, and, unless switched off, `overlay.mp4`. The folder appears complete or not at all.

    With `faces="all"`, everybody who stays (`AnalyzeSettings.stay_s`) is analysed: these files lie in `person-1`,
    `person-2` and so on, numbered by the first appearance, from left to right; the folder itself has `people.json`, one
    `report.html` with who is who, and one `overlay.mp4`.

    Args:
        video: a video file, or a folder of numbered images.
        out: the folder to create.
        settings: see `AnalyzeSettings`.
        faces: `largest` or `all`; by default what the settings say, which is `largest`.
        overwrite: whether an existing result at `out` may be replaced.
        console: where progress and warnings go; by default nowhere.

    Returns:
        What was found: a timeline, or with `all` (here or in the settings) a tuple of timelines, person 1 first.

    Raises:
        InputError: the video cannot be read, has fewer than two frames, or shows no face, or nobody stays.
        OutputError: `out` already exists or cannot be written.
    """
    settings = settings or AnalyzeSettings()
    if faces is not None:
        settings = replace(settings, faces=faces)
    found = run_analyses(video, out, settings, overwrite=overwrite, console=console)
    return tuple(each.timeline for each in found) if settings.faces == "all" else found[0].timeline


def run_analysis(
    video: Path | str,
    out: Path | str,
    settings: AnalyzeSettings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    watch: ProgressCallback | None = None,
    explainer: Explainer | None = None,
) -> Analysis:
    """`run_analyses` of the largest face alone: returns its analysis.

    Raises:
        InputError: as `analyze`, or the settings ask for all faces.
    """
    if settings is not None and settings.faces != "largest":
        raise InputError("several faces have several analyses: use run_analyses, or leave out faces")
    (only,) = run_analyses(video, out, settings, overwrite=overwrite, console=console, watch=watch, explainer=explainer)
    return only


def run_analyses(
    video: Path | str,
    out: Path | str,
    settings: AnalyzeSettings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    watch: ProgressCallback | None = None,
    explainer: Explainer | None = None,
    asked_s: Sequence[float] = (),
) -> tuple[Analysis, ...]:
    """Like `analyze`, but returns the whole result, one for each person, and reports every step to `watch`.

    With an `explainer` (see `openmer.explain`), the report says for each moment where the network's decision comes
    from, and `explanations.json` is written; `asked_s` are moments, in seconds, to show instead of the strongest.
    """
    run = _Run(video, settings or AnalyzeSettings(), console or Console(quiet=True), watch)
    if Path(video).resolve().is_relative_to(Path(out).resolve()):
        raise InputError(f"{video} lies inside {out}, which the result would replace; choose another --out")
    engine, threshold = engine_of(run.settings, run.settings.runtime)
    run.settings = replace(run.settings, expression_threshold=threshold)
    with _new_result(Path(out), overwrite=overwrite) as folder, ExitStack() as kept:
        several = run.settings.faces == "all"
        people, note = (
            _measure_all(run, engine, folder, kept) if several else (_measure_one(run, engine, folder, kept), "")
        )
        subjects = [_judge(run, engine, person, k if several else None) for k, person in enumerate(people, start=1)]
        moments = _moments_of(subjects, asked_s)
        pictures = [MomentPictures(chosen, engine, explainer) for chosen in moments]
        portraits = Portraits([person.measured for person in people]) if several else None
        _second_pass(run, subjects, pictures, portraits, folder / "overlay.mp4")
        kept.close()  # the flows are drawn
        task, total = "Key moments" if explainer is None else "Explaining", sum(map(len, pictures))
        rows: list[tuple[MomentRow, ...]] = [() for _ in subjects]
        if total:
            with run.progress(task, total, "moments/s") as step:
                rows = [each.rows(step, threads=run.threads if explainer is None else 0) for each in pictures]
        for k, (subject, moment_rows) in enumerate(zip(subjects, rows, strict=True), start=1):
            place = folder / FOLDER.format(k) if several else folder
            place.mkdir(exist_ok=True)
            _write(
                place,
                subject,
                moment_rows,
                overlay=run.settings.overlay and not several,
                explained=explainer is not None,
            )
        analyses = tuple(
            Analysis(subject.timeline, subject.person.measured, moment_rows)
            for subject, moment_rows in zip(subjects, rows, strict=True)
        )
        if portraits is not None:
            write_people(folder, [f.timeline for f in analyses], [f.measured for f in analyses], note)
            sections = [(f.measured, f.timeline, f.moments) for f in analyses]
            write_people_report(folder / "report.html", sections, portraits, overlay=run.settings.overlay, note=note)
    return analyses


@contextmanager
def _new_result(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder for a result, of one person or of several."""
    parts = [part.name for part in out.glob("person-*") if part.is_dir()]
    for part in parts:
        foreign = sorted({p.name for p in (out / part).iterdir()} - set(RESULT_FILES))
        if foreign:
            raise OutputError(
                f"{out / part} also holds {', '.join(foreign[:5])}, which this command did not write and would delete; "
                "move it away or choose another --out"
            )
    marker = PEOPLE if (out / PEOPLE).exists() else MARKER
    own = (*RESULT_FILES, PEOPLE, *parts) if marker == PEOPLE else RESULT_FILES
    with new_directory(out, overwrite=overwrite, marker=marker, own=own) as folder:
        yield folder


@dataclass(frozen=True)
class _Subject:
    """One person, and what was found of them."""

    person: Person
    timeline: Timeline


def _judge(run: "_Run", engine: Engine | None, person: Person, number: int | None) -> _Subject:
    settings, recognition = run.settings, person.recognition
    measured = replace(person.measured, spotting=settings.spotting)
    intervals = with_opinions(spot(measured.signals, settings.spotting), recognition, settings.expression_threshold)
    timeline = build_timeline(intervals, measured, recognition, _notes(run, number), asdict(settings))
    whose = "" if number is None else f" person {number}:"
    for warning in timeline.provenance["warnings"]:
        run.console.print(f"[yellow]warning:[/]{whose} {escape(warning)}", highlight=False)
    return _Subject(replace(person, measured=measured), timeline)


def _moments_of(subjects: Sequence[_Subject], asked_s: Sequence[float]) -> list[tuple[KeyMoment, ...]]:
    """The moments to show of each person; those asked for of everybody whose windows contain them.

    Raises:
        InputError: a moment was asked for that is in nobody's window.
    """
    asked: list[list[Interval]] = [[] for _ in subjects]
    for moment in asked_s:
        refused = []
        for subject, own in zip(subjects, asked, strict=True):
            try:
                own.append(_asked(moment, subject))
            except InputError as error:
                refused.append(error)
        if len(refused) == len(subjects):
            raise refused[0]
    return [
        choose_moments(s.timeline, s.person.measured, own) if own or not asked_s else ()
        for s, own in zip(subjects, asked, strict=True)
    ]


def _write(folder: Path, subject: _Subject, rows: tuple[MomentRow, ...], *, overlay: bool, explained: bool) -> None:
    """Write one person's result."""
    measured, timeline = subject.person.measured, subject.timeline
    write_tables(folder, timeline, measured, subject.person.recognition)
    if explained:
        (folder / EXPLANATIONS).write_text(_explanations(rows, timeline) + "\n", encoding="utf-8")
    write_report(folder / "report.html", measured, timeline, rows, overlay=overlay)


def slowdown_of(video: Path | str, settings: AnalyzeSettings) -> float:
    """Seconds of the file that show one second of what was recorded.

    Raises:
        InputError: it cannot be read.
    """
    return VideoReader(Path(video), fps=settings.fps, stream=settings.stream).info.clock.slowdown


class _Run:
    """What all steps of one analysis share."""

    def __init__(
        self, video: Path | str, settings: AnalyzeSettings, console: Console, watch: ProgressCallback | None
    ) -> None:
        self.reader = VideoReader(
            Path(video), fps=settings.fps, start_s=settings.start_s, end_s=settings.end_s, stream=settings.stream
        )
        self.digest = source_digest(Path(video))
        self.settings = settings
        self.console = console
        workers = settings.workers or cores()
        self.threads = workers if workers > 1 else 0
        self._watch = watch

    @property
    def frames(self) -> Iterator[Frame]:
        """The frames of the video, read ahead in a thread of their own."""
        return given_back(read_ahead(self.reader, threads=min(1, self.threads)))

    def progress(
        self, what: str, total: int | None, unit: str = "frames/s"
    ) -> AbstractContextManager[Callable[..., None]]:
        """A bar for one step."""
        return progress(self.console, what, total, unit, watch=self._watch)


def _asked(moment_s: float, subject: _Subject) -> Interval:
    """The network's window around a moment, as an interval to show; its apex is the analysed frame nearest to it.

    Raises:
        InputError: no window contains it.
    """
    timeline, signals = subject.timeline, subject.person.measured.signals
    window = timeline.window_at(moment_s)
    if window is None:
        covered = f"{timeline.windows[0].start_s:.2f} to {timeline.windows[-1].end_s:.2f} s" if timeline.windows else ""
        raise InputError(
            f"the network has no window around {moment_s:g} s"
            + (f"; its windows cover {covered}" if covered else "; it gave no opinion on this video")
        )
    nearest = int(np.abs(signals.times_s - moment_s).argmin())
    return Interval(
        label=ASKED,
        onset_s=window.start_s,
        apex_s=moment_s,
        offset_s=window.end_s,
        onset_frame=window.start_frame,
        apex_frame=int(signals.frames[nearest]),
        offset_frame=window.end_frame,
        probabilities=window.probabilities,
        action_units=window.action_units,
        unsure=None
        if subject.person.recognition is None
        else is_unsure(subject.person.recognition.engine.record, window.probabilities),
    )


def _explanations(rows: Sequence[MomentRow], timeline: Timeline) -> str:
    content = [
        {
            "label": r.interval.label,
            "apex_s": r.interval.apex_s,
            **({} if r.interval.unsure is None else {"unsure": r.interval.unsure}),
            "sentence": r.explained.sentence,
            **r.explained.content,
        }
        for r in rows
        if r.explained is not None
    ]
    about = {k: timeline.provenance[k] for k in ("source", "engine", "trained_on", "openmer", "caution")}
    return json.dumps({"schema": "openmer.explanations/1", **about, "moments": content}, indent=2, allow_nan=False)


def _flows(run: _Run, path: Path, kept: ExitStack, frames: int = 0) -> FlowCache | None:
    """Where the flow is kept for drawing, until all is drawn."""
    if not run.settings.overlay:
        return None
    flows = FlowCache(path, frames)
    kept.callback(flows.close)
    return flows


def _measure_one(run: _Run, engine: Engine | None, folder: Path, kept: ExitStack) -> list[Person]:
    """The first pass over the video, of the largest face."""
    settings, flows = run.settings, _flows(run, folder / "flow.cache", kept)
    tracker = FaceTracker(face_model(settings.face, settings.predictor))
    network = None if engine is None else BatchNetwork(engine)
    try:
        with run.progress("Measuring", run.reader.expected_frames) as step:
            analyzer = FrameAnalyzer(tracker, MotionMeter(settings.flow, settings.align), network)
            measured = measure(run.frames, analyzer, flows, step, threads=min(1, run.threads))
        return [Person(measured, None if network is None else network.finish(), flows)]
    finally:
        if network is not None:
            network.close()


def _measure_all(run: _Run, engine: Engine | None, folder: Path, kept: ExitStack) -> tuple[list[Person], str]:
    """The first pass over the video, of everybody: those who stay, and a sentence on the others."""
    settings = run.settings
    numbers = count()

    def begin(place: int) -> Measuring:
        flows = _flows(run, folder / f"flow-{next(numbers)}.cache", kept, place)
        network = None if engine is None else BatchNetwork(engine)
        return Measuring(MotionMeter(settings.flow, settings.align), network, flows)

    every = max(1, round(SEARCH_S * (run.reader.info.clock.real_fps or 30)))
    tracker = PeopleTracker(
        face_model(settings.face, settings.predictor), DlibRecognizer(), search_every=every, patience=2 * every
    )
    measuring = PeopleMeasuring(tracker, begin, settings.stay_s)
    try:
        with (
            run.progress("Measuring", run.reader.expected_frames) as step,
            closing(ahead(run.frames, measuring.locate, threads=min(1, run.threads))) as located_frames,
        ):
            for located in located_frames:
                measuring.measure(located)
                step()
        stayed, note = measuring.finish()
    finally:
        measuring.close()
    if note:
        run.console.print(f"[yellow]warning:[/] {escape(note)}", highlight=False)
    return stayed, note


def _second_pass(
    run: _Run,
    subjects: Sequence[_Subject],
    pictures: Sequence[MomentPictures],
    portraits: Portraits | None,
    path: Path,
) -> None:
    """The second pass over the video: key frames and portraits for the report, and the overlay if it is drawn."""
    measured = [subject.person.measured for subject in subjects]
    times, last = measured[0].signals.times_s, max((each.last_frame for each in pictures), default=-1)

    def frames() -> Iterator[tuple[int, Frame]]:
        for row, frame in zip(range(len(times)), run.frames, strict=False):
            for each in pictures:
                each.add(frame.index, frame.image)
            if portraits is not None:
                portraits.add(row, frame.image)
            yield row, frame

    if run.settings.overlay:
        _draw(run, subjects, frames(), path)
        return
    if last < 0 and portraits is None:
        return
    with run.progress("Key frames", len(times)) as step:
        for row, frame in frames():
            step()
            if frame.index >= last and (portraits is None or row >= portraits.last):
                break


def _draw(run: _Run, subjects: Sequence[_Subject], frames: Iterable[tuple[int, Frame]], path: Path) -> None:
    """Draw the overlay while the frames pass."""
    info, people = run.reader.info, [subject.person for subject in subjects]
    measured = [person.measured for person in people]
    painters = [
        OverlayPainter(info.width, info.height, s.person.measured, s.timeline, s.person.recognition) for s in subjects
    ]
    several = PeoplePainter(painters, measured) if run.settings.faces == "all" else None
    times = measured[0].signals.times_s
    rate = Fraction(1 / measured[0].step_s).limit_denominator(1001)
    rate = min(max(rate, Fraction(1)), Fraction(1000))  # what containers can store; the frames' own times count

    def rows() -> Iterator[tuple[int, Frame, list[Array]]]:
        for row, frame in frames:
            yield row, frame, [person.flows.read(row) for person in people if person.flows is not None]

    def paint(item: tuple[int, Frame, list[Array]]) -> Image:
        row, frame, flows = item
        if several is not None:
            return several.paint(row, frame.image, flows)
        return painters[0].paint(row, frame.image, flows[0])

    width, height = painters[0].size if several is None else several.size
    with (
        VideoWriter(path, width, height, rate) as writer,
        run.progress("Drawing", len(times)) as step,
        closing(ahead(rows(), paint, threads=run.threads)) as drawn,
    ):
        for row, picture in enumerate(drawn):
            writer.write(picture, float(times[row] - times[0]))
            step()


def _notes(run: _Run, person: int | None = None) -> SourceNotes:
    warnings = [f"While reading: {problem}." for problem in run.reader.problems]
    info = run.reader.info
    name = info.source.name.encode(errors="replace").decode()
    return SourceNotes(name, warnings, clock=info.clock, person=person, digest=run.digest)
