"""Windows of frames for the network: which frames make one, and how they go through it.

A window is like a training clip: frames spread evenly over about 0.6 s, cropped with one alignment. A file's windows
run in batches beside the reading (`BatchNetwork`); a camera's go pair by pair as frames come (`IncrementalNetwork`).

Shape legend: w windows, T frames of a window, P = T - 1 pairs, K classes, R regions, C = 128 px crop.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from openmer.clip import CROP_PX, Array, Gray
from openmer.clips.build import build_clip
from openmer.clips.transforms import MIN_SPREAD, evaluation_input, normalized
from openmer.face.align import Alignment, SteadyAlignment, align_clip
from openmer.media.clock import MIN_GAP_S, stretches, usual_step_s
from openmer.models.engine import Answer, Engine, by_name
from openmer.models.incremental import Incremental
from openmer.models.mol import MOLOutput
from openmer.models.weights import ModelCard
from openmer.timeline import Window
from openmer.video.frame import LocatedFrame
from openmer.video.recognition import Recognition, RecognitionBuilder
from openmer.video.regions import region_flow

SPACING_S = 0.085  # between a window's frames: 0.6 s from the first to the eighth
MAX_WINDOW_S = 0.9  # as in training; at lower frame rates the network gives no opinion
HOP = 2  # frames of a window between the starts of neighboring windows
BATCH = 4
LOOK = 16  # steps by which a stretch is measured
MOST_WAITING = 240  # steps; pictures that wait are held in memory
RATE_CHANGE = 1.4  # of the usual step: another stretch begins
# A picture of a window is the mean of the last 0.05 s, if these are at least three: from 50 a second on. One frame
# of a fast camera is noisy, and noise hides small motion (docs/LOG.md).
MEAN_S = 0.05
LEAST_IN_MEAN = 3


@dataclass(frozen=True)
class BufferedFrame:
    """A frame kept for a window.

    Attributes:
        index: number in the source.
        time_s: seconds of the file.
        gray: (H, W) the picture, or the mean of the last few.
        landmarks: (68, 2) px of the picture.
        slowdown: seconds of the file that show one second of what was recorded.
    """

    index: int
    time_s: float
    gray: Gray
    landmarks: Array
    slowdown: float = 1.0

    @property
    def real_s(self) -> float:
        """Seconds of what was recorded, by which durations are judged."""
        return self.time_s / self.slowdown


class FrameBuffer:
    """The newest frames of one face, evenly spaced in time, as many as a window has.

    Args:
        length: T, frames of a window.
        spacing_s: seconds between them.
        slack_s: how much earlier or later than that a frame may come; None is half the time since the frame before it,
            a fifth of `spacing_s` at most.

    Attributes:
        run: number of the present run; it rises when the face is lost, another one follows, or frames are missing.
    """

    def __init__(self, length: int, spacing_s: float = SPACING_S, slack_s: float | None = None) -> None:
        self.run = 0
        self._frames: deque[BufferedFrame] = deque(maxlen=length)
        self._recent: deque[tuple[float, Gray]] = deque()  # of the last `MEAN_S`
        self._spacing_s = spacing_s
        self._given_slack_s, self._slack_s = slack_s, 0.2 * spacing_s if slack_s is None else slack_s
        self._newest_s = -np.inf
        self._track = -1

    @property
    def frames(self) -> tuple[BufferedFrame, ...]:
        """The frames, oldest first."""
        return tuple(self._frames)

    @property
    def is_window(self) -> bool:
        """Whether the frames make a window: all are there, and they last no longer than in training."""
        if len(self._frames) < (self._frames.maxlen or 0):
            return False
        return self._frames[-1].real_s - self._frames[0].real_s <= MAX_WINDOW_S + self._slack_s

    def add(self, frame: LocatedFrame) -> bool:
        """Take the next frame; whether it is kept, because it is as far from the last one as a window's frames are."""
        if self._given_slack_s is None:
            self._slack_s = min(0.2 * self._spacing_s, (frame.real_s - self._newest_s) / 2)
        self._newest_s = frame.real_s
        if frame.face is None or frame.face.track != self._track:
            self._recent.clear()
            self._clear()
        self._track = -1 if frame.face is None else frame.face.track
        if frame.face is None:
            return False
        if self._recent and self._recent[-1][1].shape != frame.gray.shape:
            self._recent.clear()
        self._recent.append((frame.real_s, frame.gray))
        while not in_mean(self._recent[0][0], frame.real_s):
            self._recent.popleft()
        if self._frames:
            passed = frame.real_s - self._frames[-1].real_s
            if passed < self._spacing_s - self._slack_s:
                return False
            if passed > 2 * self._spacing_s + self._slack_s:  # frames are missing
                self._clear()
        gray = mean_picture([picture for _, picture in self._recent])
        self._frames.append(BufferedFrame(frame.index, frame.time_s, gray, frame.face.landmarks, frame.slowdown))
        return True

    def _clear(self) -> None:
        if self._frames:
            self._frames.clear()
            self.run += 1


def in_mean(earlier_s: float, real_s: float) -> bool:
    """Whether a frame belongs to the mean of a later one, or is that one."""
    return real_s - earlier_s < MEAN_S - 1e-6


def mean_picture(pictures: Sequence[Gray]) -> Gray:
    """The mean of a frame and those just before it, (H, W) each, the frame last; the frame itself if they are few."""
    if len(pictures) < LEAST_IN_MEAN:
        return pictures[-1]
    return np.asarray(np.rint(np.mean(pictures, axis=0, dtype=np.float32)), np.uint8)


@dataclass(frozen=True)
class WindowPrediction:
    """The network's output for one window.

    Attributes:
        frames: (T,) frame numbers.
        times_s: (T,) seconds.
        answer: class probabilities, flow, landmarks and action units of the window.
        alignment: from the image to the crop, one for the window.
    """

    frames: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    answer: Answer
    alignment: Alignment

    def window(self, record: ModelCard) -> Window:
        """The window as a timeline stores it."""
        units = self.answer.units
        return Window(
            start_s=round(float(self.times_s[0]), 6),
            end_s=round(float(self.times_s[-1]), 6),
            start_frame=int(self.frames[0]),
            end_frame=int(self.frames[-1]),
            probabilities=by_name(record.classes, self.answer.probabilities),
            action_units=None if units is None else by_name(record.config.unit_names, units),
            frames=tuple(self.frames.tolist()),
        )


def predict_windows(engine: Engine, windows: Sequence[Sequence[BufferedFrame]]) -> list[WindowPrediction]:
    """Run the network on windows of T frames each."""
    inputs = [window_input(window) for window in windows]
    answer = engine.predict(np.stack([frames for frames, _ in inputs]))
    return [
        WindowPrediction(
            np.array([frame.index for frame in window], np.int64),
            np.array([frame.time_s for frame in window]),
            answer.of(k),
            alignment,
        )
        for k, (window, (_, alignment)) in enumerate(zip(windows, inputs, strict=True))
    ]


def predict_crops(engine: Engine, crops_TCC: Gray) -> Answer:  # noqa: N803
    """Run the network on one window of crops that are already cut, (T, C, C)."""
    return engine.predict(normalized(crops_TCC)[None]).of(0)


def window_input(window: Sequence[BufferedFrame]) -> tuple[Array, Alignment]:
    """(T, 1, C, C), made by the same steps that prepare a clip for training, and the alignment to the crop."""
    landmarks = np.stack([frame.landmarks for frame in window])
    clip = build_clip([frame.gray for frame in window], landmarks, np.array([frame.real_s for frame in window]))
    return evaluation_input(clip.frames), align_clip(landmarks, size=CROP_PX)[0]


def _apart(step_s: float) -> int:
    """How many frames of a video lie from one frame of a window to the next."""
    return max(1, round(SPACING_S / step_s))


class BatchNetwork:
    """Collects windows from a file's frames, and runs the network on them in a thread alongside the reading.

    The steps between a window's frames follow from those of the frames themselves, measured anew after each gap and
    where the rate changes; what a file says of its rate is not asked. Holds only the frames of the current window, of
    the windows that wait, and of the first window of a stretch. A stretch shorter than a window is covered by one of
    its own length.

    Args:
        engine: the network.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._unmeasured: list[LocatedFrame] = []  # the first frames of a stretch, until its windows' steps are known
        self._steps_s: deque[float] = deque(maxlen=LOOK)
        self._last_s: float | None = None
        self._buffer: FrameBuffer | None = None  # none before a stretch is measured, and where frames are too few
        self._step_s: float | None = None
        self._silent: str | None = None
        self._since = 0  # frames added since the first window of the run
        self._waiting: list[tuple[BufferedFrame, ...]] = []
        self._pool = ThreadPoolExecutor(1)
        self._running: deque[Future[None]] = deque()
        self._result = RecognitionBuilder(engine)

    def update(self, frame: LocatedFrame) -> None:
        """Take the next frame."""
        if self._last_s is not None:
            self._steps_s.append(frame.real_s - self._last_s)
        self._last_s = frame.real_s
        if self._step_s is not None:
            if not self._ends_here():
                self._add(frame)
                return
            self._step_s = None
        self._unmeasured.append(frame)
        if self._knows_enough():
            self._begin(ended=False)

    def _knows_enough(self) -> bool:
        """Whether the waiting frames tell their step, and last for a window, so that it need not be a shorter one."""
        waiting = len(self._unmeasured) - 1
        if waiting < LOOK:
            return False
        step_s = usual_step_s(np.array([frame.real_s for frame in self._unmeasured]))
        needed = 0 if step_s is None else (self._engine.frames - 1) * _apart(step_s)
        return waiting >= min(needed, MOST_WAITING)

    def _ends_here(self) -> bool:
        """Whether frames are missing before the last one, or their rate is no longer that of the stretch."""
        assert self._step_s is not None  # noqa: S101  (asked only of a measured stretch)
        ratio = float(np.mean(self._steps_s)) / self._step_s
        gap = self._steps_s[-1] > max(MIN_GAP_S, 3 * self._step_s)
        return gap or (len(self._steps_s) == LOOK and not 1 / RATE_CHANGE < ratio < RATE_CHANGE)

    def _begin(self, *, ended: bool) -> None:
        """Measure the waiting frames' steps, and take those of them that belong to stretches whose steps are known."""
        frames, self._unmeasured = self._unmeasured, []
        parts = stretches(np.array([frame.real_s for frame in frames]))
        for number, part in enumerate(parts):
            here, last = frames[part], number == len(parts) - 1
            if last and not ended and number:  # this one has only begun
                self._unmeasured, self._step_s = list(here), None
                return
            self._measure(here, whole=ended or not last)
            for frame in here:
                self._add(frame)
        self._steps_s.clear()

    def _measure(self, frames: Sequence[LocatedFrame], *, whole: bool) -> None:
        """Set the spacing of the windows by the first frames of a stretch, or by the whole of a short one."""
        length, step_s = self._engine.frames, usual_step_s(np.array([frame.real_s for frame in frames]))
        self._buffer, self._step_s = None, step_s
        if step_s is None:
            return
        apart = _apart(step_s)
        if whole:
            apart = max(1, min(apart, (len(frames) - 1) // (length - 1)))
        if (length - 1) * apart * step_s > MAX_WINDOW_S:
            self._silent = _too_slow(length, step_s)
            return
        self._buffer = FrameBuffer(length, apart * step_s, 0.5 * step_s)

    def _add(self, frame: LocatedFrame) -> None:
        """A frame whose stretch is measured."""
        if self._buffer is None or not self._buffer.add(frame):
            return
        frames = self._buffer.frames
        self._since = 0 if len(frames) < self._engine.frames else self._since + 1
        # The first window as soon as it is full, then one every hop.
        if self._buffer.is_window and self._since % HOP == 1 % HOP:
            self._waiting.append(frames)
            if len(self._waiting) >= BATCH:
                self._submit()

    def finish(self) -> Recognition:
        """Run the network on the waiting windows, and return everything that it gave."""
        self._begin(ended=True)
        self._submit()
        while self._running:
            self._running.popleft().result()
        self._pool.shutdown()
        return self._result.build(self._silent)

    def close(self) -> None:
        """Stop, without running what has not yet begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        if self._waiting:
            self._running.append(self._pool.submit(self._run, tuple(self._waiting)))
            self._waiting.clear()
        while len(self._running) > 2:
            self._running.popleft().result()

    def _run(self, windows: Sequence[Sequence[BufferedFrame]]) -> None:
        """In the thread: what the network says about some windows."""
        for prediction in predict_windows(self._engine, windows):
            self._result.windows.append(prediction.window(self._engine.record))
            answer = prediction.answer
            if answer.landmarks is None:
                continue
            points = prediction.alignment.to_image(answer.landmarks)
            numbers = prediction.frames.tolist()
            for k, pair in enumerate(pairwise(numbers)):
                self._result.landmarks.setdefault(pair[1], points[k])
                if answer.flow is not None and pair not in self._result.motion:
                    times = float(prediction.times_s[k]), float(prediction.times_s[k + 1])
                    self._result.motion[pair] = (*times, region_flow(answer.flow[k], answer.landmarks[k]))


def _too_slow(length: int, step_s: float) -> str:
    return (
        f"at {1 / step_s:.3g} frames a second, {length} frames last {(length - 1) * step_s:.2g} s, longer than "
        f"in its training ({MAX_WINDOW_S} s)"
    )


@dataclass(frozen=True)
class PairOutput:
    """The network's output for the newest pair of frames.

    Attributes:
        flow: (2, C, C) px of the crop, from the first to the second, or None.
        landmarks: (68, 2) px of the image, in the second, or None.
        window: the window that this pair completed, or None.
    """

    flow: Array | None
    landmarks: Array | None
    window: Window | None


class IncrementalNetwork:
    """Runs the network on the newest pair of frames, spaced as in a window.

    Alignment and gray scale are kept while the face stays in place; when either has to change, the few frames that are
    buffered are run again with the new one.

    Args:
        engine: the network, in torch.
        heads: which of its heads to use; None for all.

    Attributes:
        newest: output for the newest pair, if the last frame completed one.
        probabilities: class probabilities of the newest window, or None.
        result: everything that the network gave and that was not forgotten.
        silent: why it gave no opinion, if frames came too slowly.
    """

    def __init__(self, engine: Engine, heads: Sequence[str] | None = None) -> None:
        self.newest: PairOutput | None = None
        self.probabilities: Mapping[str, float] | None = None
        self.result = RecognitionBuilder(engine)
        self.silent: str | None = None
        self._recent_s: deque[float] = deque(maxlen=LOOK)  # of frames with a face
        self._engine = engine
        chosen = None if heads is None else tuple(h for h in engine.model.heads if h in heads)
        self._network = Incremental(engine.model, chosen)
        self._aligner = SteadyAlignment()
        self._buffer = FrameBuffer(engine.frames)
        self._gray_scale: tuple[float, float] | None = None

    def update(self, frame: LocatedFrame) -> None:
        """Take the next frame."""
        self.newest = None
        run = self._buffer.run
        taken = self._buffer.add(frame)
        if self._buffer.run != run:
            self._forget()
        self._notice_pace(frame)
        if not taken:
            return
        *before, last = self._buffer.frames
        alignment, is_new = self._aligner.update(last.landmarks)
        crop = alignment.warp(last.gray)
        if is_new or self._gray_scale is None or _differs(crop, self._gray_scale):
            self._gray_scale = float(crop.mean()), max(float(crop.std()), MIN_SPREAD)
            self._network.reset()
            for earlier in before:
                self._push(alignment.warp(earlier.gray))
        self._take(self._push(crop), alignment)

    def _notice_pace(self, frame: LocatedFrame) -> None:
        """Say so where frames of a face come too slowly for a window."""
        if frame.face is None:
            self._recent_s.clear()
            return
        self._recent_s.append(frame.real_s)
        step_s = usual_step_s(np.array(self._recent_s)) if len(self._recent_s) >= self._engine.frames else None
        if step_s is not None and (self._engine.frames - 1) * step_s > MAX_WINDOW_S:
            self.silent = _too_slow(self._engine.frames, step_s)

    def _push(self, crop: Gray) -> MOLOutput:
        assert self._gray_scale is not None  # noqa: S101  (set before the first push)
        mean, spread = self._gray_scale
        device = next(self._engine.model.parameters()).device
        frame = torch.from_numpy((crop.astype(np.float32) - mean) / spread).to(device)
        return self._network.push(frame) or MOLOutput()

    def _take(self, output: MOLOutput, alignment: Alignment) -> None:
        logits, flow, points, units = (None if a is None else a[0].float().cpu() for a in output)
        frames = self._buffer.frames
        last, window = frames[-1], None
        if logits is not None and self._buffer.is_window:
            answer = Answer(
                self._engine.probabilities(logits.numpy()),
                None,
                None,
                None if units is None else units.sigmoid().numpy(),
            )
            numbers, times = np.array([f.index for f in frames]), np.array([f.time_s for f in frames])
            window = WindowPrediction(numbers, times, answer, alignment).window(self._engine.record)
            self.probabilities = window.probabilities
            self.result.windows.append(window)
        in_image = None if points is None else alignment.to_image(points[0].numpy())
        in_crop = None if flow is None else np.asarray(flow[0].numpy(), np.float32)
        if in_image is not None:
            self.result.landmarks[last.index] = in_image
        if in_crop is not None and points is not None:
            pair = frames[-2].index, last.index
            motion = region_flow(in_crop, points[0].numpy())
            self.result.motion[pair] = (frames[-2].time_s, last.time_s, motion)
        if in_crop is not None or in_image is not None or window is not None:
            self.newest = PairOutput(in_crop, in_image, window)

    def _forget(self) -> None:
        self._network.reset()
        self._aligner.reset()
        self._gray_scale = None
        self.probabilities = None


def _differs(crop: Gray, gray_scale: tuple[float, float]) -> bool:
    """Whether a crop is so much brighter or darker that it needs a gray scale of its own."""
    mean, spread = gray_scale
    return abs(float(crop.mean()) - mean) > 0.2 * spread
