"""What `openmer bench` measures, and how."""

from dataclasses import dataclass
from typing import Literal

from openmer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What is measured, and how.

    Attributes:
        batch: Clips per batch at inference.
        train_batch: Clips in a training step; 0 skips training.
        device: Where the networks run.
        dtype: Precision; bfloat16 by autocast.
        compile: Measure them through torch.compile, which takes a minute longer.
        repeats: Timed runs; the median is reported.
        onnx: Also time the network in onnxruntime; needs the extra `onnx`.
    """

    batch: int = 1
    train_batch: int = 4
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    repeats: int = 7
    onnx: bool = False

    def __post_init__(self) -> None:
        if min(self.batch, self.repeats) < 1 or self.train_batch < 0:
            raise InputError("--batch and --repeats must be at least 1, --train-batch at least 0")
        if self.onnx and (self.device != "cpu" or self.dtype != "float32"):
            raise InputError("onnxruntime is measured on the CPU in float32: leave out --device and --dtype, or --onnx")
