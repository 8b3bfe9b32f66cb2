"""One candidate in one figure, for a paper; and its motion magnified, picture by picture.

onset, apex and offset frames, aligned to the face  ->  flow onset to apex, curve over time, scale bars in px and ms
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from openmer.clip import CROP_PX, Array
from openmer.clips.flow import optical_flow
from openmer.errors import InputError
from openmer.face.align import Alignment, align
from openmer.media.writer import VideoWriter
from openmer.timeline import Interval
from openmer.video.overlay import COLORS
from openmer.video.report import KeyMoment, colored, magnified, on_face, reach_of

Image = npt.NDArray[np.uint8]
BAR_PX, BAR_MS = 20, 100
MAX_PICTURES = 400  # of one moving picture
GIF_FPS_MAX = 50  # browsers show quicker ones slowly
SLOWER = 4


@dataclass(frozen=True)
class Scene:
    """A face to which all pictures of one candidate are aligned.

    Attributes:
        moment: the interval with its alignment.
        onset: the picture at the onset, aligned: (gray 128, colour 256).
    """

    moment: KeyMoment
    onset: tuple[Image, Image]

    @classmethod
    def of(cls, interval: Interval, landmarks: Array, onset: Image) -> "Scene":
        """From the landmarks (68, 2) and the whole picture at the onset, px of the picture.

        Raises:
            InputError: no face was found at the onset.
        """
        if not np.isfinite(landmarks).all():
            raise InputError(f"no face was found at {interval.onset_s:.3f} s, so nothing can be aligned")
        alignment: Alignment = align(landmarks)
        points = landmarks @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]
        moment = KeyMoment(interval, alignment, np.asarray(points, np.float32))
        return cls(moment, moment.crops(onset))

    def flow(self, image: Image) -> Array:
        """(2, 128, 128) px of the crop: TV-L1 from the onset to a picture, minus the head's motion, 0 off the face."""
        gray, _ = self.moment.crops(image)
        return on_face(optical_flow(self.onset[0], gray, "tvl1"), self.moment.landmarks)

    def magnified(self, image: Image, times: float) -> Image:
        """(256, 256, 3): the onset with the motion to a picture, `times` as large."""
        return magnified(self.onset[1], self.flow(image), times)


def candidate_figure(
    scene: Scene,
    apex: Image,
    offset: Image,
    times_s: npt.NDArray[np.float64],
    motion: npt.NDArray[np.float32],
    slowdown: float = 1.0,
) -> Figure:
    """The figure of one candidate.

    Args:
        scene: the face at the onset.
        apex: the whole picture at the apex.
        offset: the whole picture at the offset.
        times_s: (n,) seconds of the file, around the candidate.
        motion: (n,) px of the crop at these times.
        slowdown: of the file's clock; the bar of milliseconds is of real time.

    Raises:
        InputError: the interval has no apex.
    """
    interval = scene.moment.interval
    if interval.apex_s is None:
        raise InputError("a figure needs an apex; set one first")
    flow = scene.flow(apex)
    reach = reach_of(flow)
    figure = Figure(figsize=(7.2, 3.5), layout="constrained", dpi=300)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 4, height_ratios=(1.7, 1))
    moments = (interval.onset_s, interval.apex_s, interval.offset_s)
    pictures = [scene.onset[1], scene.moment.crops(apex)[1], scene.moment.crops(offset)[1], colored(flow, reach)]
    frames = (interval.onset_frame, interval.apex_frame, interval.offset_frame)
    names = [
        f"{name}\n{at:.3f} s" + ("" if frame is None else f", frame {frame}")
        for name, at, frame in zip(("onset", "apex", "offset"), moments, frames, strict=True)
    ]
    names.append(f"flow, onset to apex\nfull color = {reach:.1f} px")
    for column, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(picture, extent=(0, CROP_PX, CROP_PX, 0), interpolation="none")
        axes.set_title(name, fontsize=7)
        axes.set_axis_off()
        if column in (0, 3):
            ink = "white" if column == 0 else "black"
            axes.plot([6, 6 + BAR_PX], [121, 121], color=ink, lw=2, solid_capstyle="butt")
            axes.text(6, 117, f"{BAR_PX} px", color=ink, fontsize=6)
    curve = figure.add_subplot(grid[1, :])
    curve.axvspan(interval.onset_s, interval.offset_s, color=COLORS["candidate"], alpha=0.15, lw=0)
    curve.plot(times_s, motion, color="#222222", lw=0.9)
    for at, name in zip(moments, ("onset", "apex", "offset"), strict=True):
        curve.axvline(at, color=COLORS["candidate"], lw=0.8, ls="--" if name == "apex" else "-")
    top = max(0.5, 1.2 * float(np.nanmax(motion, initial=0.0)))
    curve.set_xlim(float(times_s[0]), float(times_s[-1]))
    curve.set_ylim(0, top)
    left = float(times_s[0]) + 0.02 * float(times_s[-1] - times_s[0])
    curve.plot([left, left + BAR_MS / 1000 * slowdown], [0.86 * top] * 2, color="#222222", lw=2, solid_capstyle="butt")
    curve.text(left, 0.89 * top, f"{BAR_MS} ms" + (" of real time" if slowdown != 1 else ""), fontsize=6, va="bottom")
    curve.set_xlabel("seconds of the file", fontsize=7)
    curve.set_ylabel("motion (px of the crop)", fontsize=7)
    curve.tick_params(labelsize=6)
    for side in ("top", "right"):
        curve.spines[side].set_visible(False)
    return figure


def as_png(figure: Figure) -> bytes:
    """At 300 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def write_moving(path: Path, pictures: Sequence[Image], fps: float) -> None:
    """Write pictures as MP4 or GIF, `SLOWER` times as slow as they were filmed, twice around in an MP4.

    Args:
        path: ends in .mp4 or .gif.
        pictures: (H, W, 3) RGB, even sides.
        fps: at which they were filmed, real time.

    Raises:
        InputError: the ending is another, or there are too many pictures.
    """
    suffix = path.suffix.lower()
    if suffix not in (".mp4", ".gif"):
        raise InputError(f"a moving picture ends in .mp4 or .gif, got {path.name}")
    if not 2 <= len(pictures) <= MAX_PICTURES:
        raise InputError(f"a moving picture has 2 to {MAX_PICTURES} frames, this one {len(pictures)}")
    rate = fps / SLOWER
    if suffix == ".gif":
        skip = max(1, int(np.ceil(rate / GIF_FPS_MAX)))
        _write_gif(path, pictures[::skip], min(rate / skip, GIF_FPS_MAX))
        return
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(rate).limit_denominator(1001), crf=16) as writer:
        for k, picture in enumerate([*pictures, *pictures]):
            writer.write(picture, k / rate)


def _write_gif(path: Path, pictures: Sequence[Image], fps: float) -> None:
    first, *others = [PIL.Image.fromarray(p).quantize(dither=PIL.Image.Dither.NONE) for p in pictures]
    # A GIF counts in hundredths of a second: each picture ends at the nearest one, so that errors do not add up.
    ends_cs = np.rint(100 / fps * np.arange(1, len(pictures) + 1)).astype(int)
    durations_ms = (10 * np.diff(ends_cs, prepend=0)).tolist()
    first.save(path, save_all=True, append_images=others, duration=durations_ms, loop=0)
