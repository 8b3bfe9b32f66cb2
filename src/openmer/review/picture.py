"""Pictures of one candidate for people: the figure for a paper, and its motion magnified."""

import tempfile
from pathlib import Path

import numpy as np

from openmer.errors import InputError
from openmer.page import figure_svg
from openmer.review.material import Image, Material
from openmer.review.settings import MAGNIFIED
from openmer.timeline import Interval
from openmer.video.figure import Scene, as_png, candidate_figure, write_moving

# Ending -> media type.
KINDS = {"svg": "image/svg+xml", "png": "image/png", "mp4": "video/mp4", "gif": "image/gif"}
AROUND_S = 0.5  # of the curve, before and after the candidate, real seconds
MAX_MOVING = 150  # pictures in one round


class Gallery:
    """Draws one interval of a result.

    Args:
        material: the result with its video.
        interval: with frames at onset, apex and offset.

    Raises:
        InputError: the onset has no frame, or no face there.
    """

    def __init__(self, material: Material, interval: Interval) -> None:
        if interval.onset_frame is None:
            raise InputError("the onset has no frame; set one first")
        self.interval = interval
        self._material = material
        landmarks = material.landmarks[material.row(interval.onset_frame)]
        self._scene = Scene.of(interval, landmarks, material.image(interval.onset_frame))

    def magnified(self, frame: int, times: float) -> Image:
        """(256, 256, 3) RGB: the onset with the motion to a frame, `times` as large.

        Raises:
            InputError: there is no such frame.
        """
        return self._scene.magnified(self._material.image(frame), times)

    def drawn(self, kind: str, times: float = MAGNIFIED) -> bytes:
        """A file's content.

        Args:
            kind: `svg` or `png`, the figure; `mp4` or `gif`, the motion magnified and slowed down.
            times: how many times it is magnified.

        Raises:
            InputError: the kind is another, or the interval lacks what it needs.
        """
        if kind in ("svg", "png"):
            return self._figure(kind)
        if kind in ("mp4", "gif"):
            return self._moving(kind, times)
        raise InputError(f"a picture of a candidate ends in {', '.join('.' + k for k in KINDS)}, got .{kind}")

    def _figure(self, kind: str) -> bytes:
        interval, material = self.interval, self._material
        if interval.apex_frame is None or interval.offset_frame is None:
            raise InputError("a figure needs an apex and an offset with frames; set them first")
        slowdown = material.timeline.clock.slowdown
        middle_s, reach_s = (interval.onset_s + interval.offset_s) / 2, interval.duration_s / 2 + AROUND_S * slowdown
        near = np.abs(material.times_s - middle_s) <= reach_s
        figure = candidate_figure(
            self._scene,
            material.image(interval.apex_frame),
            material.image(interval.offset_frame),
            material.times_s[near],
            material.motion[near],
            slowdown,
        )
        return figure_svg(figure) if kind == "svg" else as_png(figure)

    def _moving(self, kind: str, times: float) -> bytes:
        interval, material = self.interval, self._material
        if interval.onset_frame is None or interval.offset_frame is None:
            raise InputError("magnified motion needs an onset and an offset with frames; set them first")
        if not 1 <= times <= 50:
            raise InputError(f"motion is magnified 1 to 50 times, not {times:g}")
        first, last = material.row(interval.onset_frame), material.row(interval.offset_frame)
        rows = range(first, last + 1, (last - first) // MAX_MOVING + 1)
        span_s = float(material.times_s[rows[-1]] - material.times_s[first]) / material.timeline.clock.slowdown
        if span_s <= 0:
            raise InputError("this interval has a single frame, which does not move")
        pictures = [self.magnified(int(material.frames[k]), times) for k in rows]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"moving.{kind}"
            write_moving(path, pictures, (len(pictures) - 1) / span_s)
            return path.read_bytes()
