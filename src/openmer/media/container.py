"""A video file as libav sees it: opened safely, its stream chosen, its pictures upright and in 8 bits."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import cv2
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from openmer.errors import InputError
from openmer.media.clock import Notes, typical_step
from openmer.media.folder import to_8_bits, used_bits

# Formats whose files refer to other files, which would be read as well.
POINTING = frozenset(
    {"hls", "dash", "concat", "imf", "sdp", "rtsp", "avisynth", "vapoursynth", "lavfi", "webm_dash_manifest"}
)
# A title in another encoding is no reason to stop. PyAV 19 accepts any encoding and no longer has this argument.
ENCODING: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# Of libavformat's format flags: raw streams, whose times a demuxer makes up; clocks that may start anew.
NO_TIMESTAMPS, TS_DISCONT = 0x80, 0x200
INTERLACED = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}  # AVFieldOrder -> which field is displayed first
_CAPTURE_RATE = re.compile(r"capture[._ ]?(fps|frame[._ ]?rate)$", re.IGNORECASE)
_HUGE = re.compile(r"e[+-]?[\d_]{3}", re.IGNORECASE)  # an exponent whose digits `Fraction` would write out
_MEASURED = 300  # packets from which the usual step is measured
_PROBES = 9  # pictures that tell how many of 16 bits are used
MAYBE_MIRRORED = (
    "the pictures are turned as the file says, but whether they are mirrored as well could not be read: if a player "
    "shows them mirrored, left and right are exchanged in the results"
)
DAMAGED = "packets skipped because they could not be decoded"
CUT_OFF = "frames left out because a part of them is missing in the file, which is damaged or cut off"
EARLY = "frames left out at the beginning because they change pictures that the file does not hold"
DEINTERLACED = "interlaced frames, of two fields recorded one after the other, made into one picture each"


def open_file(path: Path, **options: str) -> "av.container.InputContainer":
    """Open a file as a container, with FFmpeg options; only files are opened, whatever a playlist says."""
    # Without `file:`, `12:30.mp4` would be taken for a protocol.
    allowed = {"protocol_whitelist": "file", **options}
    container: av.container.InputContainer = av.open(f"file:{path.absolute()}", options=allowed, **ENCODING)
    return container


def opened(source: Path) -> "av.container.InputContainer":
    """Open a video.

    Raises:
        InputError: it is no video, or a list of other files.
    """
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


def picture_stream(
    container: "av.container.InputContainer", source: Path, wanted: int | None = None
) -> "av.VideoStream":
    """The stream that is read: the wanted one, else the file's default, else the first; never a cover picture.

    Raises:
        InputError: the file has no video stream, or not the wanted one.
    """
    videos = _videos(container)
    if not videos:
        kinds = ", ".join("a cover picture" if s.type == "video" else s.type for s in container.streams)
        raise InputError(f"{source} has no video stream, only {kinds or 'nothing that is known'}")
    if wanted is None:
        return next((s for s in videos if s.disposition & Disposition.default), videos[0])
    chosen = next((s for s in videos if s.index == wanted), None)
    if chosen is None:
        raise InputError(f"{source} has no video stream {wanted} (--stream); it has {_list(videos)}")
    return chosen


def _videos(container: "av.container.InputContainer") -> list["av.VideoStream"]:
    covers = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return [s for s in container.streams.video if not s.disposition & covers and s.codec_context is not None]


def _list(videos: list["av.VideoStream"]) -> str:
    return ", ".join(f"{s.index} ({s.codec_context.name}, {s.width}x{s.height})" for s in videos)


def stream_choice(container: "av.container.InputContainer", stream: "av.VideoStream") -> str | None:
    """What is said of the choice where a file has several video streams."""
    others = [s for s in _videos(container) if s.index != stream.index]
    if not others:
        return None
    return f"of several video streams, {_list([stream])} is read; --stream reads another: {_list(others)}"


@dataclass(frozen=True)
class Stamps:
    """How a file counts time.

    Attributes:
        origin_s: the stamp at which its player shows 0: of its first sound or picture.
        step_s: the usual step from picture to picture, measured; None if it has no times or one picture.
        has_times: whether its pictures carry times.
        slots: whether it has a slot a picture, at even distances, of which some may be empty (AVI).
        joins: whether its clock may start anew in the middle.
        others_s: when its other sounds and pictures start, if there are any.
        end_s: the stamp at which its last picture ends, as the file says; None if it does not.
    """

    origin_s: Fraction
    step_s: Fraction | None
    has_times: bool
    slots: bool
    joins: bool
    others_s: tuple[Fraction, ...] = ()
    end_s: Fraction | None = None

    def without_it_s(self, first_s: Fraction) -> Fraction:
        """The origin where the stream's own first stamp is wrong and its pictures begin at `first_s`."""
        return min(self.others_s, default=first_s)


def stamps_of(container: "av.container.InputContainer", stream: "av.VideoStream") -> Stamps:
    """Measure how a file counts time, from its first packets; read the container anew afterwards."""
    flags = container.format.flags
    flags = int(getattr(flags, "value", flags))
    timed = not flags & NO_TIMESTAMPS
    slots = container.format.name == "avi"
    starts = {
        s.index: Fraction(s.start_time * s.time_base)
        for s in (*container.streams.audio, *_videos(container))
        if s.start_time is not None and s.time_base and timed
    }
    own = starts.pop(stream.index, Fraction(0))
    origin = min(own, *starts.values()) if starts else own
    rebased = bool(flags & TS_DISCONT)  # of a clock that may start anywhere, players show the first stamp as 0
    if "mp4" in container.format.name.split(",") or (origin < 0 and not rebased):
        # MP4 and MOV have a clock of their own, which starts at 0; elsewhere, too, what is before 0 is not played.
        origin = Fraction(0)
    times = []
    for packet in islice(container.demux(stream), _MEASURED):
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None and packet.time_base:
            times.append(stamp * packet.time_base)
    return Stamps(
        origin_s=origin,
        step_s=typical_step(times) if timed else None,
        has_times=timed,
        slots=slots,
        joins=rebased,
        others_s=tuple(starts.values()),
        end_s=_stated_end_s(container, stream) if timed and not rebased else None,
    )


def _stated_end_s(container: "av.container.InputContainer", stream: "av.VideoStream") -> Fraction | None:
    """Where the stream ends by the file's header, in its stamps' seconds; None if that is not said of it alone."""
    alone = len(container.streams) == 1 and container.duration is not None
    whole = Fraction(container.duration or 0, 1_000_000)
    if "matroska" in container.format.name.split(","):  # and WebM, which state the last stamp, not a length
        return whole if alone else None
    start = Fraction((stream.start_time or 0) * (stream.time_base or 0))
    if stream.duration is not None and stream.time_base:
        return start + stream.duration * stream.time_base
    return start + whole if alone else None


def pixel_aspect(stream: "av.VideoStream") -> Fraction:
    """Width over height of a pixel; 1 where the file does not say."""
    stated = _known(stream.sample_aspect_ratio) or _known(stream.codec_context.sample_aspect_ratio)
    return stated or Fraction(1)


def _known(aspect: Fraction | None) -> Fraction | None:
    """The aspect of a pixel, or None where 0 stands for one that is not known."""
    return aspect if aspect is not None and aspect > 0 else None


def as_fraction(text: str) -> Fraction:
    """A number as people and files write it: 200, 59.94 or 30000/1001.

    Raises:
        ValueError: it is no number, or one of so many digits that writing them out would take hours.
        ZeroDivisionError: it is divided by 0.
    """
    if len(text) > 60 or _HUGE.search(text):
        raise ValueError(text)
    return Fraction(text)


def capture_rate(container: "av.container.InputContainer", stream: "av.VideoStream") -> tuple[str, Fraction] | None:
    """The tag that says at how many frames a second a slow-motion video was recorded, and its value."""
    for name, value in (*stream.metadata.items(), *container.metadata.items()):
        if _CAPTURE_RATE.search(name):
            try:
                rate = as_fraction(str(value).strip()[:30]).limit_denominator(1001)
            except (ValueError, ZeroDivisionError):
                continue
            if Fraction(1, 10) <= rate <= 100_000:
                return name[:60], rate
    return None


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        frame: as libav gives it.
        aspect: width over height of its pixels, as the pictures themselves say; None if they do not.
    """

    frame: av.VideoFrame
    aspect: Fraction | None


Decoded = tuple[Fraction | None, int, Picture]


class _Places:
    """Numbers of pictures in order of presentation, with the frames counted of which there is no picture."""

    def __init__(self, notes: Notes, *, joins: bool) -> None:
        self._notes = notes
        self._joins = joins  # whether stamps may start anew
        self._next = 0
        self.packets = 0  # so far
        self._missing: list[int] = []  # stamps of packets without a picture, a heap
        self._early: list[int] | None = []  # stamps of what the decoder got before its first picture

    def gave(self, stamp: int | None) -> None:
        """The decoder got a packet."""
        self.packets += 1
        if self._early is not None and stamp is not None:
            self._early.append(stamp)

    def lost(self, stamp: int | None) -> None:
        """A packet will not become a picture: the decoder did not get it, or could not decode it."""
        if self._early is not None and stamp in self._early:
            return  # counted with the first picture
        if stamp is None or self._joins:
            self._next += 1
        else:
            heappush(self._missing, stamp)

    def number(self, stamp: int | None) -> int:
        """The number of the next picture."""
        if self._early is not None and stamp is not None:
            early = sum(other < stamp for other in self._early)
            if early:
                self._notes.add(EARLY, self._next, early)
            self._next += early
        self._early = None
        while self._missing and (stamp is None or self._missing[0] <= stamp):
            heappop(self._missing)
            self._next += 1
        self._next += 1
        return self._next - 1


def decoded(
    container: "av.container.InputContainer", stream: "av.VideoStream", stamps: Stamps, notes: Notes
) -> Iterator[Decoded]:
    """Stamp in seconds or None, number, and picture, in order of presentation; damaged packets are noted and skipped.

    Empty packets and those that could not be decoded count as frames, in the place that their stamps give them: the
    decoder gives pictures later than it gets packets.
    """
    places = _Places(notes, joins=stamps.joins)
    slots: list[int] = []
    reordered = bool(stream.codec_context.has_b_frames)
    packets = container.demux(stream)
    while True:
        at = None
        try:
            packet = next(packets, None)
            if packet is None:
                return
            at = packet.dts if packet.pts is None else packet.pts
            empty = packet.size == 0 and packet.dts is not None  # for the decoder it would be the end
            partial = packet.is_corrupt and not stamps.joins  # half a picture would be taken for motion
            if partial:
                notes.add(CUT_OFF, places.packets)
            if empty or partial:
                places.lost(at)
                continue
            places.gave(None if packet.is_discard else at)  # an edit list says that it is not to be seen
            if stamps.slots and packet.dts is not None:
                slots.append(packet.dts)
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            notes.add(DAMAGED, places.packets)
            places.lost(at)
            if notes.count(DAMAGED) > 1000:
                return
            continue
        # PyAV does not give the aspect of each picture; the decoder's may be early by the pictures that it holds.
        aspect = _known(stream.codec_context.sample_aspect_ratio)
        for frame in frames:
            stamp = frame.pts if frame.pts is not None else frame.dts
            base = frame.time_base or stream.time_base
            if stamps.slots and reordered and slots:  # AVI knows no times of presentation
                stamp = slots.pop(0)
            number = places.number(stamp)
            if stamps.slots and stamp is not None:
                number = stamp
            yield (None if stamp is None or not base else Fraction(stamp * base)), number, Picture(frame, aspect)


class Deinterlacer:
    """Makes one picture of each pair of fields, for as long as pictures are interlaced and of one size."""

    def __init__(self, stream: "av.VideoStream", notes: Notes) -> None:
        self._stream = stream
        self._notes = notes
        self._order = INTERLACED.get(int(getattr(stream.codec_context, "field_order", 0) or 0))
        self._graph: av.filter.Graph | None = None
        self._takes: tuple[int, int, str] | None = None  # width, height and format of the pictures of the graph

    def __call__(self, pictures: Iterator[Decoded]) -> Iterator[Decoded]:
        """The same pictures, without combs."""
        waiting: list[Decoded] = []
        for stamp, number, picture in pictures:
            frame = picture.frame
            interlaced = bool(frame.interlaced_frame or self._order)
            if self._graph is not None and self._takes != _kind(frame):  # it would scale them
                yield from self._rest(waiting)
            if self._graph is None and interlaced:
                self._graph, self._takes = self._started(frame), _kind(frame)
            if self._graph is None:
                yield stamp, number, picture
                continue
            if interlaced:
                self._notes.add(DEINTERLACED, number)
            waiting.append((stamp, number, picture))
            self._graph.push(frame)
            yield from self._ready(waiting)
        if self._graph is not None:
            yield from self._rest(waiting)

    def _started(self, frame: av.VideoFrame) -> av.filter.Graph:
        flagged = bool(frame.interlaced_frame)
        parity, which = ("auto", "interlaced") if flagged else (self._order, "all")
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or self._stream.time_base,
        )
        combed = graph.add("bwdif", f"mode=send_frame:parity={parity}:deint={which}")
        sink = graph.add("buffersink")
        source.link_to(combed)
        combed.link_to(sink)
        graph.configure()
        return graph

    def _rest(self, waiting: list[Decoded]) -> Iterator[Decoded]:
        """What the graph still holds; it takes no more."""
        assert self._graph is not None  # noqa: S101  (called only then)
        self._graph.push(None)
        yield from self._ready(waiting)
        self._graph = None

    def _ready(self, waiting: list[Decoded]) -> Iterator[Decoded]:
        assert self._graph is not None  # noqa: S101  (called only then)
        while waiting:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)  # noqa: S101  (the graph holds nothing else)
            stamp, number, picture = waiting.pop(0)
            yield stamp, number, replace(picture, frame=frame)


def _kind(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


@dataclass(frozen=True)
class Orientation:
    """How a decoded picture is turned to be seen as players show it: transposed first, then flipped.

    Attributes:
        transposed: x and y are exchanged.
        flipped_x: left and right are exchanged, then.
        flipped_y: top and bottom likewise.
        unsure: only the turn could be read; whether the picture is mirrored as well is not known.
    """

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False
    unsure: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """From the display matrix, whose pixel (x, y) goes to (a x + c y, b x + d y); the nearest right angle."""
        try:
            matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV does not know all kinds: not EXIF, as in cameras' MJPEG, nor several views
            turns = (cls(), cls(True, False, True, True), cls(False, True, True, True), cls(True, True, False, True))
            return turns[round(frame.rotation / 90) % 4]
        if matrix is None:
            return cls()
        a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The picture, (H, W) or (H, W, 3), upright."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(image[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1])


@dataclass(frozen=True)
class Pixels:
    """From a decoded picture to pixels.

    Attributes:
        stored: width and height of the pictures.
        aspect: width over height of their pixels, as the pictures say; if they do not, as it is taken for.
        size: width and height with square pixels, before it is turned.
        bits: used of 16-bit pixels; None for other depths, which libav scales.
    """

    stored: tuple[int, int]
    aspect: Fraction
    size: tuple[int, int]
    bits: int | None

    @classmethod
    def of(cls, pictures: Iterator[Picture], aspect: Fraction) -> "tuple[Pixels, Orientation] | None":
        """From the first pictures and the aspect of the file's pixels; None if there are no pictures."""
        first = next(pictures, None)
        if first is None:
            return None
        frame, bits = first.frame, None
        if _is_16_bits(frame):
            probes = [frame, *(picture.frame for picture in islice(pictures, _PROBES - 1))]
            bits = used_bits(max(int(p.to_ndarray(format=_wide(p)).max()) for p in probes))
        size = round(frame.width * aspect), frame.height
        return cls((frame.width, frame.height), first.aspect or aspect, size, bits), Orientation.of(frame)

    def change(self, picture: Picture) -> tuple[str, str, str] | None:
        """What is not as in the first picture, how it was there and how it is now; None if nothing changed.

        A picture that does not say the shape of its pixels has those of the first.
        """
        width, height = stored = picture.frame.width, picture.frame.height
        if stored != self.stored:
            return "picture size", f"{self.stored[0]}x{self.stored[1]}", f"{width}x{height}"
        aspect = picture.aspect or self.aspect
        if round(width * aspect) != round(width * self.aspect):
            before, now = (f"{a.numerator}:{a.denominator}" for a in (self.aspect, aspect))
            return "pixel shape", before, now
        return None

    def read(self, frame: av.VideoFrame, *, gray: bool) -> tuple[npt.NDArray[np.uint8], bool]:
        """(H, W) gray or (H, W, 3) RGB of square pixels, not yet turned, and whether any is too bright for the bits."""
        overfull = False
        if self.bits is None or not _is_16_bits(frame):
            image = np.asarray(frame.to_ndarray(format="gray" if gray else "rgb24"), np.uint8)
        else:
            image, overfull = to_8_bits(frame.to_ndarray(format=_wide(frame)), self.bits)
            if (image.ndim == 2) != gray:
                image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY if gray else cv2.COLOR_GRAY2RGB), np.uint8)
        if self.size != self.stored:
            image = np.asarray(cv2.resize(image, self.size, interpolation=cv2.INTER_AREA), np.uint8)
        return image, overfull


def _is_16_bits(frame: av.VideoFrame) -> bool:
    return bool(frame.format.components) and frame.format.components[0].bits == 16


def _wide(frame: av.VideoFrame) -> str:
    return "gray16le" if len(frame.format.components) < 3 else "rgb48le"
