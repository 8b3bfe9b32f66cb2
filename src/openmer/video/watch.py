"""Watch a camera in the terminal, and keep what was found: `openmer analyze --live`."""

import csv
import json
from collections import deque
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

from openmer.files import new_directory
from openmer.models.weights import read_record
from openmer.timeline import Interval, Timeline
from openmer.version import __version__
from openmer.video.live import LiveSource
from openmer.video.motion import REGION_NAMES
from openmer.video.stream import CLASSICAL, Moment, StreamSettings, stream

MARKER = "timeline.json"
OWN = (MARKER, "timeline.csv", "frames.csv")
FEW_FPS = 60
BAR = 24  # characters
FULL_PX = 2.0  # motion that fills a bar
SHOWN = 8  # newest events on the screen


@dataclass
class _State:
    """What the screen shows, and what is written at the end."""

    intervals: list[Interval] = field(default_factory=list)
    took: deque[float] = field(default_factory=lambda: deque(maxlen=120))
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=120))
    frames: int = 0
    with_face: int = 0
    first_s: float | None = None
    last_s: float = 0.0

    def see(self, moment: Moment) -> None:
        self.frames += 1
        self.with_face += moment.face is not None
        self.first_s = moment.time_s if self.first_s is None else self.first_s
        self.last_s = moment.time_s
        self.took.append(moment.work_s)
        self.arrivals.append(perf_counter())
        self.intervals.extend(moment.intervals)

    @property
    def rate(self) -> float:
        """Frames a second of late."""
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
    """Look at a live source until it ends, `seconds` have passed, or the user interrupts; then write what was found.

    Writes `timeline.json`, `timeline.csv` and `frames.csv`. No picture is kept.

    Args:
        source: where frames come from.
        out: the folder to make.
        settings: see there.
        seconds: of the source, after which to end.
        overwrite: whether an older result may be replaced.
        console: where the screen is; by default nowhere.

    Raises:
        InputError: the source broke off or the engine cannot be loaded.
        OutputError: `out` is taken or cannot be written.
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
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["frame", "time_s", "face_found", *(f"{name}_px" for name in REGION_NAMES), "probabilities"])
    with Live(console=console, refresh_per_second=8, transient=False) as screen:
        try:
            for moment in stream(source, settings):
                state.see(moment)
                rows.writerow(_row(moment))
                screen.update(_screen(source, state, moment))
                if seconds is not None and moment.time_s >= seconds:
                    break
        except KeyboardInterrupt:  # the usual end
            pass
        finally:
            source.stop()


def _row(moment: Moment) -> list[Any]:
    regions = ["" if np.isnan(v) else f"{v:.4f}" for v in moment.regions_px]
    shares = "" if moment.probabilities is None else json.dumps(moment.probabilities)
    return [moment.frame, f"{moment.time_s:.6f}", moment.face is not None, *regions, shares]


def _screen(source: LiveSource, state: _State, moment: Moment) -> Group:
    """Rate and drops, a bar a region, the network's opinion, the newest events."""
    took = 1000 * float(np.median(state.took))
    lost = f"[red]{source.dropped} dropped[/]" if source.dropped else "none dropped"
    face = "face" if moment.face is not None else "[red]no face[/]"
    head = f"{moment.time_s:7.1f} s  {state.rate:5.1f} frames/s  {took:.0f} ms a frame  {lost}  {face}"
    table = Table(show_header=False, box=None, padding=(0, 1))
    for name, value in zip(REGION_NAMES, moment.regions_px, strict=True):
        size = 0.0 if np.isnan(value) else float(value)
        table.add_row(name, Text("█" * round(BAR * min(1.0, size / FULL_PX)), style="cyan"), f"{size:.2f} px")
    for name, share in (moment.probabilities or {}).items():
        table.add_row(f"p({name})", Text("█" * round(BAR * share), style="magenta"), f"{share:.2f}")
    events = [_said(interval) for interval in state.intervals[-SHOWN:]]
    return Group(Text.from_markup(head), table, *map(Text, events), Text("Ctrl-C ends and writes the result", "dim"))


def _said(interval: Interval) -> str:
    peak = "" if interval.peak_px is None else f", {interval.peak_px:.1f} px"
    return f"{interval.onset_s:7.2f} s  {interval.label}: {', '.join(interval.regions[:3])}{peak}"


def _timeline(source: LiveSource, settings: StreamSettings, state: _State) -> Timeline:
    learned = "No learned recognition: motion is measured, and short excursions are marked."
    if settings.engine != CLASSICAL:
        learned = read_record(settings.engine).trained_on
    start = state.first_s or 0.0
    warnings = []
    lasted = state.last_s - start
    rate = (state.frames - 1 + source.dropped) / lasted if lasted > 0 else 0.0
    if 0 < rate < FEW_FPS:
        warnings.append(
            f"{rate:.3g} frames a second: a micro-expression lasts 1/25 to 1/2 s, so it is under-sampled and the "
            f"shortest are missed; {FEW_FPS} and more are better"
        )
    if source.dropped:
        share = source.dropped / (source.dropped + state.frames)
        warnings.append(f"{source.dropped} frames ({share:.0%}) came faster than they could be looked at: dropped")
    return Timeline(
        intervals=tuple(sorted(state.intervals, key=lambda i: i.onset_s)),
        start_s=start,
        end_s=max(state.last_s, start + 1e-3),
        provenance={
            "source": "live",
            "openmer": __version__,
            "engine": settings.engine,
            "trained_on": learned,
            "frames": state.frames,
            "frames_with_face": state.with_face,
            "frames_dropped": source.dropped,
            "warnings": warnings,
        },
    )
