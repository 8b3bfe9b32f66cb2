"""Frames of a video by their numbers, in any order: what a person who looks through a result asks for.

    number -> the table of the analysis (frames.csv) -> its time -> keyframe before it -> decoded until that very time

A frame is given only if its time is the one in the table. Where a file's times cannot be sought (joined recordings,
streams without times) it is read from its beginning.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from openmer.errors import InputError
from openmer.media.reader import VideoReader

Image = npt.NDArray[np.uint8]
NEAR = 90  # frames ahead up to which going on is quicker than to seek
EARLIER_S = (0.0, 1.0, 10.0)  # where a keyframe is said to be later than its pictures, look for one before it
ROUNDED_S = 2e-6  # of times in a table

Passing = tuple[float, Callable[[], Image]]


class FrameFinder:
    """Finds frames by number.

    Args:
        reader: the video or folder, from its beginning.
        frames: (n,) numbers of the frames that can be asked for, rising.
        times_s: (n,) their times, seconds of the file.
        in_order: read from the beginning instead of seeking.
    """

    def __init__(
        self,
        reader: VideoReader,
        frames: npt.NDArray[np.int64],
        times_s: npt.NDArray[np.float64],
        *,
        in_order: bool = False,
    ) -> None:
        self._reader = reader
        self._frames = frames
        self._times_s = times_s
        self._in_order = in_order or not reader.can_seek
        self._open: Iterator[Passing] = iter(())
        self._at = -1  # the last row that was given by it; -1 if there is none

    def up_to(self, frame: int, before: int = 0) -> Iterator[tuple[int, Image]]:
        """The frame with this number, and of the `before` frames before it those that are passed on the way to it.

        Yields:
            Number and (H, W, 3) RGB picture; the last one is the one that was asked for.

        Raises:
            InputError: there is no such frame in the table, or none with its time in the video.
        """
        row = int(np.searchsorted(self._frames, frame))
        if row >= len(self._frames) or self._frames[row] != frame:
            raise InputError(f"the analysis has no frame {frame}; its frames are {self._known()}")
        if self._reader.numbers is not None:
            yield frame, self._reader.picture(frame)
            return
        for start in self._starts(row):
            if start is not None:
                self._open, self._at = start, -1
            for k, image in self._on(row, before):
                yield int(self._frames[k]), image
                if k == row:
                    return
        raise InputError(
            f"{self._reader.info.source} has no frame at {self._times_s[row]:.6f} s, where frame {frame} was analysed; "
            "is it the video that was analysed?"
        )

    def _known(self) -> str:
        return f"{self._frames[0]} to {self._frames[-1]}" if len(self._frames) else "none"

    def _starts(self, row: int) -> Iterator[Iterator[Passing] | None]:
        """Where to look for a row, the quickest first; None to go on from where the last search ended."""
        if 0 <= self._at < row and (self._in_order or row - self._at <= NEAR):
            yield None
        if not self._in_order:
            for earlier_s in EARLIER_S:
                yield self._reader.from_keyframe(float(self._times_s[row]) - earlier_s)
        yield ((frame.time_s, lambda image=frame.image: image) for frame in self._reader)  # type: ignore[misc]

    def _on(self, row: int, before: int) -> Iterator[tuple[int, Image]]:
        """Go on until a row is reached or passed."""
        for time_s, picture in self._open:
            k = int(np.searchsorted(self._times_s, time_s - ROUNDED_S))
            known = k < len(self._times_s) and abs(self._times_s[k] - time_s) <= ROUNDED_S
            if known:
                self._at = k
                if row - before <= k <= row:
                    yield k, picture()
            if time_s > self._times_s[row] + ROUNDED_S:
                self._at = -1
                return
        self._at = -1
