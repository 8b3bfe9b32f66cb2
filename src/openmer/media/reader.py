"""Read a video, or a folder of numbered pictures, frame by frame: upright, on one clock, with the source's own numbers.

One frame is in memory at a time, and a few more while its time is judged. Times are seconds of the file as its player
shows them, from the presentation timestamps, so a variable frame rate is preserved.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import av.error
import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Gray
from openmer.errors import InputError
from openmer.media.clock import WILD, Notes, on_one_clock
from openmer.media.container import (
    MAYBE_MIRRORED,
    Decoded,
    Deinterlacer,
    Orientation,
    Picture,
    Pixels,
    Stamps,
    as_fraction,
    capture_rate,
    decoded,
    opened,
    picture_stream,
    pixel_aspect,
    stamps_of,
    stream_choice,
)
from openmer.media.folder import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from openmer.media.folder import Pictures, numbered_pictures, refuse_stack, told_of_steps
from openmer.timeline import Clock

MIN_FPS, MAX_FPS = 0.1, 10_000
MIN_LACK_S, MIN_LACK = 1.0, 0.02  # seconds and share that the pictures may end before the file's header says
SAME_RATE = 0.02  # up to which a rate that is given and one that is measured are the same
PRINTED_S = 1e-6  # by which times that were written with 6 digits can miss their frame
# Recorded over shown, from and up to which a tag is believed: in dim light phones take 20 or 24 pictures a second, and
# their tag still says 30.
SLOW_MOTION, TIME_LAPSE = Fraction(9, 5), Fraction(11, 20)
OVERFULL = "frames brighter than those by which 16-bit pixels are scaled (their bright parts are white)"
BEFORE = "frames left out because they are before the 0 of the file's clock, where players begin"


@dataclass(frozen=True)
class VideoInfo:
    """What is known before the first frame is given.

    Attributes:
        source: the file or folder.
        width: pixels, after rotation.
        height: pixels, after rotation.
        fps: frames a second of the file's clock, measured from its first pictures; None if there is only one.
        num_frames: the file's own count, or an estimate from its duration, or None.
        clock: what the times mean.
    """

    source: Path
    width: int
    height: int
    fps: Fraction | None
    num_frames: int | None
    clock: Clock


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        index: the source's own number: in a folder the number in the picture's name; in a file the place in order of
            presentation from 0, empty frames counted.
        time_s: seconds of the file, as its player shows them; in a folder, from the first picture.
        image: (H, W, 3) uint8 RGB, or (H, W) uint8 when read as gray.
        slowdown: seconds of the file that show one second of what was recorded; 1 but for slow motion.
        picture: in a folder, the picture's name.
    """

    index: int
    time_s: float
    image: npt.NDArray[np.uint8]
    slowdown: float = 1.0
    picture: str | None = None

    @property
    def real_s(self) -> float:
        """Seconds of what was recorded, by which durations are judged."""
        return self.time_s / self.slowdown


Unread = tuple[int, float, str | None, Callable[[], npt.NDArray[np.uint8]]]  # number, seconds, name, its image


class VideoReader:
    """Frames of a video file or of a folder of numbered pictures.

    Each iteration opens the source anew, so a reader can be iterated more than once.

    Args:
        source: the file or folder.
        fps: frames a second at which it was recorded; needed for a folder and for a file without times. If a file's own
            times show another rate, it is slow motion or a time lapse: its times stay, and its clock says so.
        start_s: skip frames before this moment, seconds of the file.
        end_s: stop after this moment, seconds of the file, or None.
        gray: yield (H, W) gray instead of (H, W, 3) RGB.
        stream: index of the stream in the file; by default the file's default one.

    Attributes:
        info: size, rate, length and clock of the source.

    Raises:
        InputError: the source is missing, is not a video, has no such video stream, or needs `fps`; on iterating: it
            ends before `start_s`.
    """

    def __init__(
        self,
        source: Path,
        *,
        fps: Fraction | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
        gray: bool = False,
        stream: int | None = None,
    ) -> None:
        if fps is not None and not Fraction(1, 10) <= fps <= MAX_FPS:
            raise InputError(f"--fps must lie between {MIN_FPS} and {MAX_FPS}, got {float(fps):g}")
        if not 0 <= start_s < math.inf or (end_s is not None and not start_s < end_s < math.inf):
            raise InputError(f"--start and --end must satisfy 0 <= start < end, got {start_s} and {end_s}")
        try:
            exists = source.exists()
        except OSError as error:
            raise InputError(f"cannot access {source}: {error.strerror or error}") from error
        if not exists:
            raise InputError(f"there is no file or folder at {source}")
        self._fps = fps
        self._start_s = start_s
        self._end_s = end_s
        self._gray = gray
        self._stream = stream
        self._remarks: list[str] = []
        self._lack: list[str] = []
        self._notes = Notes()
        self._pictures: Pictures | None = None
        if source.is_dir():
            self.info = self._folder_info(source)
        else:
            self.info = self._file_info(source)

    def __iter__(self) -> Iterator[Frame]:
        self._notes = Notes()
        self._lack = []
        last_s = 0.0
        unread = self._from_file() if self._pictures is None else self._from_pictures(self._pictures)
        for number, last_s, name, image in unread:
            if self._end_s is not None and last_s > self._end_s + PRINTED_S:
                return
            if last_s >= self._start_s - PRINTED_S:
                yield Frame(number, last_s, image(), self.info.clock.slowdown, name)
        self._lack = [] if self._pictures is not None else _lacking(self._stamps, last_s)
        if last_s < self._start_s - PRINTED_S:
            raise InputError(
                f"{self.info.source} ends at {last_s:.2f} s, before {self._start_s:g} s, where reading should start"
            )

    @property
    def problems(self) -> list[str]:
        """What a user should know: choices made for this source, and what the last iteration met, a sentence a kind."""
        return [*self._remarks, *self._notes.sentences(), *self._lack]

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The numbers in the names of a folder's pictures, in order; None for a file."""
        return None if self._pictures is None else tuple(number for number, _ in self._pictures.numbered)

    @property
    def can_seek(self) -> bool:
        """Whether `from_keyframe` can be used: the file's stamps are one clock, and tell its pictures apart."""
        return self._pictures is None and self._stamps.has_times and not (self._stamps.joins or self._stamps.slots)

    def picture(self, number: int) -> npt.NDArray[np.uint8]:
        """The picture of a folder that has this number, as in `Frame.image`.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        numbered = dict(() if self._pictures is None else self._pictures.numbered)
        if self._pictures is None or number not in numbered:
            raise InputError(f"{self.info.source} has no picture {number}")
        return self._pictures.read(numbered[number], gray=self._gray)[0]

    def from_keyframe(self, time_s: float) -> Iterator[tuple[float, Callable[[], npt.NDArray[np.uint8]]]]:
        """Read a file from the last picture before a moment that can be decoded by itself.

        Args:
            time_s: the moment, seconds of the file.

        Yields:
            Time, by the file's own stamps alone, and what makes the upright picture. Numbers are not known here.
        """
        with opened(self.info.source) as container:
            stream = picture_stream(container, self.info.source, self._stream)
            stream.thread_type = "AUTO"
            assert stream.time_base is not None  # noqa: S101  (asked for by `can_seek`)
            stamp = (Fraction(max(0.0, time_s)) + self._stamps.origin_s) / stream.time_base
            with suppress(av.error.FFmpegError):  # it knows no place before: read from the beginning
                container.seek(round(stamp), stream=stream, backward=True)
            notes = Notes()
            for at, _, picture in Deinterlacer(stream, notes)(decoded(container, stream, self._stamps, notes)):
                if at is not None:
                    time_s = float(at - self._stamps.origin_s)
                    yield time_s, partial(self._upright, picture, time_s)

    @property
    def expected_frames(self) -> int | None:
        """How many frames iterating is likely to yield, for a progress bar; None if unknown."""
        total, fps = self.info.num_frames, self.info.fps
        if total is None or fps is None:
            return total
        last = total if self._end_s is None else min(total, int((self._end_s + PRINTED_S) * fps) + 1)
        return max(0, last - math.ceil((self._start_s - PRINTED_S) * fps))

    def _file_info(self, source: Path) -> VideoInfo:
        refuse_stack(source)
        with opened(source) as container:
            stream = picture_stream(container, source, self._stream)
            self._stamps = stamps_of(container, stream)
            if not self._stamps.has_times and self._fps is None:
                raise InputError(
                    f"{source} has no timestamps ({container.format.name}); give its frame rate with --fps"
                )
            clock = self._clock(self._stamps.step_s, capture_rate(container, stream))
            self._remarks += _shifted(self._stamps)
            choice = stream_choice(container, stream)
            self._remarks += [choice] if choice else []
        with opened(source) as container:
            stream = picture_stream(container, source, self._stream)
            pictures = (picture for _, _, picture in decoded(container, stream, self._stamps, Notes()))
            # Non-square pixels are made square, since motion is measured in pixels.
            look = Pixels.of(pictures, pixel_aspect(stream))
            if look is None:
                kind = stream.codec_context.name
                raise InputError(
                    f"no frame of {source} ({kind}) could be decoded; is the file damaged or cut off? If a player "
                    "shows it, as with animated WebP, convert it to MP4"
                )
            self._pixels, turn = look
            fps = self._fps if self._stamps.step_s is None else 1 / self._stamps.step_s
            count = stream.frames or None
            if count is None and container.duration and fps:
                count = round(Fraction(container.duration, 1_000_000) * fps)
        self._remarks += _scaled(self._pixels.bits)
        self._remarks += [MAYBE_MIRRORED] if turn.unsure else []
        width, height = self._pixels.size[:: -1 if turn.transposed else 1]
        return VideoInfo(source, width, height, fps, count, clock)

    def _clock(self, step_s: Fraction | None, tag: tuple[str, Fraction] | None) -> Clock:
        """What the file's seconds mean; a slow-motion tag is remarked, whether it is believed or not."""
        if step_s is None:
            return Clock(fps=None if self._fps is None else float(self._fps))
        own = 1 / step_s
        real, by = (self._fps, "--fps") if self._fps is not None else (tag[1], tag[0]) if tag else (own, "")
        if abs(real / own - 1) <= SAME_RATE:
            return Clock(fps=float(own))
        if self._fps is None:
            said = (
                f"the tag {by} says that {float(real):g} frames a second were recorded, and the file shows "
                f"{float(own):.4g}"
            )
            if TIME_LAPSE < real / own < SLOW_MOTION:
                self._remarks.append(
                    f"{said}: the two are too near for slow motion or a time lapse, so the tag is not believed and "
                    f"the file's times are taken for real; --fps {float(real):g} would judge durations by the tag"
                )
                return Clock(fps=float(own))
            self._remarks.append(
                f"{said}: durations are judged in real time, as with --fps {float(real):g}, and times are those of "
                f"the file; --fps {float(own):.4g} would take the file's times for real"
            )
        return Clock(fps=float(own), slowdown=float(real / own), real_fps_from=by)

    def _from_file(self) -> Iterator[Unread]:
        source, stamps = self.info.source, self._stamps
        with opened(source) as container:
            stream = picture_stream(container, source, self._stream)
            stream.thread_type = "AUTO"
            pictures = Deinterlacer(stream, self._notes)(decoded(container, stream, stamps, self._notes))
            if stamps.step_s is None:
                pictures = self._timed(pictures)
            origin = None
            step = stamps.step_s or 1 / (self._fps or Fraction(30))
            for at, number, picture in on_one_clock(pictures, step, self._notes, joins=stamps.joins):
                if at < 0 and not stamps.joins:
                    self._notes.add(BEFORE, number)
                    continue
                if origin is None:  # a wild first stamp is no origin
                    origin = min(at, stamps.without_it_s(at) if self._notes.count(WILD) else stamps.origin_s)
                time_s = float(at - origin)
                yield number, time_s, None, partial(self._upright, picture, time_s, number)

    def _timed(self, pictures: Iterator[Decoded]) -> Iterator[Decoded]:
        """Times by the given rate, for a source that has none."""
        for stamp, number, picture in pictures:
            if stamp is not None and self._stamps.has_times:
                yield stamp, number, picture
            elif self._fps is not None:
                yield number / self._fps, number, picture
            else:
                raise InputError(f"{self.info.source} has no timestamps; give its frame rate with --fps")

    def _upright(self, picture: Picture, time_s: float, number: int | None = None) -> npt.NDArray[np.uint8]:
        change = self._pixels.change(picture)
        if change is None:
            image, overfull = self._pixels.read(picture.frame, gray=self._gray)
            if overfull and number is not None:
                self._notes.add(OVERFULL, number)
            image = Orientation.of(picture.frame)(image)
            (height, width), expected = image.shape[:2], (self.info.height, self.info.width)
            if (height, width) == expected:
                return image
            change = "picture size", f"{expected[1]}x{expected[0]}", f"{width}x{height}"
        what, before, now = change
        frame = "" if number is None else f", frame {number}"
        raise InputError(
            f"the {what} of {self.info.source} changes from {before} to {now} ({time_s:.2f} s{frame}); cut the video "
            "at that point and analyse the parts"
        )

    def _folder_info(self, source: Path) -> VideoInfo:
        self._pictures = pictures = numbered_pictures(source)
        if self._fps is None:
            raise InputError(f"{source} is a folder of images; give their frame rate, for example --fps 200")
        self._remarks += [pictures.left_out] if pictures.left_out else []
        self._remarks += _scaled(pictures.bits)
        self._remarks += told_of_steps(pictures, self._fps)
        height, width = pictures.read(pictures.numbered[0][1], gray=True)[0].shape[:2]
        numbers = [number for number, _ in pictures.numbered]
        each = median_low([b - a for a, b in pairwise(numbers)] or [1])  # numbers may be milliseconds
        clock = Clock(fps=float(self._fps / each))
        return VideoInfo(source, width, height, self._fps, len(pictures.numbered), clock)

    def _from_pictures(self, pictures: Pictures) -> Iterator[Unread]:
        assert self._fps is not None  # noqa: S101  (asked for when opened)
        first = pictures.numbered[0][0]
        for number, path in pictures.numbered:
            yield number, float((number - first) / self._fps), path.name, partial(self._of_folder, number, path)

    def _of_folder(self, number: int, path: Path) -> npt.NDArray[np.uint8]:
        assert self._pictures is not None  # noqa: S101  (called only then)
        image, overfull = self._pictures.read(path, gray=self._gray)
        if overfull:
            self._notes.add(OVERFULL, number)
        if image.shape[:2] != (self.info.height, self.info.width):
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, the images before it are "
                f"{self.info.width}x{self.info.height}; all must have the same size"
            )
        return image


def _shifted(stamps: Stamps) -> list[str]:
    """What is said of a clock that players count differently: of a file's own, which does not begin at 0."""
    if stamps.joins or stamps.step_s is None or stamps.origin_s <= stamps.step_s / 2:
        return []
    first = f"{float(stamps.origin_s):.3f} s"
    return [
        f"the clock of the file begins at {first}; times here count from there, as mpv and BORIS show them, and a "
        f"browser shows {first} more"
    ]


def _lacking(stamps: Stamps, last_s: float) -> list[str]:
    """What is said of a file whose pictures end before its header says so."""
    if stamps.end_s is None:
        return []
    stated_s = float(stamps.end_s - stamps.origin_s)
    if stated_s - last_s <= max(MIN_LACK_S, MIN_LACK * stated_s, 2 * float(stamps.step_s or 0)):
        return []
    return [f"the pictures end at {last_s:.2f} s, and the file says {stated_s:.2f} s; is it damaged or cut off?"]


def _scaled(bits: int | None) -> list[str]:
    """What is said of 16-bit pixels that use fewer bits."""
    return [f"pixels of 16 bits use {bits}, and are scaled by that"] if bits in (10, 12, 14) else []


def read_rate(text: str, name: str = "fps") -> Fraction:
    """Parse frames per second as people write them: 200, 59.94 or 30000/1001.

    Args:
        text: the text to parse.
        name: name of the value, for error messages.

    Raises:
        InputError: the text is not a number, or the number is not above 0.
    """
    try:
        rate = as_fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"{name} must be a number such as 200 or 30000/1001, got {text[:60]!r}") from error
    if rate <= 0:
        raise InputError(f"{name} must be above 0, got {text}")
    return rate


def as_gray(image: npt.NDArray[np.uint8]) -> Gray:
    """An RGB or gray picture as (H, W) gray."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
