"""How videos and cameras are analysed: each setting stands here once; the command line is made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from openmer.choices import (
    CLASSICAL,
    DEFAULT_ENGINE,
    AlignMode,
    Device,
    FaceModelName,
    Faces,
    FlowMethod,
    Runtime,
)
from openmer.errors import InputError


def _rate(arguments: Sequence[str]) -> Fraction:
    from openmer.media.reader import read_rate

    return read_rate(arguments[0], "--fps")


RATE = PrimitiveConstructorSpec[Any](
    nargs=1,
    metavar="RATE",
    instance_from_str=_rate,
    is_instance=lambda value: value is None or isinstance(value, Fraction),
    str_from_instance=lambda value: [str(value)],
)


@dataclass(frozen=True)
class SpottingSettings:
    """What counts as a candidate.

    Attributes:
        min_s: shortest event, seconds.
        max_s: longest event, seconds.
        min_px: smallest peak, pixels of the 128 crop.
        max_px: an event in which any region or the head itself moves farther is marked as large motion instead: what
            an affine motion of the head leaves then looks like motion of the face.
        contrast: how many times the typical size around that moment an excursion must reach.
        context_s: total length of the surroundings from which the typical size is taken, seconds.
        baseline_s: length of the running median that follows slow motion, seconds.
        rel_height: height, as a share of the peak, at which an event begins and ends.
        settle_s: how long before an event and after it the region's places are compared, seconds.
        max_return_error: how far apart these may be, as a share of the peak; else it is part of something longer.
        head_share: an event must exceed this share of how far the middle of the face moves with the head meanwhile.
        blink_closure: how far the eyes must close for a blink, as a share of their usual opening.
        blink_ratio: eye aspect ratio that they must also fall below; wide eyes returning to normal are not a blink.
    """

    min_s: float = 1 / 25
    max_s: float = 1 / 2
    min_px: float = 0.2
    max_px: float = 4.0
    contrast: float = 5.0
    context_s: float = 4.0
    baseline_s: float = 1.5
    rel_height: float = 0.15
    settle_s: float = 0.1
    max_return_error: float = 0.5
    head_share: float = 0.25
    blink_closure: float = 0.3
    blink_ratio: float = 0.23


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """How the frames of a file or of a camera are analysed.

    Attributes:
        align: One alignment while the head stays in place, or a new one for each frame (jitters).
        flow: How motion is measured: dis (fast), tvl1 (the literature's, 30 times slower), farneback.
        face: Who finds the face and its landmarks: dlib, or mesh (MediaPipe's; its weights may be used commercially).
        predictor: Another dlib 68-point predictor.
        engine: mol-lite (weights that come with the package), classical (motion alone), or a .safetensors or .onnx
            file.
        device: Where the network runs; everything else runs on the CPU.
        expression_threshold: A candidate is set aside if the network's probability of all expressions together is
            below this.
        alarms_per_minute: Instead, set candidates aside strictly enough that real videos in which expressions were
            implanted gave at most this many other candidates a minute.
        spotting: What counts as a candidate.
    """

    align: AlignMode = "per_clip"
    flow: FlowMethod = "dis"
    face: FaceModelName = "dlib"
    predictor: Path | None = None
    engine: str = DEFAULT_ENGINE
    device: Device = "auto"
    expression_threshold: float = 0.5
    alarms_per_minute: float | None = None
    spotting: Annotated[SpottingSettings, tyro.conf.Fixed, tyro.conf.Suppress] = field(default_factory=SpottingSettings)


@dataclass(frozen=True, kw_only=True)
class AnalyzeSettings(MeasureSettings):
    """How a video is analysed.

    Attributes:
        fps: Frames a second of the recording, such as 200 or 30000/1001; needed for a folder of images and for a file
            without times, and says so where a file shows slow motion.
        start_s: First second to analyse, as a player of the file shows it.
        end_s: Last second to analyse.
        stream: Number of the video stream in the file; by default the file's default one.
        faces: largest follows one face, all analyses everybody who stays, each in a folder of their own.
        stay_s: With --faces all: how long somebody must be seen in all, seconds; at most half of the video is asked.
        overlay: Draw overlay.mp4.
        runtime: onnx runs the network in onnxruntime.
        workers: Processor cores to use; 0 means all. Of several videos, as many are analysed at once. The results are
            the same.
    """

    fps: Annotated[Fraction | None, RATE] = None
    start_s: Annotated[float, tyro.conf.arg(name="start")] = 0.0
    end_s: Annotated[float | None, tyro.conf.arg(name="end")] = None
    stream: int | None = None
    faces: Faces = "largest"
    stay_s: Annotated[float, tyro.conf.arg(name="stay")] = 2.0
    overlay: bool = True
    runtime: Runtime = "torch"
    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise InputError(f"--workers is a number of processor cores, or 0 for all, got {self.workers}")
        if not 0 <= self.stay_s < float("inf"):
            raise InputError(f"--stay is a number of seconds, got {self.stay_s}")


@dataclass(frozen=True, kw_only=True)
class StreamSettings(MeasureSettings):
    """How a stream is analysed.

    Attributes:
        motion: whether regions are measured and events spotted; without it only the network runs, which is faster.
        heads: which of the network's heads to use; None for all.
    """

    motion: bool = True
    heads: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.motion and self.engine == CLASSICAL:
            raise InputError("a stream without motion needs a network: choose another engine than classical")

    @classmethod
    def like(cls, settings: MeasureSettings) -> "StreamSettings":
        """With the values that files and cameras share."""
        return cls(**{each.name: getattr(settings, each.name) for each in fields(MeasureSettings)})


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in a form that JSON can hold; only the name of a path, since folder names can identify people."""
    plain: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "workers":  # nothing that the result depends on
            continue
        if isinstance(value, Fraction):
            plain[key] = str(value)
        elif isinstance(value, Path) or key == "engine":
            plain[key] = Path(value).name
        else:
            plain[key] = value
    return plain
