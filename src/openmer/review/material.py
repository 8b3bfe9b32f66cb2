"""What a coder looks at: a result, its video's frames as JPEG by number, and its curves at any zoom."""

import glob
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from openmer.errors import InputError
from openmer.exchange.export import FRAMES, read_result
from openmer.media.clock import JOINED
from openmer.media.identity import source_digest
from openmer.media.reader import VideoReader, read_rate
from openmer.media.seek import FrameFinder
from openmer.review.frames import frames_table
from openmer.timeline import Timeline

Image = npt.NDArray[np.uint8]
CACHE_BYTES = 192_000_000
BEFORE = 24  # frames before the one that is asked for, which stepping back asks for next
QUALITY = 88
MAX_BINS = 4096


@dataclass(frozen=True)
class Curve:
    """The largest and smallest value of a curve in each of equal stretches of time.

    Attributes:
        low: (n,) NaN where nothing was measured; likewise `high`.
    """

    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]


class Material:
    """A result with its video.

    Args:
        folder: what `openmer analyze` wrote.
        video: the video, or a folder in which it lies; by default it is looked for beside the result.

    Attributes:
        folder: of the result.
        timeline: what was found.
        video: the file or folder of pictures.
        reader: the video.
        frames: (n,) int64 numbers of the analysed frames.
        times_s: (n,) their times, seconds of the file.

    Raises:
        InputError: there is no result, or its video is not found (says where it looked), or another one is there.
    """

    def __init__(self, folder: Path, video: Path | None = None) -> None:
        result = read_result(folder)
        self.folder, self.timeline = result.folder, result.timeline
        self._table = frames_table(self.folder / FRAMES, motion=True)
        self.frames = self._table["frame"].to_numpy(np.int64)
        self.times_s = self._table["time_s"].to_numpy(np.float64)
        if (np.diff(self.frames) <= 0).any() or (np.diff(self.times_s) <= 0).any():
            raise InputError(f"{self.folder / FRAMES} is damaged: its frames and times must rise")
        self.video = find_video(self.folder, self.timeline, video)
        known = self.timeline.provenance.get("source_digest")
        if known is not None and source_digest(self.video) != known:
            raise InputError(
                f"{self.video} has the name of the recording that was analysed in {self.folder} but is another one; "
                "say where that one is with --video"
            )
        settings = self.timeline.provenance.get("settings") or {}
        fps, stream = settings.get("fps"), settings.get("stream")
        self.reader = VideoReader(self.video, fps=None if fps is None else read_rate(str(fps)), stream=stream)
        joined = any(JOINED in str(warning) for warning in self.timeline.provenance.get("warnings", ()))
        self._finder = FrameFinder(self.reader, self.frames, self.times_s, in_order=joined)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0

    def row(self, frame: int) -> int:
        """The row of a frame.

        Raises:
            InputError: it was not analysed.
        """
        row = int(np.searchsorted(self.frames, frame))
        if row >= len(self.frames) or self.frames[row] != frame:
            raise InputError(f"frame {frame} was not analysed")
        return row

    def image(self, frame: int) -> Image:
        """(H, W, 3) RGB.

        Raises:
            InputError: the frame was not analysed, or is not in the video.
        """
        with self._lock:
            return [image for _, image in self._finder.up_to(frame)][-1]

    def jpeg(self, frame: int, width: int) -> bytes:
        """A frame as JPEG, at most `width` pixels wide; those just before it are kept for stepping back.

        Raises:
            InputError: the frame was not analysed, or is not in the video.
        """
        width = min(width, self.reader.info.width)
        with self._lock:
            if (frame, width) in self._cache:
                self._cache.move_to_end((frame, width))
                return self._cache[frame, width]
            data = b""
            for number, image in self._finder.up_to(frame, BEFORE):
                data = self._keep((number, width), image)
            return data

    def _keep(self, key: tuple[int, int], image: Image) -> bytes:
        if key not in self._cache:
            self._cache[key] = as_jpeg(image, key[1])
            self._bytes += len(self._cache[key])
            while self._bytes > CACHE_BYTES and len(self._cache) > 1:
                self._bytes -= len(self._cache.popitem(last=False)[1])
        self._cache.move_to_end(key)
        return self._cache[key]

    def curve(self, start_s: float, end_s: float, bins: int) -> Curve:
        """How far the region that moves most is from its slow drift, px of the crop.

        Args:
            start_s: first moment, seconds of the file.
            end_s: last moment.
            bins: number of equal stretches.

        Raises:
            InputError: the stretch is empty, or there are too many.
        """
        if not (start_s < end_s and end_s - start_s < 1e9 and 1 <= bins <= MAX_BINS):
            raise InputError(f"a curve has 1 to {MAX_BINS} stretches from an earlier to a later moment")
        edges = np.searchsorted(self.times_s, np.linspace(start_s, end_s, bins + 1))
        low, high = np.full(bins, np.nan, np.float32), np.full(bins, np.nan, np.float32)
        first, last = edges[0], edges[-1]
        filled = edges[1:] > edges[:-1]
        if filled.any():
            part = self.motion[first:last]
            starts = (edges[:-1] - first)[filled]
            low[filled], high[filled] = np.fmin.reduceat(part, starts), np.fmax.reduceat(part, starts)
        return Curve(low, high)

    @cached_property
    def motion(self) -> npt.NDArray[np.float32]:
        """(n,) how far the region that moves most is from its slow drift, px of the crop; NaN if unknown."""
        names = [str(name) for name in self._table]
        regions = [n.removesuffix("_dx_px") + "_px" for n in names if n.endswith("_dx_px") and n != "head_dx_px"]
        values = self._table[[n for n in regions if n in names]].to_numpy(np.float32)
        return np.fmax.reduce(values, axis=1) if values.shape[1] else np.full(len(values), np.nan, np.float32)

    @cached_property
    def landmarks(self) -> npt.NDArray[np.float32]:
        """(n, 68, 2) px of the picture, one row for each of `frames`; NaN without a face.

        Raises:
            InputError: landmarks.npz is missing or damaged.
        """
        path = self.folder / "landmarks.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                numbers, points = file["frame"], np.asarray(file["landmarks_px"], np.float32)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"cannot read {path}, which openmer analyze writes: {error}") from error
        if points.shape[1:] != (68, 2) or not np.array_equal(numbers, self.frames):
            raise InputError(f"{path} does not belong to {self.folder / FRAMES}")
        return points


def as_jpeg(image: Image, width: int) -> bytes:
    """(H, W, 3) RGB as JPEG, made smaller if it is wider than `width` pixels."""
    if image.shape[1] > width:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return data.tobytes()


def find_video(folder: Path, timeline: Timeline, given: Path | None = None) -> Path:
    """Where a result's video is.

    Args:
        folder: of the result.
        timeline: names the video, without folders.
        given: the video, or a folder in which it lies, at any depth.

    Raises:
        InputError: it is not there (says where it was looked for), or there are several and none is known as the one.
    """
    name = Path(str(timeline.provenance.get("source", ""))).name
    if given is not None and (given.is_file() or (given.is_dir() and given.name == name)):
        return given
    if given is not None and not given.exists():
        raise InputError(f"--video {given} does not exist; it is the video {name}, or a folder in which that lies")
    places: Sequence[Path] = (given,) if given is not None else (folder, folder.parent, folder.parent.parent, Path())
    known = timeline.provenance.get("source_digest")
    for place in places:
        if name and (place / name).exists() and (place / name).resolve() != folder.resolve():
            if given is not None and known is not None and source_digest(place / name) != known:
                break  # another recording of that name; below there may be the one
            return place / name
    if name and given is not None and (below := sorted(given.rglob(glob.escape(name)))):
        return _analysed(below, timeline)
    looked = ", ".join(dict.fromkeys(str(place.absolute()) for place in places))
    raise InputError(f"the video {name or '(unnamed)'} of {folder} was not found in {looked}; say where with --video")


def _analysed(videos: Sequence[Path], timeline: Timeline) -> Path:
    """Of videos of the same name, the one that was analysed."""
    known = timeline.provenance.get("source_digest")
    same = [video for video in videos if len(videos) == 1 or (known is not None and source_digest(video) == known)]
    if not same:
        listed = ", ".join(str(video) for video in videos[:5])
        raise InputError(f"{len(videos)} videos have the name of the analysed one ({listed}); say which with --video")
    return same[0]


def opinion(timeline: Timeline, index: int) -> Mapping[str, Any]:
    """What the machine says of one of its intervals, for a coder who is not blind."""
    interval = timeline.intervals[index]
    return {
        "label": interval.label,
        "expression": interval.expression,
        "score": interval.score,
        "peak_px": interval.peak_px,
        "regions": list(interval.regions),
        "probabilities": dict(interval.probabilities or {}),
        "action_units": dict(interval.action_units or {}),
    }
