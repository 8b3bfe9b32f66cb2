"""Watch a camera in the terminal, and save what was found: `openmer analyze --live`."""

import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from openmer.errors import InputError
from openmer.files import new_directory
from openmer.media.camera import LiveSource
from openmer.media.reader import Frame
from openmer.timeline import Interval, Timeline
from openmer.video.frame import FrameResult
from openmer.video.live import LiveAnalysis, Moment, moments_of
from openmer.video.measurements import FrameRow, measurements_of, row_of
from openmer.video.regions import REGION_NAMES
from openmer.video.result import MARKER, RESULT_FILES, SourceNotes, build_timeline, write_tables
from openmer.video.settings import StreamSettings

BAR = 24  # characters
FULL_PX = 2.0  # motion that fills a bar
MAX_EVENTS = 8  # newest events on the screen


@dataclass
class _State:
    """What the screen shows and what is written at the end."""

    analysis: LiveAnalysis
    rows: list[FrameRow] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    took: deque[float] = field(default_factory=lambda: deque(maxlen=120))
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=120))
    problem: str | None = None

    def add(self, moment: Moment) -> None:
        """Take what is known after a frame."""
        self.intervals.extend(moment.intervals)
        if moment.is_end:
            return
        result = FrameResult(moment.frame, moment.time_s, moment.face, moment.motion, moment.slowdown, moment.picture)
        self.rows.append(row_of(result))
        self.took.append(moment.work_s)
        self.arrivals.append(perf_counter())

    @property
    def rate(self) -> float:
        """Recent frames per second."""
        passed = self.arrivals[-1] - self.arrivals[0] if len(self.arrivals) > 1 else 0.0
        return (len(self.arrivals) - 1) / passed if passed else 0.0


def watch(
    source: LiveSource,
    out: Path | str,
    settings: StreamSettings | None = None,
    *,
    seconds: float | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Timeline:
    """Watch a live source until it ends, `seconds` have passed, or the user interrupts; then write what was found.

    Writes the timeline and the tables that `analyze` writes, with the same columns. No images are kept. If the source
    fails, or the process is asked to end (SIGTERM), watching ends as with Ctrl-C: what was found until then is written.

    Args:
        source: where frames come from.
        out: the folder to create.
        settings: see `StreamSettings`.
        seconds: time of the source after which to end.
        overwrite: whether an existing result may be replaced.
        console: where to draw the screen; by default nowhere.

    Raises:
        InputError: the source gave nothing at all, or the engine cannot be loaded.
        OutputError: `out` already exists or cannot be written.
    """
    settings = settings or StreamSettings()
    console = console or Console(quiet=True)
    with new_directory(Path(out), overwrite=overwrite, marker=MARKER, own=RESULT_FILES) as folder:
        state = _State(LiveAnalysis(settings, keep=True))
        _run(source, seconds, console, state)
        timeline = _write(folder, source, settings, state)
    for warning in timeline.provenance["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    return timeline


def _run(source: LiveSource, seconds: float | None, console: Console, state: _State) -> None:
    live = Live(console=console, refresh_per_second=8, transient=False)
    with suppress(KeyboardInterrupt), live as screen, _stopped_politely(source):  # only a second Ctrl-C gets here
        for moment in moments_of(_until(source, seconds, state), state.analysis):
            state.add(moment)
            screen.update(_screen(source, state, moment))


def _until(source: LiveSource, seconds: float | None, state: _State) -> Iterator[Frame]:
    """The frames up to and including a moment, or up to where the source fails."""
    try:
        for frame in source:
            yield frame
            if seconds is not None and frame.time_s >= seconds:
                break
    except InputError as error:
        if not state.rows:
            raise
        state.problem = str(error)


@contextmanager
def _stopped_politely(source: LiveSource) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the source, so that the last frames are still processed; a second one aborts."""
    main = threading.current_thread() is threading.main_thread()  # only the main thread may handle signals
    signals = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = [signal.getsignal(each) for each in signals]

    def put_back() -> None:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)

    def stop(*_: object) -> None:
        put_back()
        source.stop()

    for each in signals:
        signal.signal(each, stop)
    try:
        yield
    finally:
        put_back()
        source.stop()


def _screen(source: LiveSource, state: _State, moment: Moment) -> Group:
    """Rate and dropped frames, one bar per region, the network's opinion, the newest events."""
    took = 1000 * float(np.median(state.took))
    lost = f"[red]{source.dropped} dropped[/]" if source.dropped else "none dropped"
    face = "face" if moment.face is not None else "[red]no face[/]"
    head = f"{moment.time_s:7.1f} s  {state.rate:5.1f} frames/s  {took:.0f} ms per frame  {lost}  {face}"
    table = Table(show_header=False, box=None, padding=(0, 1))
    for name, value in zip(REGION_NAMES, moment.regions_px, strict=True):
        size = 0.0 if np.isnan(value) else float(value)
        table.add_row(name, Text("█" * round(BAR * min(1.0, size / FULL_PX)), style="cyan"), f"{size:.2f} px")
    for name, share in (moment.probabilities or {}).items():
        table.add_row(Text(f"p({name})"), Text("█" * round(BAR * share), style="magenta"), f"{share:.2f}")
    events = [_event_line(interval) for interval in state.intervals[-MAX_EVENTS:]]
    return Group(Text.from_markup(head), table, *map(Text, events), Text("Ctrl-C ends and writes the result", "dim"))


def _event_line(interval: Interval) -> str:
    peak = "" if interval.peak_px is None else f", {interval.peak_px:.1f} px"
    return f"{interval.onset_s:7.2f} s  {interval.label}: {', '.join(interval.regions[:3])}{peak}"


def _write(folder: Path, source: LiveSource, settings: StreamSettings, state: _State) -> Timeline:
    if not state.rows:
        raise InputError("the source gave no pictures")
    measured = replace(measurements_of(state.rows), spotting=settings.spotting)
    recognition = state.analysis.recognition
    problems = [f"While reading: {problem}." for problem in source.problems]
    problems += [] if state.problem is None else [f"The source failed: {state.problem}."]
    notes = SourceNotes("live", problems, source.dropped, source.clock)
    settings = replace(settings, expression_threshold=state.analysis.threshold)
    timeline = build_timeline(state.intervals, measured, recognition, notes, asdict(settings))
    write_tables(folder, timeline, measured, recognition)
    return timeline
