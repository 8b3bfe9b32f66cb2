"""Draw what was measured into the video: landmarks, flow on the face, and a timeline with a moving cursor."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from openmer.clip import CROP_PX, NONE, Array
from openmer.clips.flow import flow_to_color
from openmer.face.align import Alignment
from openmer.timeline import BLINK, CANDIDATE, LARGE_MOTION, NO_FACE, SET_ASIDE, Interval, Timeline, Window
from openmer.video.measurements import Measurements
from openmer.video.recognition import Recognition
from openmer.video.regions import REGION_NAMES

Image = npt.NDArray[np.uint8]

# Okabe, Ito: distinguishable with any colour vision.
COLORS = {
    CANDIDATE: "#d55e00",
    SET_ASIDE: "#f0c9a8",
    BLINK: "#56b4e9",
    LARGE_MOTION: "#999999",
    NO_FACE: "#dddddd",
}
# For the known classes; others get the spare colours.
CLASS_COLORS = {NONE: "#eeeeee", "negative": "#0072b2", "positive": "#009e73", "surprise": "#cc79a7"}
SPARE_COLORS = ("#e69f00", "#f0e442", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#000000")
NETWORK_RGB = (255, 190, 60)
FULL_COLOR_PX = 2.0  # motion drawn in full colour, px of the crop
MAX_SHOWN_PX = 4.0  # the traces are cut off here
STRIP_HEIGHT = 170
LEGEND_PX = 150
SURE = 0.5  # an expression is written on the picture if its probability is above this


class FlowCache:
    """Flows kept on disk for drawing, at half size and half precision: 16 KB per frame instead of 128.

    Args:
        path: of the file.
        frames: how many frames without a flow come first; they take no room.
    """

    side = CROP_PX // 2
    _bytes = 2 * 2 * side * side

    def __init__(self, path: Path, frames: int = 0) -> None:
        self._path = path
        self._file: BinaryIO = path.open("w+b")
        self._frames = frames

    def append(self, flow: Array | None) -> None:
        """Keep the next frame's (2, H, W) flow, or none."""
        if flow is not None:
            self._file.seek(self._frames * self._bytes)
            self._file.write(_halved(flow).astype(np.float16).tobytes())
        self._frames += 1

    def read(self, index: int) -> Array:
        """(2, side, side) flow of a frame, still in pixels of the crop; 0 if there was none."""
        self._file.seek(index * self._bytes)
        data = self._file.read(self._bytes).ljust(self._bytes, b"\0")
        return np.frombuffer(data, np.float16).reshape(2, self.side, self.side).astype(np.float32)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _halved(flow: Array) -> Array:
    side = FlowCache.side
    return np.asarray(flow.reshape(2, side, 2, side, 2).mean((2, 4)), np.float32)


class OverlayPainter:
    """Draws on the frames of one video.

    Args:
        width: width of the source, pixels.
        height: height of the source, pixels.
        measured: all rows.
        timeline: what was found.
        recognition: the network's output, if one was used.
    """

    def __init__(
        self,
        width: int,
        height: int,
        measured: Measurements,
        timeline: Timeline,
        recognition: Recognition | None = None,
    ) -> None:
        # Small pictures are enlarged so that the text on them is readable.
        self._zoom = min(max(1.0, 480 / height, 640 / width), 4.0) if width < 1280 else 1280 / width
        self._picture = (_even(width * self._zoom), _even(height * self._zoom))
        self._measured = measured
        self._timeline = timeline
        self._middles_s = np.array([window.middle_s for window in timeline.windows])
        self._network = None if recognition is None else _Between(recognition.frames, recognition.landmarks)
        self._strip, self._span_px = _strip(measured, timeline, self._picture[0])
        self.size = (self._picture[0], self._picture[1] + STRIP_HEIGHT)

    def paint(self, row: int, image: Image, flow: Array) -> Image:
        """The picture for one row: (H, W, 3) RGB in, (size[1], size[0], 3) out.

        Args:
            row: index into the measurements.
            image: the frame.
            flow: (2, h, w) flow over the crop, in px of the crop; 0 if there is none.
        """
        time_s = float(self._measured.signals.times_s[row])
        picture = self.draw_face(self.enlarged(image), row, flow)
        self._write_labels(picture, time_s, self._measured.alignments[row] is not None)
        return np.concatenate([picture, self.strip(time_s)])

    def enlarged(self, image: Image) -> Image:
        """The frame in the size of the overlay's picture."""
        method = cv2.INTER_CUBIC if self._zoom > 1 else cv2.INTER_AREA
        return np.asarray(cv2.resize(image, self._picture, interpolation=method), np.uint8)

    def draw_face(self, picture: Image, row: int, flow: Array) -> Image:
        """The enlarged picture with the face's flow and landmarks in one row, if there is a face."""
        alignment = self._measured.alignments[row]
        if alignment is None:
            return picture
        picture = self._blend_flow(picture, flow, alignment)
        self._draw_landmarks(picture, self._measured.landmarks[row], (60, 255, 120))
        points = None if self._network is None else self._network.at(int(self._measured.frames[row]))
        if points is not None:
            self._draw_landmarks(picture, points, NETWORK_RGB)
        return picture

    def strip(self, time_s: float) -> Image:
        """The timeline under the picture, with the cursor at a moment: (STRIP_HEIGHT, width, 3)."""
        strip = self._strip.copy()
        left, right, start, end = self._span_px
        x = round(left + (right - left) * (time_s - start) / max(1e-9, end - start))
        cv2.line(strip, (x, 0), (x, STRIP_HEIGHT), (0, 0, 0), 1)
        return strip

    def events_at(self, time_s: float) -> list[tuple[str, str]]:
        """What is marked at a moment, in words, and the color of each."""
        return [
            (f"{i.label.replace('_', ' ')}: {', '.join(i.regions[:3])}", COLORS.get(i.label, "#ffffff"))
            for i in self._timeline
            if i.onset_s <= time_s <= i.offset_s
        ]

    def _blend_flow(self, picture: Image, flow: Array, alignment: Alignment) -> Image:
        color = flow_to_color(flow, FULL_COLOR_PX)
        length = np.nan_to_num(np.hypot(flow[0], flow[1]))
        alpha = 0.65 * np.clip((length - 0.1) / (0.5 * FULL_COLOR_PX), 0, 1) * _soft_disc(flow.shape[1])
        # From the flow's own pixels to the drawn picture.
        shrink = flow.shape[1] / alignment.size
        matrix = alignment.matrix.copy()
        matrix[:, 2] = (matrix[:, 2] + 0.5) * shrink - 0.5
        matrix[:, :2] *= shrink / self._zoom
        places = cv2.invertAffineTransform(matrix)
        color_there = cv2.warpAffine(color, places, self._picture)
        alpha_there = cv2.warpAffine(alpha.astype(np.float32), places, self._picture)[..., None]
        part = _around(np.asarray(places, np.float64), flow.shape[1], picture.shape)  # elsewhere alpha is 0
        blended = picture[part] * (1 - alpha_there[part]) + color_there[part] * alpha_there[part]
        picture[part] = np.rint(blended).astype(np.uint8)
        return picture

    def _draw_landmarks(self, picture: Image, landmarks: Array, color: tuple[int, int, int]) -> None:
        radius = max(1, round(self._picture[1] / 360))
        for x, y in (landmarks + 0.5) * self._zoom - 0.5:
            cv2.circle(picture, (round(x), round(y)), radius, color, -1, cv2.LINE_AA)

    def _write_labels(self, picture: Image, time_s: float, with_face: bool) -> None:
        y = 24
        write(picture, f"{time_s:.2f} s" + ("" if with_face else "   no face"), y, "#ffffff")
        for text, color in self.events_at(time_s):
            y += 24
            write(picture, text, y, color)
        window = self._window_at(time_s)
        if window is not None:
            name = max(window.probabilities, key=window.probabilities.__getitem__)
            if name != NONE and window.probabilities[name] > SURE:
                text = f"network, trained on {self._trained_on()}: {name} {window.probabilities[name]:.2f}"
                write(picture, text, self._picture[1] - 12, class_colors(window.probabilities)[name])

    def _window_at(self, time_s: float) -> Window | None:
        """As `Timeline.window_at`, which would go through all windows for every frame."""
        if not len(self._middles_s):
            return None
        nearest = self._timeline.windows[int(np.argmin(np.abs(self._middles_s - time_s)))]
        return nearest if nearest.start_s <= time_s <= nearest.end_s else None

    def _trained_on(self) -> str:
        return str(self._timeline.provenance.get("trained_on", "unknown data")).split(";")[0].split(",")[0]


class _Between:
    """Landmarks of some frames, interpolated for the frames between neighbours that are close together."""

    def __init__(self, frames: npt.NDArray[np.int64], landmarks: Array) -> None:
        self._frames = frames
        self._landmarks = landmarks
        self._widest = 1.5 * float(np.median(np.diff(frames))) if len(frames) > 1 else 0.0

    def at(self, frame: int) -> Array | None:
        """(68, 2), or None."""
        after = int(np.searchsorted(self._frames, frame))
        if after < len(self._frames) and self._frames[after] == frame:
            return np.asarray(self._landmarks[after], np.float32)
        if not 0 < after < len(self._frames):
            return None
        first, second = (int(v) for v in self._frames[after - 1 : after + 1])
        if second - first > self._widest:
            return None
        share = (frame - first) / (second - first)
        mixed = (1 - share) * self._landmarks[after - 1] + share * self._landmarks[after]
        return np.asarray(mixed, np.float32)


def class_colors(classes: Iterable[str]) -> dict[str, str]:
    """A colour for each class."""
    spare = iter(SPARE_COLORS * 10)
    return {name: CLASS_COLORS.get(name) or next(spare) for name in classes}


@dataclass(frozen=True)
class Layer:
    """One class's bars, stacked on those of the classes before it.

    Attributes:
        name: of the class.
        colour: of the bars.
        below: (n,) where each bar begins, 0 to 1.
        height: (n,) the probability in each window.
    """

    name: str
    color: str
    below: npt.NDArray[np.float64]
    height: npt.NDArray[np.float64]


def stacked(windows: Sequence[Window]) -> tuple[npt.NDArray[np.float64], float, tuple[Layer, ...]]:
    """Probabilities as stacked bars: the windows' middles (n,) and the bars' width in seconds, and the layers.

    `none` comes last and so is on top: expressions start at the bottom.
    """
    middles = np.array([w.middle_s for w in windows])
    step = float(np.median(np.diff(middles))) if len(middles) > 1 else windows[0].end_s - windows[0].start_s
    layers, below = [], np.zeros(len(middles))
    for name, color in sorted(class_colors(windows[0].probabilities).items(), key=lambda item: item[0] == NONE):
        height = np.array([w.probabilities[name] for w in windows])
        layers.append(Layer(name, color, below, height))
        below = below + height
    return middles, step, tuple(layers)


def draw_probabilities(axes: Axes, timeline: Timeline, *, legend: bool = True) -> None:
    """The network's probabilities in each window, as stacked bars that sum to 1, drawn at the windows' middles."""
    middles, step, layers = stacked(timeline.windows)
    for layer in layers:
        axes.bar(middles, layer.height, step, layer.below, color=layer.color, label=layer.name, lw=0, align="center")
    axes.set_ylim(0, 1)
    axes.set_ylabel("network", fontsize=8)
    axes.tick_params(labelsize=7)
    if legend:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)


def rgb_of(color: str) -> tuple[int, int, int]:
    """The red, green and blue of `#rrggbb`."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def write(picture: Image, text: str, y: int, color: str, x: int = 10) -> None:
    """Write on a dark ground; (x, y) is where the text's base line begins, px."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
    cv2.rectangle(picture, (x - 4, y - 18), (x + 4 + width, y + 6), (30, 30, 30), -1)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, rgb_of(color), 1, cv2.LINE_AA)


def _around(places: npt.NDArray[np.float64], side: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns of a picture that a square reaches when it is drawn by an affine map."""
    corners = np.array([(x, y, 1) for x in (-1, side) for y in (-1, side)]) @ places.T
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(np.maximum(high, 0), (shape[1], shape[0]))
    return slice(top, bottom), slice(left, right)


def _soft_disc(side: int) -> Array:
    """1 in the middle of the crop, falling to 0 at its edge."""
    y, x = np.mgrid[:side, :side] * (2 / (side - 1)) - 1
    return np.asarray(np.clip(4 * (1 - np.hypot(x, y)), 0, 1), np.float32)


def _even(value: float) -> int:
    return max(2, 2 * round(value / 2))


def draw_marks(axes: Axes, intervals: Sequence[Interval], min_s: float) -> None:
    """Coloured bands over an axis of seconds; intervals shorter than `min_s` are widened to it so as to be seen."""
    for interval in intervals:
        width = max(interval.duration_s, min_s)
        start = (interval.onset_s + interval.offset_s - width) / 2
        axes.axvspan(start, start + width, color=COLORS.get(interval.label, "#000000"), alpha=0.85, lw=0)


def _strip(measured: Measurements, timeline: Timeline, width: int) -> tuple[Image, tuple[float, float, float, float]]:
    """The picture under the video, and where its time axis runs: (left, right) px, (start, end) s."""
    start, end = timeline.start_s, max(timeline.end_s, timeline.start_s + 1e-3)
    figure = Figure(figsize=(width / 100, STRIP_HEIGHT / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    left, right = 0.08, 0.98 - min(LEGEND_PX / width, 0.3)
    axes = figure.add_axes((left, 0.2, right - left, 0.64 if timeline.windows else 0.74))
    times = measured.signals.times_s
    draw_marks(axes, (*timeline.gaps, *timeline.intervals), (end - start) / 300)
    motion = measured.region_motion()
    for k in range(len(REGION_NAMES)):
        axes.plot(times, motion[:, k], lw=0.8, alpha=0.8)
    figure.legend(handles=_legend(timeline), loc="center right", frameon=False, fontsize=7, labelspacing=0.2)
    if timeline.windows:
        band = figure.add_axes((left, 0.86, right - left, 0.1), sharex=axes)
        draw_probabilities(band, timeline, legend=False)
        band.set_axis_off()
    axes.set_xlim(start, end)
    axes.set_ylim(0, float(np.clip(np.nanmax(motion, initial=0.0), 1.0, MAX_SHOWN_PX)))
    axes.tick_params(labelsize=7)
    axes.set_ylabel("px", fontsize=7)
    axes.set_xlabel("seconds", fontsize=7, labelpad=0)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]
    strip = np.asarray(cv2.resize(pixels, (width, STRIP_HEIGHT)), np.uint8)
    return strip, (left * width, right * width, start, end)


def _legend(timeline: Timeline) -> list[Artist]:
    """What the colours in the strip mean; only those that occur."""
    labels = {interval.label for interval in (*timeline.gaps, *timeline.intervals)}
    marks = [Patch(color=color, label=name.replace("_", " ")) for name, color in COLORS.items() if name in labels]
    classes = class_colors(timeline.windows[0].probabilities) if timeline.windows else {}
    probabilities = [Patch(color=color, label=f"network: {name}") for name, color in classes.items()]
    return [*probabilities, *marks, Line2D([], [], color="#555555", lw=0.8, label="each region's motion")]
