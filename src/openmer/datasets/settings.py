"""What can be chosen when datasets are read and prepared; the command line is made from these classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from openmer.choices import AlignMode, FaceModelName, FlowDevice, FlowMethod, Interpolation, Sampling
from openmer.clip import NONE
from openmer.errors import InputError
from openmer.simulator.settings import Head, SimulateSettings
from openmer.simulator.shown_units import NEGATIVE, Like

# Four classes in turn, so that all have the same number of recordings.
BALANCED = tuple(e for negative in NEGATIVE for e in (negative, "happiness", "surprise", NONE))
Windows = Literal["any", "mixed"]


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How a licensed dataset is read.

    Attributes:
        frames: For a licensed dataset: raw images or cropped faces; raw by default, if present.
        workbook: For a licensed dataset: the annotation, if it is somewhere else.
        corrections: For a licensed dataset: fix known errors in the released annotation; each is listed.
    """

    frames: Literal["raw", "cropped"] | None = None
    workbook: Path | None = None
    corrections: bool = True


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """What is judged and listed when a dataset is checked.

    Attributes:
        protocol: The protocol whose counts decide the exit code; by default the first of the dataset.
        sheet: Write an image of some apex frames.
        max_listed: How many findings of each kind are listed.
    """

    protocol: str | None = None
    sheet: Path | None = None
    max_listed: int = 20


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How recordings become clips.

    Attributes:
        frames: Frames of a clip.
        sampling: interleaved (L // 8 clips of L frames, as in the authors' code) or uniform (one from onset to offset).
        interpolation: What becomes of recordings with fewer frames than a clip: none leaves them out; tim (Zhou et al.
            2011) and flow (neighbours warped along their flow) put frames between their frames.
        flow: The teacher of the flow head; tvl1 is the paper's; dis is 30 times faster, and worse for small motion.
        align: One alignment per clip, or one per frame as in the authors' code (jitters).
        device: Where TV-L1 flow is computed; a GPU does all pairs of a clip at once.
        face: Who finds faces and landmarks: dlib, as in the authors' code, or mesh (MediaPipe's).
    """

    frames: Annotated[int, tyro.conf.Suppress] = 8
    sampling: Sampling = "interleaved"
    interpolation: Interpolation = "none"
    flow: FlowMethod = "tvl1"
    align: AlignMode = "per_clip"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    face: FaceModelName = "dlib"

    @property
    def flow_device(self) -> FlowDevice:
        """Where flow is computed on this machine.

        Raises:
            InputError: a GPU is asked for, and there is none.
        """
        if self.device == "cpu" or self.flow != "tvl1":
            return "cpu"
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if self.device == "cuda":
            raise InputError("--device cuda: no usable GPU was found; leave it out to run on the CPU")
        return "cpu"


@dataclass(frozen=True, kw_only=True)
class SimulatedClips:
    """How clips are simulated.

    Attributes:
        subjects: Number of simulated people.
        samples: Clips per person, each of a recording of its own; four show each class once.
        seed: Determines everything random; another seed gives other people. mol-lite was trained on the people of
            seeds 0, 1, 1001 and 1002.
        frames: Frames of a clip.
        fps: Frames per second of the recordings from which the frames are taken.
        emotions: Taken in turn, shifted by one from person to person.
        shortest_s: Shortest time between the first and the last frame, of windows that show more than a rise.
        longest_s: Longest.
        head: Calm sits in front of a camera, lively turns and moves, mixed is either.
        like: Whose action units, sides and timing the expressions have, as counted in the datasets' annotations.
        shares: The four classes equally often, or emotions as often as the dataset has them and none for a quarter.
        windows: any puts the expression anywhere in a clip, as when a video is analyzed in windows; mixed also shows
            only its rise, from onset to apex, or begins at the onset, as annotated datasets are cut.
        compressed: Share of clips that went through a video codec.
    """

    subjects: int = 800
    samples: int = 4
    seed: int = 10
    frames: int = 8
    fps: float = 100.0
    emotions: tuple[str, ...] = BALANCED
    shortest_s: float = 0.3
    longest_s: float = 0.9
    head: Head = "calm"
    like: Like = "mixture"
    shares: Literal["balanced", "natural"] = "balanced"
    windows: Windows = "mixed"
    compressed: float = 0.3

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.samples < 1 or self.seed < 0:
            raise InputError(
                "there must be subjects and samples, and a seed that is not negative, got "
                f"{self.subjects}, {self.samples} and {self.seed}"
            )
        if self.windows not in get_args(Windows):
            raise InputError(f"windows must be one of {', '.join(get_args(Windows))}, got {self.windows!r}")
        if not 2 <= self.frames <= 64:
            raise InputError(f"a clip must have 2 to 64 frames, got {self.frames}")
        if not 0 < self.shortest_s <= self.longest_s:
            raise InputError(f"the clip must last from {self.shortest_s} to {self.longest_s} s, which cannot be")

    @property
    def recordings(self) -> SimulateSettings:
        """Settings of the recordings that the clips are cut from."""
        return SimulateSettings(
            subjects=self.subjects,
            samples=self.samples,
            seed=self.seed,
            fps=self.fps,
            emotions=self.emotions,
            head=self.head,
            like=self.like,
            shares=self.shares,
        )


@dataclass(frozen=True, kw_only=True)
class ReenactedClips:
    """How expressions are added to real faces.

    Attributes:
        samples: Clips of each video or photograph; four show each class once.
        seed: Determines everything random, with the video's name.
        frames: Frames of a clip.
        emotions: Taken in turn.
        size_px: With --reenact, the smallest and the largest motion, px of the 128 crop; none draws sizes as simulated.
        shortest_s: Shortest time between the first and the last frame.
        longest_s: Longest.
    """

    samples: int = 100
    seed: int = 10
    frames: int = 8
    emotions: tuple[str, ...] = BALANCED
    size_px: tuple[float, float] | None = None
    shortest_s: float = 0.3
    longest_s: float = 0.9

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"the seed must not be negative, got {self.seed}")
        if self.samples < 1 or not 2 <= self.frames <= 64:
            raise InputError(f"there must be clips of 2 to 64 frames, got {self.samples} clips of {self.frames}")
        if not 0 < self.shortest_s <= self.longest_s:
            raise InputError(f"the clip must last from {self.shortest_s} to {self.longest_s} s, which cannot be")
        if self.size_px is not None and not 0 < self.size_px[0] <= self.size_px[1]:
            raise InputError(f"sizes must go from a smaller to a larger one above 0 px, got {self.size_px}")
