"""A finished analysis as part of a page: video, clickable timeline, list, key moments, downloads.

Everything interactive is in `templates/serve/result.js`, which finds its elements by their `data-` attributes.
"""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

from openmer.clip import Times
from openmer.media.clock import usual_step_s
from openmer.page import image_uri, render
from openmer.timeline import BLINK, CANDIDATE, LARGE_MOTION, NO_FACE, SET_ASIDE, Interval, Timeline
from openmer.video.analyze import Analysis
from openmer.video.overlay import COLORS, FULL_COLOR_PX, STRIP_HEIGHT, class_colors, stacked
from openmer.video.regions import REGION_NAMES
from openmer.video.report import MomentRow, on_even_grid

NAMES = {
    CANDIDATE: ("candidate", "candidates"),
    SET_ASIDE: ("set aside", "set aside"),
    BLINK: ("blink", "blinks"),
    LARGE_MOTION: ("large movement", "large movements"),
    NO_FACE: ("no face", "no face"),
}
# The overlay's colours are for dark pictures; on a white page two of them are too pale.
ON_WHITE = COLORS | {SET_ASIDE: "#dba878", NO_FACE: "#c9c9c9"}
DESCRIPTIONS = {
    "report.html": "the whole report on one page",
    "overlay.mp4": "the video with landmarks, flow colours and marks",
    "timeline.csv": "what was found, for a spreadsheet",
    "timeline.json": "the same, with settings and versions",
    "frames.csv": "one row per frame: head, eyes, twelve regions",
    "landmarks.npz": "68 points per frame",
    "windows.csv": "the network's probabilities",
    "network_flow.csv": "the network's flow",
    "explanations.json": "what the network saw, in numbers",
}
TICKS = 8
MAP = "Blues"
MIN_WIDTH = 0.003  # share of the timeline; a narrower mark could not be seen or clicked


@dataclass(frozen=True)
class Bar:
    """An interval on the timeline, as shares of the timeline's width."""

    left: float
    width: float
    seek_s: float
    title: str


@dataclass(frozen=True)
class Lane:
    """All intervals of one kind."""

    name: str
    colour: str
    bars: tuple[Bar, ...]


def write_page(path: Path, whole: Analysis, result: Path, extras: Path, links: str) -> None:
    """Write the part of the page, and its pictures as files: inline, they would be megabytes for every browser.

    Args:
        path: the file.
        whole: the analysis.
        result: its folder, whose files can be downloaded.
        extras: a folder to create for the pictures of the key moments.
        links: prefix of the file names in links.
    """
    extras.mkdir()
    timeline, measured = whole.timeline, whole.measured
    times = measured.signals.times_s
    start, end = timeline.start_s, max(timeline.end_s, timeline.start_s + 1e-3)
    step, first = numbering(times, measured.frames)
    page = render(
        "serve/result.html.j2",
        timeline=timeline,
        provenance=timeline.provenance,
        start=start,
        end=end,
        step=step,
        first_frame="" if first is None else first,
        frames=len(times),
        strip=STRIP_HEIGHT,
        counts=[
            (len(timeline.labelled(k)), NAMES[k], ON_WHITE[k]) for k in (CANDIDATE, SET_ASIDE, BLINK, LARGE_MOTION)
        ],
        lanes=lanes(timeline, start, end),
        probabilities=probabilities(timeline, start, end),
        classes=class_colors(timeline.windows[0].probabilities) if timeline.windows else {},
        heat=image_uri(_heat(on_even_grid(times, measured.region_motion(), start, end))),
        ramp=image_uri(_heat(np.linspace(0, FULL_COLOR_PX, 64, dtype=np.float32)[:, None])),
        full=FULL_COLOR_PX,
        regions=[name.replace("_", " ") for name in REGION_NAMES],
        ticks=ticks(start, end),
        listed=[i for i in timeline if i.label in (CANDIDATE, SET_ASIDE)],
        others=[i for i in timeline if i.label not in (CANDIDATE, SET_ASIDE)],
        names=NAMES,
        colours=ON_WHITE,
        moments=[_with_files(m, k, extras, links) for k, m in enumerate(whole.moments, 1)],
        links=links,
        files=[(p.name, size(p.stat().st_size), DESCRIPTIONS.get(p.name, "")) for p in _in_order(result.iterdir())],
    )
    path.write_text(page, encoding="utf-8")


def numbering(times_s: Times, frames: npt.NDArray[np.int64]) -> tuple[float, int | None]:
    """How the page derives a frame's number from the time: seconds a frame, and the first number.

    Without a first number where frames are unevenly spaced or left out, so that numbers cannot be derived.
    """
    step = usual_step_s(times_s) or 1.0
    numbers = frames[0] + np.rint((times_s - times_s[0]) / step)
    return step, int(frames[0]) if np.array_equal(numbers, frames) else None


def _with_files(moment: MomentRow, number: int, folder: Path, links: str) -> MomentRow:
    def stored(kind: str, rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
        linked = []
        for k, (caption, uri) in enumerate(rows, 1):
            name = f"{kind}-{number}-{k}.png"
            (folder / name).write_bytes(base64.b64decode(uri.partition(",")[2]))
            linked.append((caption, links + name))
        return linked

    explained = moment.explained
    if explained is not None:
        name = f"why-{number}.svg"
        (folder / name).write_bytes(base64.b64decode(explained.figure.partition(",")[2]))
        explained = replace(explained, figure=links + name)
    return MomentRow(moment.interval, stored("moment", moment.pictures), stored("network", moment.network), explained)


def lanes(timeline: Timeline, start: float, end: float) -> tuple[Lane, ...]:
    """A lane for each kind that occurs; candidates always, since their absence is also a result."""
    shown_lanes = []
    for label, (_, many) in NAMES.items():
        intervals = timeline.gaps if label == NO_FACE else timeline.labelled(label)
        if intervals or label == CANDIDATE:
            bars = tuple(_bar(i, start, end) for i in intervals)
            shown_lanes.append(Lane(many, ON_WHITE[label], bars))
    return tuple(shown_lanes)


def _bar(interval: Interval, start: float, end: float) -> Bar:
    width = max(interval.duration_s / (end - start), MIN_WIDTH)
    middle = (interval.onset_s + interval.offset_s) / 2
    left = min(max((middle - start) / (end - start) - width / 2, 0), 1 - width)
    seek = interval.onset_s if interval.apex_s is None else interval.apex_s
    regions = ", ".join(interval.regions[:3]).replace("_", " ")
    title = f"{NAMES[interval.label][0]}, {seek:.2f} s" + (f": {regions}" if regions else "")
    return Bar(left, width, seek, title)


def probabilities(timeline: Timeline, start: float, end: float) -> list[tuple[str, str, str]]:
    """For each class: name, colour, and an SVG path of bars stacked on those of the classes before it.

    The drawing is 1000 wide and 100 high. `none` comes last and so is on top, as in the overlay.
    """
    if not timeline.windows:
        return []
    middles, step, layers = stacked(timeline.windows)
    left, width = (middles - step / 2 - start) / (end - start), step / (end - start)
    return [
        (layer.name, layer.color, _bars_path(left, 100 * (1 - layer.below), 100 * layer.height, width))
        for layer in layers
    ]


def _bars_path(
    left: npt.NDArray[np.float64], floor: npt.NDArray[np.float64], height: npt.NDArray[np.float64], width: float
) -> str:
    parts = (
        f"M{1000 * x:.1f} {y:.1f}v{-h:.1f}h{1000 * width:.1f}v{h:.1f}z"
        for x, y, h in zip(left, floor, height, strict=True)
    )
    return "".join(parts)


def _heat(motion: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(columns, rows) px -> (rows, columns, 3) RGB, from white to dark blue; gray where nothing is known."""
    shades = matplotlib.colormaps[MAP](np.clip(np.nan_to_num(motion.T) / FULL_COLOR_PX, 0, 1))[..., :3]
    shades[np.isnan(motion.T)] = 0.87
    return np.asarray(np.rint(255 * shades), np.uint8)


def ticks(start: float, end: float) -> list[tuple[float, str]]:
    """(share of the width, seconds as text), about eight at most, at round numbers of seconds."""
    rough = (end - start) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    first, last = math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [((k * step - start) / (end - start), f"{k * step:.{digits}f}") for k in range(first, last + 1)]


def size(count: int) -> str:
    """A number of bytes in readable form."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} KB"


def _in_order(paths: Iterable[Path]) -> Sequence[Path]:
    names: Sequence[Any] = list(DESCRIPTIONS)
    return sorted(paths, key=lambda p: names.index(p.name) if p.name in names else len(names))
