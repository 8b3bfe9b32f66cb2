"""Implants: expressions of known size and time in a real video, everything else untouched.

    video -> the face followed through it -> drawn expressions, re-enacted -> the same video with them, and their truth

An implant is simulated motion in real pictures. It says nothing about how real micro-expressions look.

Shape legend: T frames.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openmer.clip import Array, Times
from openmer.errors import InputError
from openmer.face.registry import face_model
from openmer.face.track import FaceModel, FaceTracker
from openmer.media.reader import VideoReader, as_gray
from openmer.media.writer import VideoWriter
from openmer.simulator.facial_motion import Event
from openmer.simulator.head import Identity
from openmer.simulator.reenact import Picture, Reenactment, cast, reenact, steadied
from openmer.timeline import Interval, Timeline

MIN_SHARE = 0.5  # of a video's frames that must show a face
RESAMPLED = "resampled"  # a control: sampled there and back, so that nothing moves
QUALITY = 12  # x264's CRF: hardly any loss


@dataclass(frozen=True)
class FollowedFace:
    """One face through a video.

    Attributes:
        times_s: (T,) seconds.
        landmarks: (T, 68, 2) px; NaN where no face was found.
        track: (T,) number of the track, -1 where no face was found.
    """

    times_s: Times
    landmarks: Array
    track: npt.NDArray[np.int64]

    @cached_property
    def steady(self) -> Array:
        """(T, 68, 2) px: the landmarks without their jitter."""
        return steadied(self.landmarks, self.times_s)

    def usable(self, start_s: float, end_s: float) -> bool:
        """Whether one track's face is found in all frames from one moment to another, at least two."""
        inside = (self.times_s >= start_s) & (self.times_s <= end_s)
        tracks = set(self.track[inside].tolist())
        return int(inside.sum()) > 1 and len(tracks) == 1 and -1 not in tracks


def follow_face(
    video: Path,
    model: FaceModel | None = None,
    *,
    end_s: float | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> FollowedFace:
    """Find the face in every frame.

    Args:
        video: a file or a folder of numbered pictures.
        model: finds faces; by default the project's.
        end_s: stop there, seconds.
        on_frame: called after each frame.

    Raises:
        InputError: the video cannot be read, or shows no face in half of its frames.
    """
    tracker = FaceTracker(model or face_model())
    times, points, tracks = [], [], []
    for frame in VideoReader(video, end_s=end_s):
        face = tracker.update(as_gray(frame.image))
        times.append(frame.time_s)
        points.append(np.full((68, 2), np.nan, np.float32) if face is None else face.landmarks)
        tracks.append(-1 if face is None else face.track)
        on_frame()
    count = sum(track >= 0 for track in tracks)
    if count < MIN_SHARE * len(tracks) or count < 2:
        raise InputError(
            f"{video}: a face was found in {count} of {len(tracks)} frames; at least half must show one, frontal and "
            "a sixteenth of the picture wide"
        )
    return FollowedFace(np.array(times), np.stack(points), np.array(tracks))


@dataclass(frozen=True)
class Implant:
    """One expression to be shown in a video.

    Attributes:
        event: as drawn, in the video's seconds.
        peak_px: its size: the largest motion at the apex, px of the 128 crop.
        control: whether the pictures are only sampled there and back, so that nothing moves.
    """

    event: Event
    peak_px: float
    control: bool = False

    @property
    def interval(self) -> Interval:
        """Its truth."""
        event = self.event
        return Interval(
            onset_s=event.onset_s,
            apex_s=event.apex_s + event.hold_s / 2,
            offset_s=event.offset_s,
            label=RESAMPLED if self.control else event.kind,
            peak_px=self.peak_px,
        )


@dataclass(frozen=True)
class ImplantedVideo:
    """A real video in which a face shows drawn expressions.

    Attributes:
        source: the untouched video.
        face: as followed through it.
        implants: they must not overlap, and the face must be usable (see `FollowedFace`) throughout each.
        identity: whose motion is borrowed.
    """

    source: Path
    face: FollowedFace
    implants: tuple[Implant, ...]
    identity: Identity

    def __post_init__(self) -> None:
        for implant in self.implants:
            start, end = implant.event.onset_s, implant.event.offset_s
            if not self.face.usable(start, end):
                raise InputError(f"{self.source}: no one face is found from {start:.2f} to {end:.2f} s")

    @cached_property
    def reenactments(self) -> tuple[Reenactment, ...]:
        """One for each implant."""
        return tuple(self._cast(implant) for implant in self.implants)

    def _cast(self, implant: Implant) -> Reenactment:
        inside = (self.face.times_s >= implant.event.onset_s) & (self.face.times_s <= implant.event.offset_s)
        actor = cast(np.median(self.face.steady[inside], axis=0).astype(np.float32), self.identity)
        return reenact(actor, implant.event, implant.peak_px)

    def picture(self, frame: int, picture: Picture) -> Picture:
        """The re-enacted picture of a frame: the untouched one itself where nothing is added."""
        moment = float(self.face.times_s[frame])
        for implant, reenactment in zip(self.implants, self.reenactments, strict=True):
            late = implant.event.max_lag_s
            if not implant.event.onset_s - late < moment < implant.event.offset_s + late:
                continue
            points = self.face.steady[frame]
            if np.isfinite(points).all():
                added = reenactment.on(points, moment)
                picture = added.apply(picture)
                picture = added.undo(picture) if implant.control else picture
        return picture

    def __iter__(self) -> Iterator[tuple[float, Picture]]:
        """Seconds and pictures, frame after frame."""
        for row, frame in enumerate(VideoReader(self.source)):
            if row >= len(self.face.times_s):
                return
            yield frame.time_s, self.picture(row, frame.image)

    @property
    def truth(self) -> Timeline:
        """The implants as a timeline."""
        times = self.face.times_s
        return Timeline(
            intervals=tuple(implant.interval for implant in self.implants),
            start_s=float(times[0]),
            end_s=float(times[-1]),
            provenance={"implanted": True, "source": self.source.name},
        )

    def write(self, path: Path, *, on_frame: Callable[[], None] = lambda: None) -> None:
        """Write it as H.264, nearly without loss."""
        info = VideoReader(self.source).info
        width, height = info.width // 2 * 2, info.height // 2 * 2
        rate = Fraction(1 / float(np.median(np.diff(self.face.times_s)))).limit_denominator(1001)
        with VideoWriter(path, width, height, rate, crf=QUALITY) as writer:
            for time_s, picture in self:
                writer.write(np.ascontiguousarray(picture[:height, :width]), time_s)
                on_frame()
