"""One step of the analysis, the same for a file and for a camera: find the face, run the network, measure the motion.

`analyze` drives it with the frames of a file, `live` with those of a camera.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from openmer.clip import Gray
from openmer.face.track import Face
from openmer.media.reader import Frame, as_gray
from openmer.video.regions import FrameMotion, MotionMeter

TOO_DARK, TOO_BRIGHT = 40, 215  # of 255: no face stands out in less, or against more


@dataclass(frozen=True)
class LocatedFrame:
    """A frame and the face in it.

    Attributes:
        index: number in the source.
        time_s: seconds of the file.
        gray: (H, W) the picture.
        face: box, landmarks and track, or None.
        slowdown: seconds of the file that show one second of what was recorded.
        picture: in a folder, the picture's name.
    """

    index: int
    time_s: float
    gray: Gray
    face: Face | None
    slowdown: float = 1.0
    picture: str | None = None

    @property
    def real_s(self) -> float:
        """Seconds of what was recorded, by which durations are judged."""
        return self.time_s / self.slowdown


@dataclass(frozen=True)
class FrameResult:
    """What one step of the analysis measured.

    Attributes:
        index: number in the source.
        time_s: seconds of the file.
        face: box, landmarks and track, or None.
        motion: motion of the regions relative to the head; None without a face, or if motion is not measured.
        slowdown: seconds of the file that show one second of what was recorded.
        picture: in a folder, the picture's name.
    """

    index: int
    time_s: float
    face: Face | None
    motion: FrameMotion | None
    slowdown: float = 1.0
    picture: str | None = None


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
        face = self._tracker.update(gray)
        return LocatedFrame(frame.index, frame.time_s, gray, face, frame.slowdown, frame.picture)

    def measure(self, frame: LocatedFrame) -> FrameResult:
        """Run the network and measure the motion of the next frame, in the order in which `locate` returned them."""
        if self._network is not None:
            self._network.update(frame)
        motion = None if self._meter is None else self._meter.update(frame.real_s, frame.gray, frame.face)
        return FrameResult(frame.index, frame.time_s, frame.face, motion, frame.slowdown, frame.picture)

    def update(self, frame: Frame) -> FrameResult:
        """The whole step for the next frame."""
        return self.measure(self.locate(frame))


class Light:
    """How bright the pictures without a face are: the reason may be that they are too dark or too bright."""

    def __init__(self) -> None:
        self._darkest, self._brightest = 255, 0

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Take one picture, gray or color."""
        low, high = np.percentile(image[::4, ::4], (5, 99.5))  # a bright spot or a black border is no light
        self._darkest, self._brightest = min(self._darkest, int(low)), max(self._brightest, int(high))

    def words(self) -> str:
        """What to add to a message, or nothing."""
        if self._brightest < TOO_DARK:
            return f"; the pictures are too dark: the brightest pixels reach {self._brightest} of 255"
        if self._darkest > TOO_BRIGHT:
            return f"; the pictures are too bright: the darkest pixels have {self._darkest} of 255"
        return ""
