"""What can be chosen when datasets are read and prepared; the command line is made from these classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from openmer.choices import AlignMode, FaceModelName, FlowDevice, FlowMethod, Interpolation, Sampling
from openmer.errors import InputError


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
