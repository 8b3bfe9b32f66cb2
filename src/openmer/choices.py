"""Names that settings choose from; light, so that the command line offers them without loading a library."""

from typing import Literal

AlignMode = Literal["per_clip", "per_frame"]
FlowMethod = Literal["dis", "tvl1", "farneback"]
FlowDevice = Literal["cpu", "cuda"]
Faces = Literal["largest", "all"]
FaceModelName = Literal["dlib", "mesh"]
Device = Literal["auto", "cpu", "cuda"]
Runtime = Literal["torch", "onnx"]
Attributor = Literal["integrated", "held"]
Sampling = Literal["interleaved", "uniform"]
Interpolation = Literal["none", "tim", "flow"]
ExportFormat = Literal["elan", "boris", "csv", "parquet"]

CLASSICAL = "classical"  # the engine without a network
DEFAULT_ENGINE = "mol-lite"
