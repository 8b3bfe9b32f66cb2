"""The two types that all data pass through.

A `Sample` says where an annotated recording is; a `Clip` holds aligned frames and what is known about them.

Shapes: T frames, H rows, W columns, 68 landmarks in iBUG order.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from openmer.errors import InputError

Gray = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]

NUM_LANDMARKS = 68
ALIGNED_PX = 144  # side of the aligned square, as stores keep it
CROP_PX = 128  # side of what networks see of it
FLOW_STEP_PX = 1 / 256  # flow is stored as int16 in this unit: up to 128 px
NONE = "none"  # the label of a clip without an expression
SIMULATED = "simulated"  # the dataset of all faces of the simulator
REENACTED = "reenacted"  # of real faces with simulated motion
# Datasets that show the same people, under the same names.
SAME_PEOPLE = {"smic-hs": "smic", "smic-vis": "smic", "smic-nir": "smic", "samm-long": "samm"}


def person_of(dataset: str, subject: str) -> tuple[str, str]:
    """A person's identity across all their recordings: nobody may be both trained on and judged."""
    return (SAME_PEOPLE.get(dataset, dataset), subject)


def alike(subject: str) -> str:
    """The same for names that a spreadsheet program or a typist makes of one: `01`, `1`, `1.0`; `sub_3`, `Sub 03`."""
    plain = unicodedata.normalize("NFKC", subject).casefold()
    plain = re.sub(r"(\d)[.,]0+$", r"\1", plain)
    plain = re.sub(r"(?<!\d)[\s_.-]+|[\s_.-]+(?!\d)", "", plain)  # between numbers they tell two people apart
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_.-]+", "-", plain))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One annotated recording of a dataset, not yet read.

    Attributes:
        dataset: name of the dataset.
        subject: id of the person, unique within the dataset.
        name: id of the recording, unique within the subject.
        source: a video file, or a folder of numbered images.
        fps: frames per second.
        label: name of the class, or None if unlabelled.
        onset: number of the first frame of the expression, in the source's own numbering, or None.
        apex: number of the frame with the largest motion, or None.
        offset: number of the last frame, or None.
        apex_estimated: whether the apex is our estimate.
        action_units: FACS units, as annotated, for example `4`, `L12`.
        cropped: whether the pictures show little more than the face.
        kind: a micro-expression, or a longer one.
    """

    dataset: str
    subject: str
    name: str
    source: Path
    fps: Fraction
    label: str | None = None
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    apex_estimated: bool = False
    action_units: tuple[str, ...] = ()
    cropped: bool = False
    kind: Literal["micro", "macro"] = "micro"

    @property
    def key(self) -> tuple[str, str, str]:
        """(dataset, subject, name): identifies this sample among all others."""
        return (self.dataset, self.subject, self.name)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Aligned gray frames of one face.

    Attributes:
        frames: (T, H, W) uint8.
        times_s: (T,) seconds from the first frame of the source, strictly increasing.
        subject: id of the person, or empty.
        label: name of the class, or None.
        onset: index into `frames` of the first frame of the expression, or None.
        apex: index of the frame with the largest motion, or None.
        offset: index of the last frame, or None.
        landmarks: (T, 68, 2) pixels (x, y) of the frames, or None. NaN where unknown.
        flow: (T-1, 2, H, W) pixels (dx, dy), from frame k to k+1, or None.
        units: FACS action units that are shown, or None if unknown.

    Raises:
        InputError: shapes, types or the order of times are inconsistent.
    """

    frames: Gray
    times_s: Times
    subject: str = ""
    label: str | None = None
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    landmarks: Array | None = field(default=None)
    flow: Array | None = field(default=None)
    units: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 3 or self.frames.dtype != np.uint8:
            raise InputError(f"frames must be (T, H, W) uint8, got {self.frames.shape} {self.frames.dtype.name}")
        t, h, w = self.frames.shape
        _expect("times_s", self.times_s.shape, (t,))
        if t > 1 and not bool(np.all(np.diff(self.times_s) > 0)):
            raise InputError("times_s must rise strictly")
        if self.landmarks is not None:
            _expect("landmarks", self.landmarks.shape, (t, NUM_LANDMARKS, 2))
        if self.flow is not None:
            _expect("flow", self.flow.shape, (t - 1, 2, h, w))
        marks = [m for m in (self.onset, self.apex, self.offset) if m is not None]
        if marks != sorted(marks) or any(not 0 <= m < t for m in marks):
            raise InputError(f"onset, apex, offset must rise within 0..{t - 1}, got {marks}")

    def __len__(self) -> int:
        return len(self.frames)


def _expect(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise InputError(f"{name} must have shape {wanted}, got {shape}")
