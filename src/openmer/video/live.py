"""A video as it arrives: what is known after each frame, and events as soon as they are certain.

The same parts as in `analyze`, with the same meaning, but nothing waits for the end of the video: the spotter looks at
the last few seconds again and again, and the network gets one new pair of frames at a time.

Shape legend: R regions, T frames of a window.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch

from openmer.clip import Array, Gray
from openmer.clips.flow import FlowMethod
from openmer.clips.transforms import MIN_SPREAD
from openmer.errors import InputError
from openmer.face.align import Alignment, AlignMode, SteadyAlignment
from openmer.face.track import Face, FaceModelName, FaceTracker, face_model
from openmer.media.reader import Frame, as_gray
from openmer.models.incremental import Incremental
from openmer.models.mol import MOLOutput
from openmer.timeline import Interval, Window
from openmer.video.recognition import (
    CLASSICAL,
    DEFAULT_ENGINE,
    LONGEST_S,
    SPACING_S,
    Engine,
    Held,
    by_name,
    load_engine,
    reviewed,
)
from openmer.video.regions import REGION_NAMES, FrameMotion, MotionMeter
from openmer.video.spotting import Signals, SpottingSettings, region_motion, spot

MEMORY_S = 8.0  # of signals and windows that are kept
LOOK_EVERY_S = 0.25  # how often the spotter looks
SETTLED_S = 0.8  # an apex this old no longer changes: all filters have seen what follows it


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How a stream is analysed.

    Attributes:
        engine: `classical`, the name of shipped weights, or a .safetensors file.
        motion: whether regions are measured and events spotted; without it only the network runs, which is faster.
        heads: which of the network's heads to use; None for all.
        align: as in `AnalyzeSettings`.
        flow: likewise.
        device: likewise.
        expression_threshold: likewise.
        face: likewise.
        predictor: likewise.
        spotting: likewise.
    """

    engine: str = DEFAULT_ENGINE
    motion: bool = True
    heads: tuple[str, ...] | None = None
    align: AlignMode = "per_clip"
    flow: FlowMethod = "dis"
    device: str = "auto"
    expression_threshold: float = 0.5
    face: FaceModelName = "dlib"
    predictor: Path | None = None
    spotting: SpottingSettings = field(default_factory=SpottingSettings)

    def __post_init__(self) -> None:
        if not self.motion and self.engine == CLASSICAL:
            raise InputError("a stream without motion needs a network: choose another engine than classical")


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
    is_end: bool = False


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
    settings = settings or StreamSettings()
    watcher = _Watcher(settings)
    last, moment = -np.inf, None
    for number, item in enumerate(frames):
        frame = item if isinstance(item, Frame) else _frame(number, item)
        if frame.time_s <= last:
            raise InputError(f"times of a stream must rise: {frame.time_s} s follows {last} s")
        last = frame.time_s
        moment = watcher.see(frame)
        yield moment
    found = watcher.finish()
    if moment is not None and found:
        yield replace(moment, window=None, network_flow=None, network_landmarks=None, intervals=found, is_end=True)


def _frame(number: int, item: tuple[float, npt.NDArray[np.uint8]]) -> Frame:
    """A frame from the caller's pair of a time and a picture."""
    if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[1], np.ndarray):
        raise InputError("a stream consists of pairs of a time in seconds and a picture, or of Frames")
    time_s, image = item
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"pictures must be (H, W) or (H, W, 3) uint8, got {image.shape} of {image.dtype}")
    return Frame(number, float(time_s), image)


_Spotted = tuple[FrameMotion | None, Array, tuple[Interval, ...]]
_NOTHING: _Spotted = (None, np.full(len(REGION_NAMES), np.nan, np.float32), ())


class _Watcher:
    """The parts that process each frame."""

    def __init__(self, settings: StreamSettings) -> None:
        self._tracker = FaceTracker(face_model(settings.face, settings.predictor))
        self._spotter = _RunningSpotter(settings) if settings.motion else None
        engine = None if settings.engine == CLASSICAL else load_engine(settings.engine, settings.device)
        self._network = None if engine is None else _RunningNetwork(engine, settings.heads)
        self._engine = engine
        self._least = settings.expression_threshold

    def see(self, frame: Frame) -> Moment:
        start = perf_counter()
        gray = as_gray(frame.image)
        face = self._tracker.update(gray)
        seen = None if self._network is None else self._network.see(frame, gray, face)
        motion, regions, found = _NOTHING if self._spotter is None else self._spotter.see(frame, gray, face)
        found = self._reviewed(found)
        return Moment(
            frame=frame.index,
            time_s=frame.time_s,
            face=face,
            motion=motion,
            regions_px=regions,
            probabilities=None if self._network is None else self._network.probabilities,
            network_flow=None if seen is None else seen[0],
            network_landmarks=None if seen is None else seen[1],
            window=None if self._network is None else self._network.newest(frame),
            intervals=found,
            work_s=perf_counter() - start,
        )

    def finish(self) -> tuple[Interval, ...]:
        """The events that were not yet certain, now that no more frames follow."""
        return () if self._spotter is None else self._reviewed(self._spotter.finish())

    def _reviewed(self, found: tuple[Interval, ...]) -> tuple[Interval, ...]:
        if self._network is None or self._engine is None:
            return found
        return tuple(reviewed(i, self._network.windows, self._engine, self._least) for i in found)


class _RunningSpotter:
    """The classical spotter, run on the last few seconds every quarter of a second."""

    def __init__(self, settings: StreamSettings) -> None:
        self._meter = MotionMeter(settings.flow, settings.align)
        self._settings = settings.spotting
        self._rows: deque[tuple[Frame, int, FrameMotion | None]] = deque()
        self._looked_s = -np.inf
        self._certain_s = -np.inf
        self._given: deque[Interval] = deque(maxlen=32)
        self._regions = np.full(len(REGION_NAMES), np.nan, np.float32)

    def see(self, frame: Frame, gray: Gray, face: Face | None) -> _Spotted:
        motion = self._meter.update(frame.time_s, gray, face)
        # Keep only the frame's number and time, and the motion without its flow field.
        kept = Frame(frame.index, frame.time_s, np.empty((0, 0), np.uint8))
        self._rows.append((kept, -1 if face is None else face.track, motion and _without_flow(motion)))
        while frame.time_s - self._rows[0][0].time_s > MEMORY_S:
            self._rows.popleft()
        if frame.time_s - self._looked_s < LOOK_EVERY_S or len(self._rows) < 2:
            return motion, self._regions, ()
        self._looked_s = frame.time_s
        return motion, self._regions, tuple(self._look(frame.time_s))

    def finish(self) -> tuple[Interval, ...]:
        """The events that the last look left open."""
        return tuple(self._look(self._rows[-1][0].time_s, 0.0)) if len(self._rows) > 1 else ()

    def _look(self, now_s: float, settled_s: float = SETTLED_S) -> Iterator[Interval]:
        signals = _signals(self._rows)
        self._regions = region_motion(signals, self._settings)[-1]
        certain = now_s - settled_s
        for interval in spot(signals, self._settings):
            apex = interval.onset_s if interval.apex_s is None else interval.apex_s
            known = any(interval.overlap(other) > 0 and interval.label == other.label for other in self._given)
            if self._certain_s < apex <= certain and interval.offset_s <= now_s and not known:
                self._given.append(interval)
                yield interval
        self._certain_s = certain


def _without_flow(motion: FrameMotion) -> FrameMotion:
    nothing = np.empty((2, 0, 0), np.float32)
    return FrameMotion(
        motion.displacement, motion.head, motion.flow_median_px, motion.eyes_open, motion.alignment, nothing
    )


def _signals(rows: Iterable[tuple[Frame, int, FrameMotion | None]]) -> Signals:
    rows = tuple(rows)
    unknown = (np.full((len(REGION_NAMES), 2), np.nan), np.full(6, np.nan), np.full(2, np.nan))
    parts = [unknown if m is None else (m.displacement, m.head, m.eyes_open) for _, _, m in rows]
    displacement, head, eyes = (np.stack([p[k] for p in parts]).astype(np.float32) for k in range(3))
    return Signals(
        frames=np.array([frame.index for frame, _, _ in rows], np.int64),
        times_s=np.array([frame.time_s for frame, _, _ in rows]),
        displacement=displacement,
        head=head,
        eyes_open=eyes,
        track=np.array([-1 if m is None else track for _, track, m in rows], np.int64),
    )


class _RunningNetwork:
    """The network, run on the newest pair of frames, spaced as in a window.

    Alignment and gray scale are kept while the face stays in place; when either has to change, the few frames that are
    held are run again with the new one.
    """

    def __init__(self, engine: Engine, heads: Sequence[str] | None) -> None:
        self._engine = engine
        chosen = None if heads is None else tuple(h for h in engine.model.heads if h in heads)
        self._network = Incremental(engine.model, chosen)
        self._aligner = SteadyAlignment()
        self._held: deque[Held] = deque(maxlen=engine.frames)
        self._gray_scale: tuple[float, float] | None = None
        self._track = -1
        self.windows: deque[Window] = deque()
        self.probabilities: Mapping[str, float] | None = None

    def see(self, frame: Frame, gray: Gray, face: Face | None) -> tuple[Array | None, Array | None] | None:
        """Flow and landmarks of the newest pair, if this frame completes one."""
        if face is None or face.track != self._track:
            self._forget()
        if face is None:
            return None
        self._track = face.track
        if self._held:
            passed = frame.time_s - self._held[-1].time_s
            if passed < 0.8 * SPACING_S:
                return None
            if passed > 2 * SPACING_S and passed > LONGEST_S / (len(self._held) or 1):
                self._forget()
        self._held.append(Held(frame.index, frame.time_s, gray, face.landmarks))
        alignment, is_new = self._aligner.update(face.landmarks)
        crop = alignment.warp(gray)
        if (
            is_new
            or self._gray_scale is None
            or abs(float(crop.mean()) - self._gray_scale[0]) > 0.2 * self._gray_scale[1]
        ):
            self._gray_scale = float(crop.mean()), max(float(crop.std()), MIN_SPREAD)
            self._network.reset()
            for held in list(self._held)[:-1]:
                self._push(alignment.warp(held.gray))
        return self._answer(self._push(crop), alignment)

    def newest(self, frame: Frame) -> Window | None:
        """The window that this frame completed, if any."""
        return self.windows[-1] if self.windows and self.windows[-1].end_frame == frame.index else None

    def _push(self, crop: Gray) -> MOLOutput:
        assert self._gray_scale is not None  # noqa: S101  (set before the first push)
        mean, spread = self._gray_scale
        device = next(self._engine.model.parameters()).device
        frame = torch.from_numpy((crop.astype(np.float32) - mean) / spread).to(device)
        return self._network.push(frame) or MOLOutput()

    def _answer(self, answer: MOLOutput, alignment: Alignment) -> tuple[Array | None, Array | None]:
        logits, flow, points, units = (None if a is None else a[0].float().cpu() for a in answer)
        if logits is not None:
            record = self._engine.record
            self.probabilities = by_name(record.classes, logits.softmax(0).numpy())
            first, last = self._held[0], self._held[-1]
            self.windows.append(
                Window(
                    start_s=first.time_s,
                    end_s=last.time_s,
                    start_frame=first.index,
                    end_frame=last.index,
                    probabilities=self.probabilities,
                    action_units=None if units is None else by_name(record.config.unit_names, units.sigmoid().numpy()),
                )
            )
            while last.time_s - self.windows[0].end_s > MEMORY_S:
                self.windows.popleft()
        newest = None if points is None else alignment.to_image(points[0].numpy())
        return None if flow is None else flow[0].numpy(), newest

    def _forget(self) -> None:
        self._network.reset()
        self._aligner.reset()
        self._held.clear()
        self._gray_scale = None
        self._track = -1
        self.probabilities = None
