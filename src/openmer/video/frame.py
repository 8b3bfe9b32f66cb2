"""One step of the analysis, the same for a file and for a camera: find the face, run the network, measure the motion.

`analyze` drives it with the frames of a file, `live` with those of a camera.
"""

from dataclasses import dataclass
from typing import Protocol

from openmer.clip import Gray
from openmer.face.track import Face
from openmer.media.reader import Frame, as_gray
from openmer.video.regions import FrameMotion, MotionMeter


@dataclass(frozen=True)
class LocatedFrame:
    """A frame and the face in it.

    Attributes:
        index: number in the source.
        time_s: seconds.
        gray: (H, W) the picture.
        face: box, landmarks and track, or None.
    """

    index: int
    time_s: float
    gray: Gray
    face: Face | None


@dataclass(frozen=True)
class FrameResult:
    """What one step of the analysis measured.

    Attributes:
        index: number in the source.
        time_s: seconds.
        face: box, landmarks and track, or None.
        motion: motion of the regions relative to the head; None without a face, or if motion is not measured.
    """

    index: int
    time_s: float
    face: Face | None
    motion: FrameMotion | None


class Tracker(Protocol):
    """What finds the face in each frame."""

    def update(self, gray: Gray, /) -> Face | None:
        """The face in the next (H, W) frame."""
        ...


class FrameNetwork(Protocol):
    """A network that takes windows from the frames as they come."""

    def update(self, frame: LocatedFrame, /) -> None:
        """Take the next frame."""
        ...


class FrameAnalyzer:
    """Analyses one frame after another.

    Args:
        tracker: finds the face.
        meter: measures its motion, or None.
        network: runs on the frames as well, or None.
    """

    def __init__(self, tracker: Tracker, meter: MotionMeter | None, network: FrameNetwork | None = None) -> None:
        self._tracker = tracker
        self._meter = meter
        self._network = network

    def locate(self, frame: Frame) -> LocatedFrame:
        """Find the face in the next frame, gray or color."""
        gray = as_gray(frame.image)
        return LocatedFrame(frame.index, frame.time_s, gray, self._tracker.update(gray))

    def measure(self, frame: LocatedFrame) -> FrameResult:
        """Run the network and measure the motion of the next frame, in the order in which `locate` returned them."""
        if self._network is not None:
            self._network.update(frame)
        motion = None if self._meter is None else self._meter.update(frame.time_s, frame.gray, frame.face)
        return FrameResult(frame.index, frame.time_s, frame.face, motion)

    def update(self, frame: Frame) -> FrameResult:
        """The whole step for the next frame."""
        return self.measure(self.locate(frame))
