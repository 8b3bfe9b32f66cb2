"""A video as it arrives: what is known after each frame, and events as soon as they are certain.

The same parts as in `analyze`, with the same meaning, but nothing waits for the end of the video: the spotter looks at
the last few seconds again and again, and the network gets one new pair of frames at a time.

Shape legend: R regions, T frames of a window.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from openmer.clip import Array
from openmer.errors import InputError
from openmer.face.registry import face_model
from openmer.face.track import Face, FaceTracker
from openmer.media.reader import Frame
from openmer.memory import given_back
from openmer.timeline import Interval, Window
from openmer.video.frame import FrameAnalyzer, FrameResult
from openmer.video.measurements import FrameRow, measurements_of, row_of
from openmer.video.recognition import Recognition, engine_of
from openmer.video.regions import REGION_NAMES, FrameMotion, MotionMeter
from openmer.video.result import with_opinions
from openmer.video.settings import SpottingSettings, StreamSettings
from openmer.video.spotting import region_motion, spot
from openmer.video.windows import IncrementalNetwork

# Seconds of what was recorded; in slow motion they last longer in the file.
MEMORY_S = 8.0  # of signals and windows that are kept
LOOK_EVERY_S = 0.25  # how often the spotter looks
APEX_MOVES_S = 0.15  # at most, from look to look
SETTLED_S = 0.8  # an apex this old no longer changes: all filters have seen what follows it


@dataclass(frozen=True)
class Moment:
    """What is known right after a frame.

    Attributes:
        frame: number of the frame.
        time_s: when it was taken, seconds from the first frame.
        face: box, landmarks and track, or None.
        motion: motion of the regions relative to the head; None without a face, or if motion is not measured.
        regions_px: (R,) how far each region is from its slow drift, as estimated from the past; NaN if unknown.
        probabilities: class probabilities of the newest window; None until a window is full.
        network_flow: (2, H, W) px of the crop, for the newest pair; None if this frame completed no new pair.
        network_landmarks: (68, 2) px of the image; None in the same case.
        window: the window that the network judged with this frame, or None.
        intervals: events that became certain with this frame.
        work_s: processing time of this frame.
        slowdown: seconds of the file that show one second of what was recorded.
        picture: in a folder, the picture's name.
        is_end: whether there are no more frames: the last one comes once more, with the events that were not certain
            before.
    """

    frame: int
    time_s: float
    face: Face | None
    motion: FrameMotion | None
    regions_px: Array
    probabilities: Mapping[str, float] | None
    network_flow: Array | None
    network_landmarks: Array | None
    window: Window | None
    intervals: tuple[Interval, ...]
    work_s: float
    slowdown: float = 1.0
    picture: str | None = None
    is_end: bool = False


_UNKNOWN = np.full(len(REGION_NAMES), np.nan, np.float32)


class LiveAnalysis:
    """The camera's way: one step of the analysis for each frame, and the spotter on the last few seconds.

    Args:
        settings: see `StreamSettings`.
        keep: whether everything that the network says is kept, for a result at the end; else only the last seconds.

    Attributes:
        threshold: the `expression_threshold` that holds.
    """

    def __init__(self, settings: StreamSettings, *, keep: bool = False) -> None:
        engine, self.threshold = engine_of(settings)
        self._network = None if engine is None else IncrementalNetwork(engine, settings.heads)
        meter = MotionMeter(settings.flow, settings.align) if settings.motion else None
        self._analyzer = FrameAnalyzer(FaceTracker(face_model(settings.face, settings.predictor)), meter, self._network)
        self._spotter = RunningSpotter(settings.spotting) if settings.motion else None
        self._keep = keep

    def update(self, frame: Frame) -> Moment:
        """Analyse the next frame."""
        start = perf_counter()
        result = self._analyzer.update(frame)
        network = self._network
        intervals = self._judged(() if self._spotter is None else self._spotter.update(result))
        if network is not None and not self._keep:
            network.result.forget_before(frame.time_s - MEMORY_S * result.slowdown)
        pair = None if network is None else network.newest
        return Moment(
            frame=result.index,
            time_s=result.time_s,
            face=result.face,
            motion=result.motion,
            regions_px=_UNKNOWN if self._spotter is None else self._spotter.regions_px,
            probabilities=None if network is None else network.probabilities,
            network_flow=None if pair is None else pair.flow,
            network_landmarks=None if pair is None else pair.landmarks,
            window=None if pair is None else pair.window,
            intervals=intervals,
            work_s=perf_counter() - start,
            slowdown=result.slowdown,
            picture=result.picture,
        )

    def finish(self) -> tuple[Interval, ...]:
        """The events that were not yet certain, now that no more frames follow."""
        return self._judged(() if self._spotter is None else self._spotter.finish())

    @property
    def recognition(self) -> Recognition | None:
        """Everything that the network said, if there is one."""
        return None if self._network is None else self._network.result.build(self._network.silent)

    def _judged(self, intervals: Sequence[Interval]) -> tuple[Interval, ...]:
        return with_opinions(intervals, None if self._network is None else self._network.result, self.threshold)


class RunningSpotter:
    """The classical spotter, run on the last few seconds every quarter of a second.

    Args:
        settings: what counts as a candidate.

    Attributes:
        regions_px: (R,) how far each region is from its slow drift, as estimated from the past; NaN if unknown.
    """

    def __init__(self, settings: SpottingSettings) -> None:
        self.regions_px = _UNKNOWN
        self._settings = settings
        self._rows: deque[FrameRow] = deque()
        self._looked_s = -np.inf
        self._certain_s = -np.inf
        self._given: deque[Interval] = deque(maxlen=32)

    def update(self, result: FrameResult) -> tuple[Interval, ...]:
        """The events that became certain with the next frame."""
        now_s, slowdown = result.time_s, result.slowdown
        left: tuple[Interval, ...] = ()
        if len(self._rows) > 1 and now_s - self._rows[-1].time_s > SETTLED_S * slowdown:
            left = self.finish()  # after a pause they may be forgotten before anybody looks
        self._rows.append(row_of(result))
        while now_s - self._rows[0].time_s > MEMORY_S * slowdown:
            self._rows.popleft()
        if now_s - self._looked_s < LOOK_EVERY_S * slowdown or len(self._rows) < 2:
            return left
        self._looked_s = now_s
        return (*left, *self._look(now_s, SETTLED_S * slowdown))

    def finish(self) -> tuple[Interval, ...]:
        """The events that the last look left open."""
        return tuple(self._look(self._rows[-1].time_s, 0.0)) if len(self._rows) > 1 else ()

    def _look(self, now_s: float, settled_s: float) -> Iterator[Interval]:
        signals = measurements_of(self._rows).signals
        self.regions_px = region_motion(signals, self._settings)[-1]
        certain = now_s - settled_s
        # Stamps are uneven, so the even grid and with it an apex moves from look to look by a frame.
        after = self._certain_s - APEX_MOVES_S * float(signals.slowdown)
        for interval in spot(signals, self._settings):
            apex = interval.onset_s if interval.apex_s is None else interval.apex_s
            known = any(interval.overlap(other) > 0 and interval.label == other.label for other in self._given)
            if after < apex <= certain and interval.offset_s <= now_s and not known:
                self._given.append(interval)
                yield interval
        self._certain_s = certain


def stream(
    frames: Iterable[Frame | tuple[float, npt.NDArray[np.uint8]]], settings: StreamSettings | None = None
) -> Iterator[Moment]:
    """Analyse frames as they arrive; memory use does not grow with their number.

    An event is given once, at most about a second after its apex, and not later than its offset allows. When the frames
    end, events of the last second may come in one more `Moment`.

    Args:
        frames: `Frame`s, or pairs of a time in seconds and a picture, (H, W) gray or (H, W, 3) RGB uint8.
        settings: see `StreamSettings`.

    Raises:
        InputError: the engine cannot be loaded, an item is not a frame, or times do not increase.
    """
    return moments_of(frames, LiveAnalysis(settings or StreamSettings()))


def moments_of(
    frames: Iterable[Frame | tuple[float, npt.NDArray[np.uint8]]], analysis: LiveAnalysis
) -> Iterator[Moment]:
    """What is known after each frame; see `stream`."""
    last_s, moment = -np.inf, None
    for number, item in enumerate(given_back(frames)):
        frame = item if isinstance(item, Frame) else _frame(number, item)
        if frame.time_s <= last_s:
            raise InputError(f"times of a stream must rise: {frame.time_s} s follows {last_s} s")
        last_s = frame.time_s
        moment = analysis.update(frame)
        yield moment
    intervals = analysis.finish()
    if moment is not None and intervals:
        yield replace(moment, window=None, network_flow=None, network_landmarks=None, intervals=intervals, is_end=True)


def _frame(number: int, item: tuple[float, npt.NDArray[np.uint8]]) -> Frame:
    """A frame from the caller's pair of a time and a picture."""
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[1], np.ndarray):
        raise InputError("a stream consists of pairs of a time in seconds and a picture, or of Frames")
    time_s, image = item
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"pictures must be (H, W) or (H, W, 3) uint8, got {image.shape} of {image.dtype}")
    return Frame(number, float(time_s), image)
