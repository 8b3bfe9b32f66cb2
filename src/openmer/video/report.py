"""One self-contained HTML page: the timeline as a picture, the key moments with their flow, and the limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from openmer.clip import Array, Gray
from openmer.clips.flow import color_wheel, draw_arrows, flow_to_color, optical_flow
from openmer.face.align import Alignment
from openmer.media.reader import as_gray
from openmer.models.engine import Engine
from openmer.page import figure_svg, image_uri, render, svg_uri
from openmer.threads import ahead
from openmer.timeline import BLINK, CANDIDATE, LARGE_MOTION, NO_FACE, SET_ASIDE, Interval, Timeline
from openmer.video.measurements import Measurements
from openmer.video.overlay import COLORS, NETWORK_RGB, draw_marks, draw_probabilities
from openmer.video.regions import REGION_NAMES, face_skin, relative_to_head
from openmer.video.windows import in_mean, mean_picture, predict_crops

Image = npt.NDArray[np.uint8]

MAX_MOMENTS = 12
_ARROW_STEP = 8  # px of the crop between arrows
_ZOOM = 2  # key frames are shown at 256 px
_MAGNIFIED_PX = 5.0  # length of the largest motion once magnified, px of the crop; more tears the picture


@dataclass(frozen=True)
class KeyMoment:
    """An interval that the report shows in pictures.

    Attributes:
        interval: the interval.
        alignment: the same for all its pictures.
        landmarks: (68, 2) at the onset, in px of the crop.
        window: numbers of the frames that the network sees, around the apex; empty without a network.
        times_s: of these frames, seconds.
        means: for each frame of the window, the numbers of those whose mean the network sees, itself last.
    """

    interval: Interval
    alignment: Alignment
    landmarks: Array
    window: tuple[int, ...] = ()
    times_s: tuple[float, ...] = ()
    means: tuple[tuple[int, ...], ...] = ()

    def needs(self, frame: int) -> bool:
        """Whether a frame is shown or seen by the network."""
        i = self.interval
        return frame in (i.onset_frame, i.apex_frame, i.offset_frame) or any(frame in mean for mean in self.means)

    @property
    def last_frame(self) -> int:
        """The last frame that is needed."""
        return max(self.interval.offset_frame or 0, *self.window, 0)

    def crops(self, image: Image) -> tuple[Image, Image]:
        """(gray crop of 128 px for flow, colour crop of 256 px for display)."""
        matrix = self.alignment.matrix * _ZOOM
        matrix[:, 2] += (_ZOOM - 1) / 2
        large = Alignment(matrix, self.alignment.size * _ZOOM)
        return as_gray(self.alignment.warp(image)), large.warp(image)


def choose_moments(timeline: Timeline, measured: Measurements, asked: Sequence[Interval] = ()) -> tuple[KeyMoment, ...]:
    """The strongest candidates and, if these are few, the strongest other events; in order of time.

    Args:
        timeline: what was found.
        measured: where the face was.
        asked: show these instead.
    """
    rank = {CANDIDATE: 0, SET_ASIDE: 1, LARGE_MOTION: 2, BLINK: 3}
    ranked = sorted(timeline, key=lambda i: (rank.get(i.label, 4), -(i.score or 0.0)))
    candidates = len(timeline.labelled(CANDIDATE))
    chosen = list(asked) or ranked[: min(MAX_MOMENTS, max(candidates, 4))]
    moments = []
    for interval in sorted(chosen, key=lambda i: i.onset_s):
        row = int(np.searchsorted(measured.frames, interval.onset_frame or 0))
        alignment = measured.alignments[row]
        if alignment is None:
            continue
        points = alignment.to_crop(measured.landmarks[row])
        apex = interval.onset_s if interval.apex_s is None else interval.apex_s
        window = timeline.window_at(apex)
        seen = () if window is None else window.frames
        rows = np.searchsorted(measured.frames, seen).tolist()
        means = tuple(_mean_of(measured, k) for k in rows)
        times = tuple(float(measured.signals.times_s[k]) for k in rows)
        moments.append(KeyMoment(interval, alignment, points, seen, times, means))
    return tuple(moments)


def _mean_of(measured: Measurements, row: int) -> tuple[int, ...]:
    """Numbers of the frames whose mean the network saw at this one, as `FrameBuffer` takes it."""
    signals, first = measured.signals, row
    while (
        first
        and signals.track[first - 1] == signals.track[row]
        and in_mean(float(signals.real_s[first - 1]), float(signals.real_s[row]))
    ):
        first -= 1
    return tuple(int(measured.frames[k]) for k in range(first, row + 1))


@dataclass(frozen=True)
class Explained:
    """Why the network decided as it did, in words, as a drawing (data URI), and as plain values."""

    sentence: str
    figure: str
    content: dict[str, Any]


# Engine, (T, C, C) crops, (68, 2) landmarks in px of the crop, (T,) seconds.
Explainer = Callable[[Engine, Gray, Array, Sequence[float]], Explained]


@dataclass(frozen=True)
class MomentRow:
    """A moment as a page shows it: captions and pictures (data URIs), those measured and those of the network."""

    interval: Interval
    pictures: list[tuple[str, str]]
    network: list[tuple[str, str]]
    explained: Explained | None = None


class MomentPictures:
    """Collects the pictures of the moments while the video is read a second time.

    Args:
        moments: the moments to show.
        engine: the network whose flow and landmarks are shown, if any.
        explainer: explains the network's decision; None explains nothing.
    """

    def __init__(
        self, moments: Sequence[KeyMoment], engine: Engine | None = None, explainer: Explainer | None = None
    ) -> None:
        self._moments = moments
        self._engine = engine
        self._explainer = explainer
        self._crops: dict[tuple[int, int], tuple[Image, Image]] = {}

    def add(self, frame: int, image: Image) -> None:
        """Take the next frame, (H, W, 3) RGB, and keep what a moment needs of it."""
        for k, moment in enumerate(self._moments):
            if moment.needs(frame):
                self._crops[k, frame] = moment.crops(image)

    def rows(self, on_row: Callable[[], None] = lambda: None, *, threads: int = 0) -> tuple[MomentRow, ...]:
        """The rows that the template shows; `on_row` is called after each.

        An explainer may not run in several `threads`.
        """
        rows = []
        for row in ahead(range(len(self._moments)), self._row, threads=threads):
            rows.append(row)
            on_row()
        return tuple(rows)

    def _row(self, k: int) -> MomentRow:
        moment = self._moments[k]
        parts = self._measured(k, moment), self._network(k, moment), self._explained(k, moment)
        return MomentRow(moment.interval, *parts)

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def last_frame(self) -> int:
        """The last frame that is needed; -1 if none is."""
        return max((moment.last_frame for moment in self._moments), default=-1)

    def _window(self, k: int, moment: KeyMoment) -> list[tuple[Image, Image]]:
        """The crops of the window, gray ones as the network sees them, or nothing if one is missing."""
        if any((k, frame) not in self._crops for mean in moment.means for frame in mean):
            return []
        return [
            (mean_picture([self._crops[k, f][0] for f in mean]), self._crops[k, mean[-1]][1]) for mean in moment.means
        ]

    def _explained(self, k: int, moment: KeyMoment) -> Explained | None:
        crops = self._window(k, moment)
        if self._explainer is None or self._engine is None or not crops:
            return None
        return self._explainer(self._engine, np.stack([gray for gray, _ in crops]), moment.landmarks, moment.times_s)

    def _measured(self, k: int, moment: KeyMoment) -> list[tuple[str, str]]:
        interval = moment.interval
        frames = (interval.onset_frame, interval.apex_frame, interval.offset_frame)
        crops = [self._crops[k, f] for f in frames if f is not None and (k, f) in self._crops]
        if len(crops) < 3:
            return []
        onset, apex, _ = crops
        pictures = [(name, image_uri(crop[1])) for name, crop in zip(("onset", "apex", "offset"), crops, strict=True)]
        if interval.label == LARGE_MOTION:  # beyond what flow between two frames can follow
            return pictures
        # The usual picture in this field: TV-L1 flow from onset to apex.
        flow = on_face(optical_flow(onset[0], apex[0], "tvl1"), moment.landmarks)
        reach = reach_of(flow)
        times = max(1, round(2 * _ARROW_STEP / reach))
        further = round(_MAGNIFIED_PX / reach)
        if further > 1:
            caption = f"the onset frame with the motion to the apex, magnified {further} times"
            pictures.append((caption, image_uri(magnified(onset[1], flow, further))))
        return [
            *pictures,
            (f"flow onset to apex, full colour = {reach:.1f} px", image_uri(colored(flow, reach))),
            (
                f"the same as arrows on the onset, {times} times as long",
                image_uri(draw_arrows(onset[1], flow, step=_ARROW_STEP, magnify=times, min_px=0.15 * reach)),
            ),
        ]

    def _network(self, k: int, moment: KeyMoment) -> list[tuple[str, str]]:
        """The network's flow up to the apex, summed from pair to pair, and its landmarks there."""
        crops = self._window(k, moment)
        if self._engine is None or not crops:
            return []
        answer = predict_crops(self._engine, np.stack([gray for gray, _ in crops]))
        flow, points = answer.flow, answer.landmarks
        interval = moment.interval
        first = int(np.abs(np.subtract(moment.window, interval.onset_frame or 0)).argmin())
        apex = max(first + 1, int(np.abs(np.subtract(moment.window, interval.apex_frame or 0)).argmin()))
        pictures = []
        if points is not None:
            at = min(apex, len(points)) - 1
            dotted = crops[at + 1][1].copy()
            for x, y in (points[at] + 0.5) * _ZOOM - 0.5:
                cv2.circle(dotted, (round(float(x)), round(float(y))), 2, NETWORK_RGB, -1, cv2.LINE_AA)
            pictures.append(("the network's landmarks", image_uri(dotted)))
        if flow is not None and interval.label != LARGE_MOTION:
            joined = on_face(flow[first:apex].sum(0), moment.landmarks)
            reach = reach_of(joined)
            caption = f"the network's flow, full colour = {reach:.1f} px"
            pictures.append((caption, image_uri(colored(joined, reach))))
        return pictures


def on_face(flow: Array, landmarks: Array) -> Array:
    """Minus the head's motion; 0 off the face, where a still background moves against the head, more than any skin."""
    skin = cv2.GaussianBlur(face_skin(landmarks).astype(np.float32), (0, 0), 2.0)  # no tear at the edge of the face
    return np.asarray(relative_to_head(flow, landmarks) * skin, np.float32)


def reach_of(flow: Array) -> float:
    """The motion that is drawn in full color, px: that of the 99th percentile, at least 0.5."""
    return max(0.5, float(np.percentile(np.hypot(*flow), 99)))


def magnified(image: Image, flow: Array, times: float) -> Image:
    """The picture with every point moved `times` as far as the flow says, to make small motion visible.

    Args:
        image: (H, W, 3), any multiple of the flow's size.
        flow: (2, h, w) px of the flow's own grid.
        times: the magnification.
    """
    smooth = np.stack([cv2.GaussianBlur(np.nan_to_num(part), (0, 0), 1.5) for part in flow])
    scale = image.shape[0] / flow.shape[1]
    dx, dy = (cv2.resize(part * scale * times, image.shape[1::-1]) for part in smooth)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    from_x, from_y = x, y
    for _ in range(8):  # the point's origin: the fixed point of place = target - motion(place)
        from_x, from_y = (
            x - cv2.remap(dx, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            y - cv2.remap(dy, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        )
    return np.asarray(cv2.remap(image, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def colored(flow: Array, reach: float) -> Image:
    """The flow's colors at the size in which key frames are shown."""
    side = flow.shape[1] * _ZOOM
    return np.asarray(cv2.resize(flow_to_color(flow, reach), (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def timeline_figure(measured: Measurements, timeline: Timeline) -> bytes:
    """SVG: what was marked, how far each region moved, and how the head moved, over time in seconds."""
    times = measured.signals.times_s
    start, end = timeline.start_s, max(timeline.end_s, timeline.start_s + 1e-3)
    learned = bool(timeline.windows)
    figure = Figure(figsize=(11, 6.4 if learned else 5.2), layout="constrained")
    rows = figure.subplots(3 + learned, 1, sharex=True, height_ratios=(1, *([2] if learned else []), 6, 1.6))
    marks, regions, head = rows[0], rows[-2], rows[-1]
    if learned:
        draw_probabilities(rows[1], timeline)
    draw_marks(marks, (*timeline.gaps, *timeline.intervals), (end - start) / 400)
    marks.set_yticks([])
    marks.set_xlim(start, end)
    labels = [*dict.fromkeys(i.label for i in timeline), *([NO_FACE] if timeline.gaps else [])]
    for label in labels:
        marks.plot([], [], color=COLORS.get(label, "#000"), lw=6, label=label.replace("_", " "))
    if labels:
        marks.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=9)

    grid = on_even_grid(times, measured.region_motion(), start, end)
    extent = (start, end, len(REGION_NAMES) - 0.5, -0.5)
    picture = regions.imshow(
        grid.T, aspect="auto", extent=extent, cmap="magma", vmin=0, vmax=2, interpolation="nearest"
    )
    regions.set_yticks(range(len(REGION_NAMES)), [n.replace("_", " ") for n in REGION_NAMES], fontsize=8)
    figure.colorbar(picture, ax=regions, label="motion of a region (px of the crop)", extend="max")
    head.plot(times, np.hypot(measured.signals.head[:, 0], measured.signals.head[:, 1]), lw=0.8, color="#444")
    head.set_ylabel("head\n(px per frame)", fontsize=8)
    head.set_ylim(bottom=0)
    head.set_xlabel("seconds")
    return figure_svg(figure)


def on_even_grid(
    times: npt.NDArray[np.float64], values: npt.NDArray[np.float32], start: float, end: float
) -> npt.NDArray[np.float32]:
    """Resample to at most 2,000 columns, each with the largest value in its stretch, so that no short event is lost."""
    columns = min(2000, len(times))
    edges = np.linspace(start, end, columns + 1)
    # By the middle of each frame's time: if there is one column per frame, each frame begins on an edge.
    middles = times + 0.5 * float(np.median(np.diff(times)))
    at = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, columns - 1)
    grid = np.full((columns, values.shape[1]), np.nan, np.float32)
    np.fmax.at(grid, at, values)
    return grid


def findings(
    measured: Measurements, timeline: Timeline, moments: Sequence[MomentRow], *, overlay: bool
) -> dict[str, Any]:
    """What the templates of a report show of one face."""
    return {
        "timeline": timeline,
        "provenance": timeline.provenance,
        "candidates": timeline.labelled(CANDIDATE),
        "aside": timeline.labelled(SET_ASIDE),
        "classes": timeline.provenance.get("classes", []),
        "units": any(i.action_units for i in timeline),
        "blinks": timeline.labelled(BLINK),
        "large": timeline.labelled(LARGE_MOTION),
        "figure": svg_uri(timeline_figure(measured, timeline)),
        "wheel": image_uri(color_wheel(96)),
        "moments": moments,
        "colors": COLORS,
        "frames": len(measured.frames),
        "found": int(measured.with_face.sum()),
        "overlay": overlay,
    }


def write_report(
    path: Path, measured: Measurements, timeline: Timeline, moments: Sequence[MomentRow], *, overlay: bool
) -> None:
    """Write the page; it contains everything it shows, except for the overlay video beside it."""
    page = render("analysis.html.j2", **findings(measured, timeline, moments, overlay=overlay))
    path.write_text(page, encoding="utf-8")
