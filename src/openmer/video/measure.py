"""Go through a video once and keep one row per frame: the face, its landmarks, and how its regions move."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from openmer.clip import CROP_PX, NUM_LANDMARKS, Array
from openmer.errors import InputError
from openmer.face.align import Alignment
from openmer.face.track import Face, FaceTracker
from openmer.media.reader import MAX_FPS, MIN_FPS, Frame, as_gray
from openmer.timeline import NO_FACE, Interval
from openmer.video.recognition import Recognition, Recognizer
from openmer.video.regions import REGION_NAMES, FrameMotion, MotionMeter
from openmer.video.spotting import Signals, region_motion

_HEAD = ("head_dx_px", "head_dy_px", "head_roll_deg", "head_growth_pct", "head_yaw_deg", "head_pitch_deg")
_EYES = ("eye_open_right", "eye_open_left")
_STANDING = tuple(f"{name}_{axis}_px" for name in REGION_NAMES for axis in ("dx", "dy"))


class FlowCache:
    """Flows kept on disk for drawing, at half size and half precision: 16 KB per frame instead of 128."""

    side = CROP_PX // 2

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("w+b")

    def append(self, flow: Array | None) -> None:
        """Keep the next frame's (2, H, W) flow, or none."""
        kept = np.full((2, self.side, self.side), np.nan) if flow is None else _halved(flow)
        self._file.write(kept.astype(np.float16).tobytes())

    def read(self, index: int) -> Array:
        """(2, side, side) flow of a frame, still in pixels of the crop; NaN if there was none."""
        size = 2 * 2 * self.side * self.side
        self._file.seek(index * size)
        data = np.frombuffer(self._file.read(size), np.float16)
        return data.reshape(2, self.side, self.side).astype(np.float32)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _halved(flow: Array) -> Array:
    side = FlowCache.side
    return np.asarray(flow.reshape(2, side, 2, side, 2).mean((2, 4)), np.float32)


@dataclass(frozen=True)
class Measurements:
    """One row per frame, n frames; NaN or None where no face was found.

    Attributes:
        signals: frame numbers, times, motion of regions and head, eyes, track.
        scores: (n,) detector scores.
        boxes: (n, 4) left, top, right, bottom in the image.
        landmarks: (n, 68, 2) in the image.
        flow_median_px: (n,) median length of the flow from the previous frame.
        alignments: n alignments from the image to the crop.
    """

    signals: Signals
    scores: Array
    boxes: Array
    landmarks: Array
    flow_median_px: Array
    alignments: tuple[Alignment | None, ...]

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """(n,) frame numbers in the source."""
        return self.signals.frames

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the face was found."""
        return self.signals.track >= 0

    def gaps(self) -> tuple[Interval, ...]:
        """Stretches without a face, from the first frame without it to the first that has it again."""
        times = self.signals.times_s
        step = float(np.median(np.diff(times)))
        ends = np.append(times[1:], times[-1] + step)
        missing = np.concatenate([[0], (~self.found).astype(np.int8), [0]])
        starts = np.flatnonzero(np.diff(missing) == 1)
        stops = np.flatnonzero(np.diff(missing) == -1)
        return tuple(
            Interval(
                onset_s=float(times[a]),
                offset_s=float(ends[b - 1]),
                label=NO_FACE,
                onset_frame=int(self.frames[a]),
                offset_frame=int(self.frames[b - 1]),
            )
            for a, b in zip(starts, stops, strict=True)
        )

    def table(self) -> pd.DataFrame:
        """The content of `frames.csv`; `REGION_px` is the region's distance from its slow drift."""
        s = self.signals
        columns: dict[str, npt.NDArray[np.generic]] = {
            "frame": self.frames,
            "time_s": np.round(s.times_s, 6),
            "face_found": self.found,
            "track": s.track,
            "face_score": self.scores,
        }
        for k, side in enumerate(("left", "top", "right", "bottom")):
            columns[f"box_{side}_px"] = self.boxes[:, k]
        for k, name in enumerate(_HEAD):
            columns[name] = s.head[:, k]
        columns["flow_median_px"] = self.flow_median_px
        for k, name in enumerate(_EYES):
            columns[name] = s.eyes_open[:, k]
        motion = region_motion(s)
        for k, name in enumerate(REGION_NAMES):
            columns[f"{name}_px"] = motion[:, k]
            columns[f"{name}_dx_px"], columns[f"{name}_dy_px"] = s.displacement[:, k].T
        return pd.DataFrame(columns)

    def save_landmarks(self, path: Path, recognition: Recognition | None = None) -> None:
        """Write `landmarks.npz`: frame, time_s, landmarks_px, found; the network's as network_frame, network_..._px."""
        network: dict[str, Any] = {}
        if recognition is not None:
            network = {"network_frame": recognition.frames, "network_landmarks_px": recognition.landmarks}
        np.savez_compressed(
            path,
            frame=self.frames,
            time_s=self.signals.times_s,
            landmarks_px=self.landmarks,
            found=self.found,
            **network,
        )


def read_signals(frames_csv: Path | str) -> Signals:
    """The spotter's input from a `frames.csv`, so that other settings can be tried without measuring again.

    The table has six significant digits, so an event near a threshold can be judged differently.

    Raises:
        InputError: the file cannot be read, lacks a column, or is damaged.
    """
    path = Path(frames_csv)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}, which openmer analyze writes: {error}") from error
    missing = [name for name in ("frame", "time_s", "track", *_HEAD, *_EYES, *_STANDING) if name not in table]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]}; analyse the video again with this version")
    numbers = table[["frame", "time_s", "track"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    if len(table) < 2 or not np.isfinite(numbers).all():
        raise InputError(
            f"{path} is damaged: it needs at least 2 rows, each with a number of the frame, time and track"
        )
    try:
        return Signals(
            frames=table["frame"].to_numpy(np.int64),
            times_s=table["time_s"].to_numpy(np.float64),
            displacement=table[list(_STANDING)].to_numpy(np.float32).reshape(-1, len(REGION_NAMES), 2),
            head=table[list(_HEAD)].to_numpy(np.float32),
            eyes_open=table[list(_EYES)].to_numpy(np.float32),
            track=table["track"].to_numpy(np.int64),
        )
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def measure(
    frames: Iterable[Frame],
    tracker: FaceTracker,
    meter: MotionMeter,
    *,
    flows: FlowCache | None = None,
    recognizer: Recognizer | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Measurements:
    """Measure all frames, one at a time.

    Args:
        frames: gray or colour.
        tracker: finds the face.
        meter: measures its motion.
        flows: keeps the flow of every frame for drawing.
        recognizer: runs a network on the frames as well.
        on_frame: called after each frame.

    Raises:
        InputError: fewer than two frames, or no face in any.
    """
    rows: list[_Row] = []
    for frame in frames:
        gray = as_gray(frame.image)
        face = tracker.update(gray)
        motion = meter.update(frame.time_s, gray, face)
        if recognizer is not None:
            recognizer.update(frame.index, frame.time_s, gray, face)
        if flows is not None:
            flows.append(motion.flow if motion else None)
        rows.append(_row(frame, face, motion))
        on_frame()
    if len(rows) < 2:
        raise InputError(f"motion needs at least 2 frames, but there {_was(len(rows))} in the part to analyse")
    measured = _collected(rows)
    step = float(np.median(np.diff(measured.signals.times_s)))
    if not 0.99 / MAX_FPS <= step <= 1.01 / MIN_FPS:
        raise InputError(
            f"the video states {1 / step:.3g} frames a second, which no camera records; give its rate with --fps"
        )
    if not measured.found.any():
        raise InputError(
            f"no face was found in any of {len(rows)} frames; an upright frontal face of at least a sixteenth of the "
            "picture's longer side is needed, not too blurred or compressed"
        )
    return measured


def _was(count: int) -> str:
    return "was 1" if count == 1 else f"were {count}"


class _Row(NamedTuple):
    """What is kept of a frame; hours of video must fit in memory, so all measurements are in one small array."""

    frame: int
    time_s: float
    track: int
    alignment: Alignment | None
    values: Array | None


# The measurements in `_Row.values`, in order, with their shapes.
_PARTS: dict[str, tuple[int, ...]] = {
    "score": (),
    "box": (4,),
    "landmarks": (NUM_LANDMARKS, 2),
    "displacement": (len(REGION_NAMES), 2),
    "head": (6,),
    "flow_median": (),
    "eyes_open": (2,),
}
_SIZES = [int(np.prod(shape)) for shape in _PARTS.values()]


def _row(frame: Frame, face: Face | None, motion: FrameMotion | None) -> _Row:
    if face is None or motion is None:
        return _Row(frame.index, frame.time_s, -1, None, None)
    box = face.box
    parts = (
        face.score,
        (box.left, box.top, box.right, box.bottom),
        face.landmarks,
        motion.displacement,
        motion.head,
        motion.flow_median_px,
        motion.eyes_open,
    )
    values = np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)
    return _Row(frame.index, frame.time_s, face.track, motion.alignment, values)


def _collected(rows: list[_Row]) -> Measurements:
    table = np.full((len(rows), sum(_SIZES)), np.nan, np.float32)
    for k, row in enumerate(rows):
        if row.values is not None:
            table[k] = row.values
    split = np.split(table, np.cumsum(_SIZES)[:-1], axis=1)
    part = {
        name: values.reshape(len(rows), *shape) for (name, shape), values in zip(_PARTS.items(), split, strict=True)
    }
    signals = Signals(
        frames=np.array([row.frame for row in rows], np.int64),
        times_s=np.array([row.time_s for row in rows], np.float64),
        displacement=part["displacement"],
        head=part["head"],
        eyes_open=part["eyes_open"],
        track=np.array([row.track for row in rows], np.int64),
    )
    return Measurements(
        signals=signals,
        scores=part["score"],
        boxes=part["box"],
        landmarks=part["landmarks"],
        flow_median_px=part["flow_median"],
        alignments=tuple(row.alignment for row in rows),
    )
