"""MOL as an ONNX graph: for programs without torch, and for onnxruntime here.

One file holds the network for clips of T frames in batches of any size, the requested heads and, in its metadata, the
record of the weights, so that what they were trained on travels with them. Needs the extra `onnx`.
"""

import json
import logging
import tempfile
import warnings
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openmer.clip import Array
from openmer.errors import InputError, to_install
from openmer.files import decode_json, write_new_file
from openmer.models.config import HEADS, Head
from openmer.models.mol import MOL
from openmer.models.weights import SCHEMA, ModelCard, record_from

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MISSING = f"this needs {', '.join(PACKAGES)}; {to_install('onnx', *PACKAGES)}"
METADATA = "openmer"
OUTPUTS: dict[Head, str] = {"mer": "logits", "flow": "flow", "landmarks": "landmarks", "units": "units"}
INPUT = "clip"
EXAMPLES = 3  # clips in the traced example; a number that occurs nowhere in the network


class _Heads(nn.Module):
    """The network with the chosen heads, as a tuple without gaps."""

    def __init__(self, model: MOL, heads: tuple[Head, ...]) -> None:
        super().__init__()
        self.model = model
        self.heads = heads

    def forward(self, clip: Tensor) -> tuple[Tensor, ...]:
        """(B, T, 1, H, W)."""
        return tuple(part for part in self.model(clip, self.heads) if part is not None)


def export_onnx(
    model: MOL,
    record: ModelCard,
    out: Path | str,
    *,
    heads: Collection[Head] | None = None,
    overwrite: bool = False,
) -> tuple[Head, ...]:
    """Write the network as ONNX.

    Args:
        model: in eval mode.
        record: of its weights.
        out: the file, ending in .onnx.
        heads: which of its heads; all by default.
        overwrite: whether an existing file may be replaced.

    Returns:
        The heads, in the order of the outputs.

    Raises:
        InputError: the network lacks a head, the name does not end in .onnx, or the extra `onnx` is not installed.
        OutputError: `out` exists or cannot be written.
    """
    out = Path(out)
    if out.suffix != ".onnx":
        raise InputError(f"--out must end in .onnx, got {out.name}")
    wanted = tuple(head for head in HEADS if head in (model.heads if heads is None else heads))
    missing = sorted(set(heads or ()) - set(model.heads))
    if missing or not wanted:
        raise InputError(
            f"this network has the heads {', '.join(model.heads)}; asked for {', '.join(missing) or 'none'}"
        )
    content = {"schema": SCHEMA, **asdict(record), "heads": list(wanted)}
    write_new_file(out, _graph(model, wanted, json.dumps(content)), overwrite=overwrite)
    return wanted


def _graph(model: MOL, heads: tuple[Head, ...], metadata: str) -> bytes:
    try:
        from onnxscript.optimizer import fold_constants, inline, remove_unused_nodes
    except ImportError as error:
        raise InputError(MISSING) from error
    config = model.config
    example = torch.zeros(EXAMPLES, config.frames, 1, config.size, config.size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program: Any = torch.onnx.export(
            _Heads(model.cpu().eval(), heads),
            (example,),
            dynamo=True,
            verbose=False,
            optimize=False,  # its rewriting takes a third of the time; onnxruntime is no faster for it
            input_names=[INPUT],
            output_names=[OUTPUTS[head] for head in heads],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1, max=4096)}},
        )
        for simplify in (inline, fold_constants, remove_unused_nodes):
            simplify(program.model)
        program.model.metadata_props[METADATA] = metadata
        path = Path(folder) / "model.onnx"
        program.save(str(path), external_data=False)
        return path.read_bytes()


@dataclass(frozen=True)
class _Outputs:
    """What the metadata of a graph say beside the record of its weights."""

    heads: tuple[Head, ...] = ()


class OnnxNetwork:
    """A network in onnxruntime.

    Args:
        path: written by `export_onnx`.

    Attributes:
        record: of the weights.
        heads: those it has.

    Raises:
        InputError: the file is missing, damaged, or not made by openmer, or onnxruntime is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(MISSING) from error
        if not path.is_file():
            raise InputError(f"there is no ONNX file {path}; make one with openmer export mol-lite --to onnx")
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            content: str = self._session.get_modelmeta().custom_metadata_map[METADATA]
        except KeyError as error:
            raise InputError(f"{path} was not written by openmer: nothing in it says what it is") from error
        except Exception as error:  # onnxruntime raises its own types
            raise InputError(f"cannot read the ONNX file {path}: {error}") from error
        self.record = record_from(content, path)
        try:
            self.heads = decode_json(content, _Outputs).heads
        except InputError as error:
            raise InputError(f"{path} was not written by openmer: {error}") from error

    def __call__(self, clips_BT1HW: Array) -> dict[Head, Array]:
        """Float32 clips -> logits (B, K), flow (B, P, 2, H, W), landmarks (B, P, 68, 2), units (B, U), of its heads."""
        answers = self._session.run([OUTPUTS[head] for head in self.heads], {INPUT: np.ascontiguousarray(clips_BT1HW)})
        return dict(zip(self.heads, answers, strict=True))
