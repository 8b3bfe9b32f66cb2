"""From weights to something that answers: a network with the record of its weights, in torch or in onnxruntime.

Shape legend: w clips, T frames of a clip, P = T - 1 pairs, C = 128 px crop, K classes, U action units.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import expit, softmax

from openmer.choices import CLASSICAL, Device, Runtime
from openmer.clip import CROP_PX, NONE, Array
from openmer.errors import InputError
from openmer.models.config import HEADS
from openmer.models.mol import MOL
from openmer.models.onnx import OnnxNetwork, export_onnx
from openmer.models.weights import ModelCard, load_model, read_record


class Answer(NamedTuple):
    """A network's output for w clips.

    Attributes:
        probabilities: (w, K) class probabilities, with the temperature of the record.
        flow: (w, P, 2, C, C) px of the crop, from frame k to k+1, or None.
        landmarks: (w, P, 68, 2) px of the crop, for frames 2 to T, or None.
        units: (w, U) probabilities of the config's action units, or None.
    """

    probabilities: Array
    flow: Array | None
    landmarks: Array | None
    units: Array | None

    def of(self, k: int) -> "Answer":
        """The output for one clip, without the first dimension."""
        return Answer(self.probabilities[k], *(None if part is None else part[k] for part in self[1:]))


@dataclass(frozen=True)
class Engine:
    """A network and the record of its weights.

    Attributes:
        name: name of the weights.
        record: record of the weights.
        network: the network, in torch or in onnxruntime.
    """

    name: str
    record: ModelCard
    network: MOL | OnnxNetwork

    @property
    def frames(self) -> int:
        """T, the number of frames in a window."""
        return self.record.config.frames

    @property
    def none(self) -> str | None:
        """The class that stands for no expression, if the network has one."""
        return NONE if NONE in self.record.classes else None

    @property
    def model(self) -> MOL:
        """The network in torch, which a stream needs in order to run it pair by pair.

        Raises:
            InputError: it runs in onnxruntime.
        """
        if not isinstance(self.network, MOL):
            raise InputError("a stream needs weights in torch, not ONNX: an ONNX graph reads whole clips")
        return self.network

    def probabilities(self, logits: Array) -> Array:
        """(..., K) logits -> (..., K) probabilities, with the temperature of the record."""
        return np.asarray(softmax(logits / (self.record.temperature or 1.0), axis=-1), np.float32)

    def predict(self, clips: Array) -> Answer:
        """Run the network on clips, (w, T, 1, C, C).

        Raises:
            InputError: it has no recognition head.
        """
        if isinstance(self.network, MOL):
            with torch.inference_mode():
                answer = self.network(torch.from_numpy(clips).to(next(self.network.parameters()).device))
            logits, flow, points, units = (None if a is None else a.float().cpu().numpy() for a in answer)
        else:
            outputs = self.network(clips)
            logits, flow, points, units = (outputs.get(head) for head in HEADS)
        if logits is None:
            raise InputError(f"{self.name} gives no classes; a network with the recognition head is needed")
        shares = None if units is None else np.asarray(expit(units), np.float32)
        return Answer(self.probabilities(logits), flow, points, shares)


def load_engine(name_or_path: str | Path, device: Device = "auto", runtime: Runtime = "torch") -> Engine:
    """Load weights that come with the package, a .safetensors file, or an .onnx file.

    Args:
        name_or_path: name or path of the weights.
        device: `auto`, `cpu` or `cuda`.
        runtime: `onnx` first converts the weights to an ONNX graph, which takes a few seconds.

    Raises:
        InputError: there are no such weights, they were trained for another crop, or there is no such device.
    """
    graph = OnnxNetwork(name_or_path) if Path(name_or_path).suffix == ".onnx" else None
    record = read_record(name_or_path) if graph is None else graph.record
    if record.config.size != CROP_PX:
        raise InputError(f"videos are analysed in crops of {CROP_PX} px, these weights read {record.config.size}")
    if device == "cuda" and (runtime == "onnx" or graph is not None):
        raise InputError("onnxruntime is used on the CPU here; leave out --device cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no usable GPU was found; leave it out to run on the CPU")
    name = Path(name_or_path).stem
    if graph is not None:
        return Engine(name, record, graph)
    model = load_model(name_or_path)
    where = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return Engine(name, record, _as_onnx(model, record) if runtime == "onnx" else model.to(where))


def _as_onnx(model: MOL, record: ModelCard) -> OnnxNetwork:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, record, path)
        return OnnxNetwork(path)


def by_name(names: Sequence[str], shares: Array) -> dict[str, float]:
    """Probabilities by name, rounded as results store them."""
    return {name: round(float(p), 4) for name, p in zip(names, shares, strict=True)}


def provenance_of(name: str, record: ModelCard | None) -> dict[str, Any]:
    """What a result says about the weights behind it, or that there are none."""
    if record is None:
        return {
            "engine": CLASSICAL,
            "trained_on": "No learned recognition: motion is measured, and short excursions are marked.",
        }
    return {
        "engine": name,
        "trained_on": record.trained_on,
        "classes": list(record.classes),
        "weights_sha256": record.sha256,
        **({} if record.temperature is None else {"temperature": record.temperature}),
        **({} if record.unsure is None else {"unsure": asdict(record.unsure)}),
    }


def threshold_for(record: ModelCard, alarms_per_minute: float) -> float:
    """The smallest `expression_threshold` at which these weights gave at most this many false alarms per minute.

    It was measured on what the record names, as a rule real videos into which expressions were implanted
    (`benchmarks/implants.py`); other people and cameras have other rates.

    Raises:
        InputError: nothing was measured for these weights, no threshold is strict enough, or the time over which alarms
            were counted is too short to tell so low a rate.
    """
    operating = record.scores.get("operating_points", {})
    measured, minutes = operating.get("points", ()), operating.get("minutes")
    if not measured:
        raise InputError(
            f"the rate of false alarms of {record.file} has not been measured; leave out --alarms-per-minute, or "
            "measure it with benchmarks/implants.py"
        )
    if isinstance(minutes, int | float) and minutes > 0 and alarms_per_minute < 1 / minutes:
        raise InputError(
            f"{alarms_per_minute:g} false alarms a minute cannot be promised: they were counted over {minutes:g} "
            f"minutes ({operating.get('on', 'unknown videos')}), which cannot tell rates below {1 / minutes:.2g}"
        )
    fitting = [p["expression_threshold"] for p in measured if p["alarms_per_minute"] <= alarms_per_minute]
    if not fitting:
        fewest = min(p["alarms_per_minute"] for p in measured)
        raise InputError(
            f"{alarms_per_minute:g} false alarms a minute cannot be promised: at its strictest, {record.file} gave "
            f"{fewest:g} a minute on {operating.get('on', 'unknown videos')}"
        )
    return float(min(fitting))
