"""Write a video file."""

import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

from openmer.errors import OutputError


class VideoWriter:
    """Writes an H.264 file, frame by frame, with the times of the source.

    Args:
        path: the file.
        width: even number of pixels.
        height: even number of pixels.
        fps: nominal rate; the frames' own times are what counts.
        crf: x264 quality; 21 is good, 14 hardly differs from the source.
        repeatable: whether the same frames give the same bytes on any machine (one thread, no encoder's name).
    """

    _CLOCK = 90_000

    def __init__(
        self, path: Path, width: int, height: int, fps: Fraction, *, crf: int = 21, repeatable: bool = False
    ) -> None:
        self._last = -1
        self._path = path
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._container = av.open(str(path), "w", container_options={"fflags": "+bitexact"} if repeatable else {})
        self._stream = cast(av.VideoStream, self._container.add_stream(codec, rate=fps))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, self._CLOCK)
        if codec == "libx264":
            self._stream.options = {"crf": str(crf), "preset": "veryfast"}
        if repeatable:
            self._stream.codec_context.thread_count = 1
            self._stream.codec_context.flags |= Flags.bitexact

    def write(self, image: npt.NDArray[np.uint8], time_s: float) -> None:
        """Append one (height, width, 3) RGB picture, shown from `time_s` on.

        Raises:
            OutputError: the picture cannot be written, for example because its time exceeds what a file can store.
        """
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._last = max(self._last + 1, round(time_s * self._CLOCK))
        try:
            frame.pts, frame.time_base = self._last, Fraction(1, self._CLOCK)
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OverflowError) as error:
            if isinstance(error, OSError):  # such as a full disk; the caller reports it
                raise
            raise OutputError(
                f"a frame at {time_s:.6g} s could not be written to {self._path.name}: {error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        with contextlib.suppress(*([] if kind is None else [av.error.FFmpegError])):  # the first error counts
            self._container.close()
