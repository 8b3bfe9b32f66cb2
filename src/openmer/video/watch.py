"""Watch a camera in the terminal, and save what was found: `openmer analyze --live`."""

import csv
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

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
from openmer.models.weights import ModelCard, read_record
from openmer.timeline import NO_FACE, Interval, Timeline, Window
from openmer.version import __version__
from openmer.video.live import Moment, StreamSettings, stream
from openmer.video.recognition import CAUTION, CLASSICAL, LONGEST_S, provenance_of
from openmer.video.regions import REGION_NAMES
from openmer.video.spotting import FEW_FPS

MARKER = "timeline.json"
OWN = (MARKER, "timeline.csv", "frames.csv")
BAR = 24  # characters
FULL_PX = 2.0  # motion that fills a bar
SHOWN = 8  # newest events on the screen


@dataclass
class _State:
    """What the screen shows and what is written at the end."""

    intervals: list[Interval] = field(default_factory=list)
    took: deque[float] = field(default_factory=lambda: deque(maxlen=120))
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=120))
    windows: list[Window] = field(default_factory=list)
    gaps: list[Interval] = field(default_factory=list)
    faceless: Moment | None = None  # the first frame of a stretch without a face
    before: Moment | None = None
    frames: int = 0
    with_face: int = 0
    first_s: float | None = None
    last_s: float = 0.0
    problem: str | None = None

    def see(self, moment: Moment) -> None:
        self.intervals.extend(moment.intervals)
        if moment.is_end:
            return
        if moment.window is not None:
            self.windows.append(moment.window)
        if moment.face is not None:
            self.close_gap(moment.time_s)
        elif self.faceless is None:
            self.faceless = moment
        self.before = moment
        self.frames += 1
        self.with_face += moment.face is not None
        self.first_s = moment.time_s if self.first_s is None else self.first_s
        self.last_s = moment.time_s
        self.took.append(moment.work_s)
        self.arrivals.append(perf_counter())

    def close_gap(self, until_s: float) -> None:
        """Close the gap: there is a face again, or there are no more frames."""
        if self.faceless is not None and self.before is not None and until_s > self.faceless.time_s:
            self.gaps.append(
                Interval(
                    onset_s=self.faceless.time_s,
                    offset_s=until_s,
                    label=NO_FACE,
                    onset_frame=self.faceless.frame,
                    offset_frame=self.before.frame,
                )
            )
        self.faceless = None

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

    Writes `timeline.json`, `timeline.csv` and `frames.csv`. No images are kept. If the source fails, or the process is
    asked to end (SIGTERM), watching ends as with Ctrl-C: what was found until then is written.

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
    state = _State()
    with new_directory(Path(out), overwrite=overwrite, marker=MARKER, own=OWN) as folder:
        with (folder / "frames.csv").open("w", newline="") as file:
            _look(source, settings, seconds, console, state, file)
        timeline = _timeline(source, settings, state)
        (folder / MARKER).write_text(timeline.to_json() + "\n")
        (folder / "timeline.csv").write_text(timeline.to_csv())
    for warning in timeline.provenance["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    return timeline


def _look(
    source: LiveSource, settings: StreamSettings, seconds: float | None, console: Console, state: _State, file: TextIO
) -> None:
    record = _record(settings)
    classes = () if record is None else record.classes
    rows = csv.writer(file, lineterminator="\n")
    regions = (f"{name}_px" for name in REGION_NAMES)
    rows.writerow(["frame", "time_s", "face_found", *regions, *(f"p_{name}" for name in classes)])
    live = Live(console=console, refresh_per_second=8, transient=False)
    with suppress(KeyboardInterrupt), live as screen, _stopped_politely(source):  # only a second Ctrl-C gets here
        for moment in stream(_until(source, seconds, state), settings):
            state.see(moment)
            if not moment.is_end:
                rows.writerow(_row(moment, classes))
            screen.update(_screen(source, state, moment))


def _until(source: LiveSource, seconds: float | None, state: _State) -> Iterator[Frame]:
    """The frames up to and including a moment, or up to where the source fails."""
    try:
        for frame in source:
            yield frame
            if seconds is not None and frame.time_s >= seconds:
                break
    except InputError as error:
        if not state.frames:
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


def _row(moment: Moment, classes: Sequence[str]) -> list[Any]:
    regions = ["" if np.isnan(v) else f"{v:.4f}" for v in moment.regions_px]
    shares = ["" if moment.probabilities is None else f"{moment.probabilities[name]:.4f}" for name in classes]
    return [moment.frame, f"{moment.time_s:.6f}", moment.face is not None, *regions, *shares]


def _record(settings: StreamSettings) -> ModelCard | None:
    return None if settings.engine == CLASSICAL else read_record(settings.engine)


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
    events = [_said(interval) for interval in state.intervals[-SHOWN:]]
    return Group(Text.from_markup(head), table, *map(Text, events), Text("Ctrl-C ends and writes the result", "dim"))


def _said(interval: Interval) -> str:
    peak = "" if interval.peak_px is None else f", {interval.peak_px:.1f} px"
    return f"{interval.onset_s:7.2f} s  {interval.label}: {', '.join(interval.regions[:3])}{peak}"


def _timeline(source: LiveSource, settings: StreamSettings, state: _State) -> Timeline:
    start = state.first_s or 0.0
    end = max(state.last_s, start + 1e-3)
    state.close_gap(end)
    warnings = [] if state.problem is None else [f"The source failed: {state.problem}"]
    if state.with_face < state.frames:
        warnings.append(f"no face was found in {state.frames - state.with_face} of {state.frames} frames")
    lasted = state.last_s - start
    rate = (state.frames - 1 + source.dropped) / lasted if lasted > 0 else 0.0
    if 0 < rate < FEW_FPS:
        warnings.append(
            f"{rate:.3g} frames a second: a micro-expression lasts 1/25 to 1/2 s, so it is under-sampled and the "
            f"shortest can be missed; {FEW_FPS} or more are better"
        )
    record = _record(settings)
    asked = settings.heads is None or "mer" in settings.heads
    if record is not None and asked and state.with_face and not state.windows:
        warnings.append(
            f"the network gave no opinion: it never had enough frames of one face in a row, within {LONGEST_S} s"
        )
    if source.dropped:
        share = source.dropped / (source.dropped + state.frames)
        warnings.append(f"{source.dropped} frames ({share:.0%}) came faster than they could be processed: dropped")
    return Timeline(
        intervals=tuple(sorted(state.intervals, key=lambda i: i.onset_s)),
        start_s=start,
        end_s=end,
        gaps=tuple(state.gaps),
        windows=tuple(state.windows),
        provenance={
            "source": "live",
            "openmer": __version__,
            **provenance_of(Path(settings.engine).stem, record),
            "caution": CAUTION,
            "expression_threshold": settings.expression_threshold,
            "frames": state.frames,
            "frames_with_face": state.with_face,
            "frames_dropped": source.dropped,
            "warnings": warnings,
        },
    )
