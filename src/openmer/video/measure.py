"""Go through a video once and keep a row a frame: the face, its landmarks, and how its regions move."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from openmer.clip import NUM_LANDMARKS, Array, Times
from openmer.errors import InputError
from openmer.face.align import CROP_PX, Alignment
from openmer.face.detect import Face, FaceTracker
from openmer.timeline import Interval
from openmer.video.motion import REGION_NAMES, FrameMotion, MotionMeter, stack_standing
from openmer.video.reader import Frame, as_gray
from openmer.video.spotting import Signals, region_motion

NO_FACE = "no_face"


class FlowCache:
    """Flows kept on disk for drawing, at half size and half precision: 16 KB a frame instead of 128."""

    side = CROP_PX // 2

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("w+b")

    def append(self, flow: Array | None) -> None:
        """Keep the next frame's (2, H, W) flow, or none."""
        kept = np.full((2, self.side, self.side), np.nan) if flow is None else _halved(flow)
        self._file.write(kept.astype(np.float16).tobytes())

    def read(self, index: int) -> Array:
        """(2, side, side) flow of a frame, still in pixels of the crop; NaN where there was none."""
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
    """One row a frame, n frames; NaN or None where no face was found.

    Attributes:
        signals: frame numbers, times, motion of regions and head, eyes, track.
        scores: (n,) the detector's.
        boxes: (n, 4) left, top, right, bottom in the picture.
        landmarks: (n, 68, 2) in the picture.
        flow_median_px: (n,) median length of the flow from the frame before.
        alignments: n alignments from the picture to the crop.
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
        """Stretches without a face, from the first frame that lacks it to the first that has it again."""
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
        """The content of `frames.csv`; `_px` after a region is its distance from its slow course."""
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
        for k, name in enumerate(("head_dx_px", "head_dy_px", "head_roll_deg")):
            columns[name] = s.head[:, k]
        columns["flow_median_px"] = self.flow_median_px
        columns["eye_open_right"], columns["eye_open_left"] = s.eyes_open.T
        motion = region_motion(s)
        for k, name in enumerate(REGION_NAMES):
            columns[f"{name}_px"] = motion[:, k]
            columns[f"{name}_dx_px"], columns[f"{name}_dy_px"] = s.standing[:, k].T
        return pd.DataFrame(columns)

    def save_landmarks(self, path: Path) -> None:
        """Write `landmarks.npz`: frame, time_s, landmarks_px, found."""
        np.savez_compressed(
            path,
            frame=self.frames,
            time_s=self.signals.times_s,
            landmarks_px=self.landmarks,
            found=self.found,
        )


def measure(
    frames: Iterable[Frame],
    tracker: FaceTracker,
    meter: MotionMeter,
    *,
    flows: FlowCache | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Measurements:
    """Measure all frames, one at a time.

    Args:
        frames: gray or colour.
        tracker: finds the face.
        meter: measures its motion.
        flows: keeps the flow of every frame for drawing.
        on_frame: called after each frame.

    Raises:
        InputError: fewer than two frames, or no face in any.
    """
    rows: list[tuple[int, float, Face | None, FrameMotion | None]] = []
    for frame in frames:
        gray = as_gray(frame.image)
        face = tracker.update(gray)
        motion = meter.update(frame.time_s, gray, face)
        if flows is not None:
            flows.append(motion.flow if motion else None)
        rows.append((frame.index, frame.time_s, face, _without_flow(motion)))
        on_frame()
    if len(rows) < 2:
        raise InputError(f"motion needs at least 2 frames, and there {_was(len(rows))} in what was asked for")
    measured = _collected(rows)
    if not measured.found.any():
        raise InputError(
            f"no face was found in any of {len(rows)} frames; a frontal face of at least a sixteenth of the "
            "picture's longer side is needed"
        )
    return measured


def _was(count: int) -> str:
    return "was 1" if count == 1 else f"were {count}"


def _without_flow(motion: FrameMotion | None) -> FrameMotion | None:
    """The row to keep: the dense flow would fill the memory of a long video."""
    if motion is None:
        return None
    none = np.zeros((2, 0, 0), np.float32)
    return FrameMotion(motion.standing, motion.head, motion.flow_median_px, motion.eyes_open, motion.alignment, none)


def _collected(rows: list[tuple[int, float, Face | None, FrameMotion | None]]) -> Measurements:
    faces = [face for _, _, face, _ in rows]
    motions = [motion for _, _, _, motion in rows]

    def column(values: list[Array | None], *shape: int) -> Array:
        missing = np.full(shape, np.nan, np.float32)
        return np.stack([missing if v is None else v for v in values]).astype(np.float32)

    times: Times = np.array([time for _, time, _, _ in rows], np.float64)
    signals = Signals(
        frames=np.array([index for index, _, _, _ in rows], np.int64),
        times_s=times,
        standing=stack_standing(motions),
        head=column([m.head if m else None for m in motions], 3),
        eyes_open=column([m.eyes_open if m else None for m in motions], 2),
        track=np.array([f.track if f else -1 for f in faces], np.int64),
    )
    return Measurements(
        signals=signals,
        scores=np.array([f.score if f else np.nan for f in faces], np.float32),
        boxes=column([_corners(f) if f else None for f in faces], 4),
        landmarks=column([f.landmarks if f else None for f in faces], NUM_LANDMARKS, 2),
        flow_median_px=np.array([m.flow_median_px if m else np.nan for m in motions], np.float32),
        alignments=tuple(m.alignment if m else None for m in motions),
    )


def _corners(face: Face) -> Array:
    return np.array([face.box.left, face.box.top, face.box.right, face.box.bottom], np.float32)
