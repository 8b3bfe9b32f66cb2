"""Read a video, or a folder of numbered images, frame by frame with exact times.

One frame is in memory at a time. Times come from the file's presentation timestamps, so a variable frame rate is
preserved. Rotation metadata is applied.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from openmer.clip import Gray
from openmer.errors import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MIN_FPS, MAX_FPS = 0.1, 10_000
MAX_DIGITS = 19  # of a frame's number; longer ones do not fit in 64 bits
_NUMBER = re.compile(r"(\d+)\D*$")
_COPY = re.compile(r"\d ?\(\d+\)$| - copy", re.IGNORECASE)  # `img12(2).jpg`, `img12 - Copy.jpg`; not `frame (12).jpg`
_HUGE = re.compile(r"e[+-]?\d{3}", re.IGNORECASE)


# Formats whose files refer to other files, which would be read as well.
POINTING = frozenset(
    {"hls", "dash", "concat", "imf", "sdp", "rtsp", "avisynth", "vapoursynth", "lavfi", "webm_dash_manifest"}
)
# A title in another encoding is no reason to stop. PyAV 19 accepts any encoding and no longer has this argument.
ENCODING: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


@dataclass(frozen=True)
class VideoInfo:
    """What is known before the first frame is decoded.

    Attributes:
        source: the file or folder.
        width: pixels, after rotation.
        height: pixels, after rotation.
        fps: average frames per second, or None if the file does not say.
        num_frames: the file's own count, or an estimate from its duration, or None.
    """

    source: Path
    width: int
    height: int
    fps: Fraction | None
    num_frames: int | None


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: position in decoding order, from 0.
        time_s: presentation time in seconds from the first frame.
        image: (H, W, 3) uint8 RGB, or (H, W) uint8 when read as gray.
    """

    index: int
    time_s: float
    image: npt.NDArray[np.uint8]


class VideoReader:
    """Frames of a video file or of a folder of numbered images.

    Each iteration opens the source anew, so a reader can be iterated more than once.

    Args:
        source: the file or folder.
        fps: frames per second; needed for a folder, and for a file without timestamps.
        start_s: skip frames before this moment, seconds.
        end_s: stop after this moment, seconds, or None.
        gray: yield (H, W) gray instead of (H, W, 3) RGB.

    Attributes:
        info: size, rate and length as the source states them.
        problems: what was skipped: images of a folder that are not frames; while iterating, damaged packets and
            frames out of order.

    Raises:
        InputError: the source is missing, is not a video, has no video stream, or needs `fps`; on iterating: it ends
            before `start_s`.
    """

    def __init__(
        self,
        source: Path,
        *,
        fps: Fraction | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
        gray: bool = False,
    ) -> None:
        if fps is not None and not Fraction(1, 10) <= fps <= MAX_FPS:
            raise InputError(f"--fps must lie between {MIN_FPS} and {MAX_FPS}, got {float(fps):g}")
        if not 0 <= start_s < math.inf or (end_s is not None and not start_s < end_s < math.inf):
            raise InputError(f"--start and --end must satisfy 0 <= start < end, got {start_s} and {end_s}")
        try:
            there = source.exists()
        except OSError as error:
            raise InputError(f"cannot access {source}: {error.strerror or error}") from error
        if not there:
            raise InputError(f"there is no file or folder at {source}")
        self._fps = fps
        self._start_s = start_s
        self._end_s = end_s
        self._gray = gray
        self._images: list[tuple[int, Path]] | None = None
        self._passed_over: list[str] = []
        if source.is_dir():
            self._images, self._passed_over = _numbered_images(source, fps)
        self.problems = list(self._passed_over)
        self.info = self._folder_info(source) if source.is_dir() else self._file_info(source)

    def __iter__(self) -> Iterator[Frame]:
        self.problems = list(self._passed_over)
        frames = self._from_images() if self._images is not None else self._from_file()
        last_s = self._last_image_s()  # pictures before the start are never read
        for frame in frames:
            last_s = frame.time_s
            if self._end_s is not None and last_s > self._end_s:
                return
            if last_s >= self._start_s:
                yield frame
        if last_s < self._start_s:
            raise InputError(
                f"{self.info.source} ends at {last_s:.2f} s, before {self._start_s:g} s, where reading should start"
            )

    def _last_image_s(self) -> float:
        """When the last picture of a folder is; 0 for a file."""
        if self._images is None or self._fps is None:
            return 0.0
        return float((self._images[-1][0] - self._images[0][0]) / self._fps)

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The numbers in the names of a folder's images, in order; None for a file."""
        return None if self._images is None else tuple(number for number, _ in self._images)

    @property
    def expected_frames(self) -> int | None:
        """How many frames iterating is likely to yield, for a progress bar; None if unknown."""
        total, fps = self.info.num_frames, self.info.fps
        if total is None or fps is None:
            return total
        last = total if self._end_s is None else min(total, int(self._end_s * fps) + 1)
        return max(0, last - int(self._start_s * fps))

    def _file_info(self, source: Path) -> VideoInfo:
        with _opened(source) as container:
            stream = picture_stream(container, source)
            rate = stream.average_rate or stream.guessed_rate
            fps = self._fps or (Fraction(rate.numerator, rate.denominator) if rate else None)
            count = stream.frames or None
            if count is None and container.duration and fps:
                count = round(container.duration / av.time_base * fps)
            first = next(_decoded(container, stream, []), None)
            if first is None:
                raise InputError(f"no frame of {source} could be decoded; is the file damaged or cut off?")
            # Non-square pixels are made square, since motion is measured in pixels.
            aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
            width, height = round(first.width * aspect) if aspect > 0 else first.width, first.height
            self._upright = (width, height)
            if round(first.rotation) % 180:
                width, height = height, width
        return VideoInfo(source, width, height, fps, count)

    def _from_file(self) -> Iterator[Frame]:
        source = self.info.source
        index, last_s, origin = 0, -1.0, None
        with _opened(source) as container:
            stream = picture_stream(container, source)
            stream.thread_type = "AUTO"
            for picture in _decoded(container, stream, self.problems):
                if self._fps is not None:
                    time_s = float(index / self._fps)
                elif picture.pts is not None and picture.time_base:
                    stamp = picture.pts * picture.time_base
                    origin = stamp if origin is None else origin
                    time_s = float(stamp - origin)
                else:
                    raise InputError(f"{source} has no timestamps; give its frame rate with --fps")
                if time_s <= last_s:
                    self.problems.append(f"frame {index} is not later than the frame before it and is left out")
                else:
                    last_s = time_s
                    yield Frame(index, time_s, self._pixels(picture))
                index += 1

    def _pixels(self, picture: av.VideoFrame) -> npt.NDArray[np.uint8]:
        image = np.asarray(picture.to_ndarray(format="gray" if self._gray else "rgb24"), np.uint8)
        if self._upright != (picture.width, picture.height) and picture.height == self._upright[1]:
            image = np.asarray(cv2.resize(image, self._upright, interpolation=cv2.INTER_AREA), np.uint8)
        # PyAV gives the counter-clockwise angle by which the picture must be turned.
        quarter_turns = round(picture.rotation / 90) % 4
        image = np.ascontiguousarray(np.rot90(image, quarter_turns))
        expected = (self.info.height, self.info.width)
        if image.shape[:2] != expected:
            raise InputError(
                f"the picture size of {self.info.source} changes from {expected[1]}x{expected[0]} to "
                f"{image.shape[1]}x{image.shape[0]}; cut the video at that point and analyse the parts"
            )
        return image

    def _folder_info(self, source: Path) -> VideoInfo:
        assert self._images is not None  # noqa: S101  (set for a folder)
        height, width = _read_image(self._images[0][1], gray=True).shape[:2]
        return VideoInfo(source, width, height, self._fps, len(self._images))

    def _from_images(self) -> Iterator[Frame]:
        assert self._images is not None and self._fps is not None  # noqa: S101  (checked when opened)
        first = self._images[0][0]
        for index, (number, path) in enumerate(self._images):
            time_s = float((number - first) / self._fps)
            if time_s < self._start_s or (self._end_s is not None and time_s > self._end_s):
                continue  # skipped without reading it
            image = _read_image(path, gray=self._gray)
            if image.shape[:2] != (self.info.height, self.info.width):
                raise InputError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, the images before it are "
                    f"{self.info.width}x{self.info.height}; all must have the same size"
                )
            yield Frame(index, time_s, image)


def open_file(path: Path, **options: str) -> "av.container.InputContainer":
    """Open a file as a container, with FFmpeg options; only files are opened, whatever a playlist says."""
    # Without `file:`, `12:30.mp4` would be taken for a protocol.
    allowed = {"protocol_whitelist": "file", **options}
    container: av.container.InputContainer = av.open(f"file:{path.absolute()}", options=allowed, **ENCODING)
    return container


def _opened(source: Path) -> "av.container.InputContainer":
    try:
        container = open_file(source)
    except (av.error.FFmpegError, OSError) as error:
        size = source.stat().st_size
        hint = "the file is empty" if size == 0 else "is it a video, and complete?"
        raise InputError(f"cannot read {source} as a video ({error.strerror or error}); {hint}") from error
    if not POINTING.isdisjoint(container.format.name.split(",")):
        container.close()
        raise InputError(
            f"{source} is a list of other files ({container.format.name}), not a video; give the video itself"
        )
    return container


def picture_stream(container: "av.container.InputContainer", source: Path) -> "av.VideoStream":
    """The stream that is read: not a cover picture, and of several the one with the most frames."""
    if not container.streams.video:
        raise InputError(f"{source} has no video stream, only {', '.join(s.type for s in container.streams)}")
    return max(container.streams.video, key=lambda s: (not s.disposition & Disposition.attached_pic, s.frames))


def _decoded(
    container: "av.container.InputContainer", stream: "av.VideoStream", problems: list[str]
) -> Iterator[av.VideoFrame]:
    """Frames in order of presentation; a damaged packet is noted and skipped."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            problems.append(f"a damaged part was skipped ({error.strerror or error})")
            if len(problems) > 1000:
                return


def frame_number(path: Path) -> int | None:
    """The last number in a picture's name, which is its place among the frames of its folder.

    None for what is no frame: other files, hidden or empty pictures, copies such as `img12(2).jpg`, pictures without a
    number, and with one of more than 18 digits.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or _COPY.search(path.stem):
        return None
    match = _NUMBER.search(path.stem)
    if match is None or len(match[1]) >= MAX_DIGITS or not path.stat().st_size:
        return None
    return int(match[1])


def _numbered_images(folder: Path, fps: Fraction | None) -> tuple[list[tuple[int, Path]], list[str]]:
    """(number, path) sorted by number, 9 before 10, and what is said of pictures that are no frames."""
    try:
        images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        numbers = [frame_number(path) for path in images]
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error
    if not images:
        raise InputError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    numbered: dict[int, Path] = {}
    for number, path in zip(numbers, images, strict=True):
        if number is None:
            continue
        if number in numbered:
            raise InputError(f"{path.name} and {numbered[number].name} in {folder} have the same number")
        numbered[number] = path
    others = sorted(path.name[:80] for number, path in zip(numbers, images, strict=True) if number is None)
    if not numbered:
        raise InputError(
            f"no image in {folder} has a number of at most {MAX_DIGITS - 1} digits in its name that says its place in "
            f"time, such as img12.png (there is {others[0]}); empty images and copies do not count"
        )
    if fps is None:
        raise InputError(f"{folder} is a folder of images; give their frame rate, for example --fps 200")
    if not others:
        return sorted(numbered.items()), []
    who = f"{others[0]} is" if len(others) == 1 else f"{len(others)} images, such as {others[0]}, are"
    why = f"empty, a copy, or without a number of at most {MAX_DIGITS - 1} digits in the name"
    return sorted(numbered.items()), [f"{who} left out: {why}"]


def _read_image(path: Path, *, gray: bool) -> npt.NDArray[np.uint8]:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    flag = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB
    try:
        image = cv2.imdecode(data, flag) if data.size else None
    except cv2.error as error:  # for example a header that states more pixels than OpenCV allows
        raise InputError(f"{path} is not a readable image: {error.err}") from error
    if image is None:
        raise InputError(f"{path} is not a readable image")
    return np.asarray(image, np.uint8)


def read_rate(text: str, name: str = "fps") -> Fraction:
    """Parse frames per second as people write them: 200, 59.94 or 30000/1001.

    Args:
        text: the text to parse.
        name: name of the value, for error messages.

    Raises:
        InputError: the text is not a number, or the number is not above 0.
    """
    try:
        if _HUGE.search(text) or len(text) > 60:
            raise ValueError(text)  # Fraction would expand all its digits
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"{name} must be a number such as 200 or 30000/1001, got {text[:60]!r}") from error
    if rate <= 0:
        raise InputError(f"{name} must be above 0, got {text}")
    return rate


def as_gray(image: npt.NDArray[np.uint8]) -> Gray:
    """An RGB or gray picture as (H, W) gray."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
