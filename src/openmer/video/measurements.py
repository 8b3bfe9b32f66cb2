"""One row per frame: the face, its landmarks, and how its regions move; as arrays, and as `frames.csv`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from openmer.clip import NUM_LANDMARKS, Array
from openmer.errors import InputError
from openmer.face.align import Alignment
from openmer.media.clock import stretches, usual_step_s
from openmer.timeline import NO_FACE, Interval
from openmer.video.frame import FrameResult
from openmer.video.recognition import Recognition
from openmer.video.regions import REGION_NAMES
from openmer.video.settings import SpottingSettings
from openmer.video.spotting import Signals, region_motion

HEAD_COLUMNS = ("head_dx_px", "head_dy_px", "head_roll_deg", "head_growth_pct", "head_yaw_deg", "head_pitch_deg")
NEWER_COLUMNS = ("head_yaw_deg", "head_pitch_deg")  # not in tables of the first edition: unknown there
EYE_COLUMNS = ("eye_open_right", "eye_open_left")
_DISPLACEMENT = tuple(f"{name}_{axis}_px" for name in REGION_NAMES for axis in ("dx", "dy"))


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
        pictures: in a folder, the name of each frame's picture.
        spotting: what counts as a candidate; what regions show depends on it.
    """

    signals: Signals
    scores: Array
    boxes: Array
    landmarks: Array
    flow_median_px: Array
    alignments: tuple[Alignment | None, ...]
    pictures: Mapping[int, str] = field(default_factory=dict)
    spotting: SpottingSettings = field(default_factory=SpottingSettings)

    @property
    def frames(self) -> npt.NDArray[np.int64]:
        """(n,) frame numbers in the source."""
        return self.signals.frames

    @property
    def with_face(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the face was found."""
        return self.signals.track >= 0

    @property
    def step_s(self) -> float:
        """Usual time between two frames, real seconds."""
        return usual_step_s(self.signals.real_s) or 1e-3

    @property
    def end_s(self) -> float:
        """When the last frame ends, seconds of the file."""
        return float(self.signals.times_s[-1] + self.step_s * self.signals.slowdown)

    def region_motion(self) -> Array:
        """(n, R) px from the region's slow drift, as the spotter judges it; NaN where unknown."""
        return region_motion(self.signals, self.spotting)

    def named(self, interval: Interval) -> Interval:
        """The interval with the names of its pictures, if it has any."""
        marks = (interval.onset_frame, interval.apex_frame, interval.offset_frame)
        onset, apex, offset = (None if mark is None else self.pictures.get(mark) for mark in marks)
        return replace(interval, onset_picture=onset, apex_picture=apex, offset_picture=offset)

    def gaps(self) -> tuple[Interval, ...]:
        """Stretches in which nothing is known: each to the first frame with a face, or to the end.

        They begin with the first frame without a face, or where frames are missing when the last one before them ends.
        """
        times, frames = self.signals.times_s, self.frames
        pauses = {part.stop - 1 for part in stretches(self.signals.real_s)[:-1]}
        step_s = self.step_s * self.signals.slowdown
        rows: list[tuple[float, int, float, int]] = []  # onset and offset: seconds, frame
        for k, found in enumerate(self.with_face):
            if found and k not in pauses:
                continue
            after = min(k + 1, len(times) - 1)
            onset_s = float(times[k] + step_s) if found else float(times[k])
            offset_s = float(times[after]) if after > k else self.end_s
            joined = rows and rows[-1][2] == onset_s
            begun = rows.pop()[:2] if joined else (onset_s, int(frames[k]))
            rows.append((*begun, offset_s, int(frames[after])))
        return tuple(
            self.named(Interval(onset_s=a, offset_s=b, label=NO_FACE, onset_frame=first, offset_frame=last))
            for a, first, b, last in rows
        )

    def table(self) -> pd.DataFrame:
        """The content of `frames.csv`; `REGION_px` is the region's distance from its slow drift."""
        s = self.signals
        columns: dict[str, Any] = {"frame": self.frames}
        if self.pictures:
            columns["picture"] = [self.pictures.get(frame, "") for frame in self.frames.tolist()]
        columns["time_s"] = np.round(s.times_s, 6)
        if s.slowdown != 1:
            columns["real_time_s"] = np.round(s.real_s, 6)
        columns |= {"face_found": self.with_face, "track": s.track, "face_score": self.scores}
        for k, side in enumerate(("left", "top", "right", "bottom")):
            columns[f"box_{side}_px"] = self.boxes[:, k]
        for k, name in enumerate(HEAD_COLUMNS):
            columns[name] = s.head[:, k]
        columns["flow_median_px"] = self.flow_median_px
        for k, name in enumerate(EYE_COLUMNS):
            columns[name] = s.eyes_open[:, k]
        motion = self.region_motion()
        for k, name in enumerate(REGION_NAMES):
            columns[f"{name}_px"] = motion[:, k]
            columns[f"{name}_dx_px"], columns[f"{name}_dy_px"] = s.displacement[:, k].T
        return pd.DataFrame(columns)

    def save_table(self, path: Path) -> None:
        """Write `frames.csv`."""
        table = self.table()
        for name in {"time_s", "real_time_s"} & set(table):
            table[name] = table[name].map("{:.6f}".format)  # six significant digits are too few for an hour
        table.to_csv(path, index=False, float_format="%.6g")

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
            found=self.with_face,
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
    table = table.assign(**{name: np.nan for name in NEWER_COLUMNS if name not in table})
    missing = [
        name for name in ("frame", "time_s", "track", *HEAD_COLUMNS, *EYE_COLUMNS, *_DISPLACEMENT) if name not in table
    ]
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
            slowdown=_slowdown(table),
            displacement=table[list(_DISPLACEMENT)].to_numpy(np.float32).reshape(-1, len(REGION_NAMES), 2),
            head=table[list(HEAD_COLUMNS)].to_numpy(np.float32),
            eyes_open=table[list(EYE_COLUMNS)].to_numpy(np.float32),
            track=table["track"].to_numpy(np.int64),
        )
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _slowdown(table: pd.DataFrame) -> float:
    """Seconds of the file for a real one, from a table's two clocks."""
    if "real_time_s" not in table:
        return 1.0
    first, last = table[["time_s", "real_time_s"]].to_numpy(np.float64)[[0, -1]]
    return float((last - first)[0] / (last - first)[1])


class FrameRow(NamedTuple):
    """What is kept of a frame; hours of video must fit in memory, so all measurements are in one small array."""

    frame: int
    time_s: float
    track: int
    alignment: Alignment | None
    values: Array | None
    slowdown: float = 1.0
    picture: str | None = None


# The measurements in `FrameRow.values`, in order, with their shapes.
_PARTS: dict[str, tuple[int, ...]] = {
    "score": (),
    "box": (4,),
    "landmarks": (NUM_LANDMARKS, 2),
    "displacement": (len(REGION_NAMES), 2),
    "head": (len(HEAD_COLUMNS),),
    "flow_median": (),
    "eyes_open": (2,),
}
_SIZES = [int(np.prod(shape)) for shape in _PARTS.values()]


def row_of(result: FrameResult) -> FrameRow:
    """The row of one frame."""
    face, motion = result.face, result.motion
    if face is None:
        return FrameRow(result.index, result.time_s, -1, None, None, result.slowdown, result.picture)
    values = np.full(sum(_SIZES), np.nan, np.float32)
    box = face.box
    parts: list[Any] = [face.score, (box.left, box.top, box.right, box.bottom), face.landmarks]
    if motion is not None:
        parts += [motion.displacement, motion.head, motion.flow_median_px, motion.eyes_open]
    known = np.concatenate([np.ravel(part) for part in parts])
    values[: len(known)] = known
    alignment = None if motion is None else motion.alignment
    return FrameRow(result.index, result.time_s, face.track, alignment, values, result.slowdown, result.picture)


def measurements_of(rows: Collection[FrameRow]) -> Measurements:
    """The rows of all frames as arrays."""
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
        slowdown=next((row.slowdown for row in rows), 1.0),
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
        pictures={row.frame: row.picture for row in rows if row.picture is not None},
    )
