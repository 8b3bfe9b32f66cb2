"""Find one face in a video and follow it: a box, a score and 68 landmarks per frame.

Coordinates are pixels of the picture, x right, y down, with pixel centres at whole numbers. Landmarks are in iBUG
68 order. Who finds the face is a `FaceModel`: dlib's (`dlib_model`), as in the MOL recipe, or the mesh (`mesh`).
"""

from dataclasses import dataclass
from typing import Protocol

from openmer.clip import Array, Gray

SAME_PLACE = 0.75  # IoU from which a box counts as the last one


@dataclass(frozen=True)
class Box:
    """A rectangle in the picture: left, top, right, bottom in pixels.

    Attributes:
        roll: how far the face in it is turned clockwise, radians.
    """

    left: float
    top: float
    right: float
    bottom: float
    roll: float = 0.0

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def area(self) -> float:
        """Square pixels."""
        return max(0.0, self.width) * max(0.0, self.bottom - self.top)

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0 to 1; as if neither were turned."""
        shared = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )
        if shared.right <= shared.left or shared.bottom <= shared.top:
            return 0.0
        return shared.area / (self.area + other.area - shared.area)

    def grown(self, factor: float) -> "Box":
        """The box with the same centre and `factor` times the sides."""
        dx, dy = (factor - 1) / 2 * self.width, (factor - 1) / 2 * (self.bottom - self.top)
        return Box(self.left - dx, self.top - dy, self.right + dx, self.bottom + dy, self.roll)


@dataclass(frozen=True)
class Detection:
    """A face found by a detector; the score is the detector's own, higher is more certain."""

    box: Box
    score: float


@dataclass(frozen=True)
class Located:
    """A face whose landmarks are known.

    Attributes:
        box: where the model looked for the landmarks; it holds still while the face does.
        score: the model's own, higher is more certain.
        landmarks: (68, 2) float32 pixels of the picture.
    """

    box: Box
    score: float
    landmarks: Array


@dataclass(frozen=True)
class Face(Located):
    """The followed face in one frame.

    Attributes:
        track: track number; changes whenever the followed face may be another person's.
    """

    track: int


class FaceModel(Protocol):
    """What the tracker needs from a face library; pictures are (H, W) uint8."""

    def search(self, gray: Gray, *, fine: bool) -> list[Detection]:
        """All faces of an eighth of the longer side or more; if none and `fine`, of half that size."""
        ...

    def locate(self, gray: Gray, face: Detection) -> Located | None:
        """The landmarks of a face that the search gave; None if it is none."""
        ...

    def follow(self, gray: Gray, last: Located) -> Located | None:
        """The face that was there in the frame before; None if it is no longer."""
        ...


class FaceTracker:
    """Follows one face through a video.

    The first face is the largest in the whole picture. From then on only the surroundings of the last box are
    searched, and only a face that overlaps it is accepted, so that the track does not jump between people. The whole
    picture is searched again when the face is lost, and every `full_every` frames: if faces are found but none is where
    the track is, the track has drifted and is dropped.

    A face that returns within `patience` frames to where it was lost keeps its track number; otherwise the largest
    face begins a new track.

    Args:
        model: finds faces and landmarks.
        full_every: frames between searches of the whole picture.
        patience: frames to wait for a lost face.
    """

    fine_every = 10

    def __init__(self, model: FaceModel, *, full_every: int = 150, patience: int = 30) -> None:
        self._model = model
        self._full_every = full_every
        self._patience = patience
        self._last: Located | None = None
        self._since_full = 0
        self._lost_for: int | None = None
        self._track = -1

    def update(self, gray: Gray) -> Face | None:
        """Find the followed face in the next frame, (H, W) uint8; None if it is not seen."""
        followed = self._last is not None and self._lost_for is None
        face = self._model.follow(gray, self._last) if followed and self._last is not None else None
        self._since_full += 1
        if face is None or self._since_full >= self._full_every:
            face = self._searched(gray, face)
        if face is None:
            self._lost_for = 0 if self._lost_for is None else self._lost_for + 1
            return None
        self._lost_for = None
        self._last = face
        return Face(face.box, face.score, face.landmarks, self._track)

    def _searched(self, gray: Gray, near: Located | None) -> Located | None:
        self._since_full = 0
        fine = near is None and (self._lost_for is None or self._lost_for % self.fine_every == 0)
        faces = self._model.search(gray, fine=fine)
        if near is not None and (not faces or any(near.box.iou(d.box) > 0.3 for d in faces)):
            return near
        if not faces:
            return None
        same = best_overlap(faces, self._last.box) if self._last is not None and self._waits() else None
        located = self._model.locate(gray, self._steadied(same) if same else max(faces, key=lambda d: d.box.area))
        if located is not None and same is None:
            self._track += 1
        return located

    def _waits(self) -> bool:
        return self._lost_for is None or self._lost_for <= self._patience

    def _steadied(self, face: Detection) -> Detection:
        """In the last box, if the face is nearly there: landmarks depend on the box."""
        if self._last is not None and self._last.box.iou(face.box) > SAME_PLACE:
            return Detection(self._last.box, face.score)
        return face


def best_overlap(faces: list[Detection], last: Box, *, minimum: float = 0.3) -> Detection | None:
    """The face that overlaps a box most, if it does so by more than the minimum (IoU)."""
    best = max(faces, key=lambda d: last.iou(d.box), default=None)
    return best if best is not None and last.iou(best.box) > minimum else None
