"""One self-contained HTML page: the timeline as a picture, the key moments with their flow, and the limits."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from openmer.clip import Array
from openmer.clips.flow import colour_wheel, draw_arrows, flow_to_colour, optical_flow
from openmer.face.align import Alignment
from openmer.page import image_uri, render, svg_uri
from openmer.timeline import Interval, Timeline
from openmer.video.measure import Measurements
from openmer.video.motion import REGION_NAMES, relative_to_head
from openmer.video.overlay import COLOURS, draw_marks
from openmer.video.reader import as_gray
from openmer.video.spotting import BLINK, CANDIDATE, LARGE_MOTION, region_motion

Image = npt.NDArray[np.uint8]

MOST_MOMENTS = 12
_ARROW_STEP = 8  # px of the crop between two arrows
_ZOOM = 2  # key frames are shown at 256 px


@dataclass(frozen=True)
class Moment:
    """An interval that the report shows in pictures.

    Attributes:
        interval: when.
        alignment: one and the same for all its pictures.
        landmarks: (68, 2) at the onset, in px of the crop.
    """

    interval: Interval
    alignment: Alignment
    landmarks: Array

    def crops(self, image: Image) -> tuple[Image, Image]:
        """(gray crop of 128 px for flow, colour crop of 256 px for the eye)."""
        matrix = self.alignment.matrix * _ZOOM
        matrix[:, 2] += (_ZOOM - 1) / 2
        large = Alignment(matrix, self.alignment.size * _ZOOM)
        return as_gray(self.alignment.warp(image)), large.warp(image)


def choose_moments(timeline: Timeline, measured: Measurements) -> tuple[Moment, ...]:
    """The strongest candidates; where there are few, the strongest of the other events, in order of time."""
    rank = {CANDIDATE: 0, LARGE_MOTION: 1, BLINK: 2}
    ranked = sorted(timeline, key=lambda i: (rank.get(i.label, 3), -(i.score or 0.0)))
    candidates = len(timeline.labelled(CANDIDATE))
    chosen = ranked[: min(MOST_MOMENTS, max(candidates, 4))]
    moments = []
    for interval in sorted(chosen, key=lambda i: i.onset_s):
        row = int(np.searchsorted(measured.frames, interval.onset_frame or 0))
        alignment = measured.alignments[row]
        if alignment is not None:
            moments.append(Moment(interval, alignment, alignment.to_crop(measured.landmarks[row])))
    return tuple(moments)


class MomentPictures:
    """Collects the pictures of the moments while the video is read a second time."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        self._moments = moments
        self._crops: dict[tuple[int, int], tuple[Image, Image]] = {}

    def see(self, frame: int, image: Image) -> None:
        """Look at the next frame, (H, W, 3) RGB, and keep what a moment needs of it."""
        for k, moment in enumerate(self._moments):
            i = moment.interval
            if frame in (i.onset_frame, i.apex_frame, i.offset_frame):
                self._crops[k, frame] = moment.crops(image)

    def rows(self) -> list[dict[str, object]]:
        """What the template shows: an interval and its pictures."""
        return [self._row(k, m) for k, m in enumerate(self._moments)]

    def _row(self, k: int, moment: Moment) -> dict[str, object]:
        interval = moment.interval
        frames = (interval.onset_frame, interval.apex_frame, interval.offset_frame)
        crops = [self._crops[k, f] for f in frames if f is not None and (k, f) in self._crops]
        if len(crops) < 3:
            return {"interval": interval, "pictures": []}
        onset, apex, _ = crops
        pictures = [(name, image_uri(crop[1])) for name, crop in zip(("onset", "apex", "offset"), crops, strict=True)]
        if interval.label == LARGE_MOTION:  # beyond what flow between two frames can follow
            return {"interval": interval, "pictures": pictures}
        # The field's own picture: TV-L1 flow from onset to apex.
        flow = relative_to_head(optical_flow(onset[0], apex[0], "tvl1"), moment.landmarks)
        reach = max(0.5, float(np.percentile(np.hypot(*flow), 99)))
        times = max(1, round(2 * _ARROW_STEP / reach))
        size = (crops[0][1].shape[1], crops[0][1].shape[0])
        colour = np.asarray(cv2.resize(flow_to_colour(flow, reach), size, interpolation=cv2.INTER_CUBIC), np.uint8)
        pictures += [
            (f"flow onset to apex, full colour = {reach:.1f} px", image_uri(colour)),
            (
                f"the same as arrows on the onset, drawn {times} times as long",
                image_uri(draw_arrows(onset[1], flow, step=_ARROW_STEP, magnify=times, least_px=0.15 * reach)),
            ),
        ]
        return {"interval": interval, "pictures": pictures}


def timeline_figure(measured: Measurements, timeline: Timeline) -> bytes:
    """SVG: what was marked, how far each region went, and how the head moved, over seconds."""
    times = measured.signals.times_s
    start, end = timeline.start_s, max(timeline.end_s, timeline.start_s + 1e-3)
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    marks, regions, head = figure.subplots(3, 1, sharex=True, height_ratios=(1, 6, 1.6))
    draw_marks(marks, (*timeline.gaps, *timeline.intervals), (end - start) / 400)
    marks.set_yticks([])
    marks.set_xlim(start, end)
    shown = [*dict.fromkeys(i.label for i in timeline), *(["no_face"] if timeline.gaps else [])]
    for label in shown:
        marks.plot([], [], color=COLOURS.get(label, "#000"), lw=6, label=label.replace("_", " "))
    if shown:
        marks.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=9)

    grid = _on_even_grid(times, region_motion(measured.signals), start, end)
    extent = (start, end, len(REGION_NAMES) - 0.5, -0.5)
    picture = regions.imshow(
        grid.T, aspect="auto", extent=extent, cmap="magma", vmin=0, vmax=2, interpolation="nearest"
    )
    regions.set_yticks(range(len(REGION_NAMES)), [n.replace("_", " ") for n in REGION_NAMES], fontsize=8)
    figure.colorbar(picture, ax=regions, label="motion of a region (px of the crop)", extend="max")
    head.plot(times, np.hypot(measured.signals.head[:, 0], measured.signals.head[:, 1]), lw=0.8, color="#444")
    head.set_ylabel("head\n(px a frame)", fontsize=8)
    head.set_ylim(bottom=0)
    head.set_xlabel("seconds")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _on_even_grid(
    times: npt.NDArray[np.float64], values: npt.NDArray[np.float32], start: float, end: float
) -> npt.NDArray[np.float32]:
    """At most 2,000 columns; each is the largest value of its stretch, so that no short event is lost."""
    columns = min(2000, len(times))
    edges = np.linspace(start, end, columns + 1)
    at = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, columns - 1)
    grid = np.full((columns, values.shape[1]), np.nan, np.float32)
    np.fmax.at(grid, at, values)
    return grid


def write_report(
    path: Path, measured: Measurements, timeline: Timeline, pictures: MomentPictures, *, overlay: bool
) -> None:
    """Write the page; everything that it shows is inside it, but for the overlay video beside it."""
    page = render(
        "analysis.html.j2",
        timeline=timeline,
        provenance=timeline.provenance,
        candidates=timeline.labelled(CANDIDATE),
        blinks=timeline.labelled(BLINK),
        large=timeline.labelled(LARGE_MOTION),
        figure=svg_uri(timeline_figure(measured, timeline)),
        wheel=image_uri(colour_wheel(96)),
        moments=pictures.rows(),
        colours=COLOURS,
        frames=len(measured.frames),
        found=int(measured.found.sum()),
        overlay=overlay,
    )
    path.write_text(page, encoding="utf-8")
