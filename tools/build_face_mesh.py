"""Build the weights of the mesh face model: two networks of MediaPipe, read from its wheel, in our own format.

For maintainers: needs the package `tflite`, which parses the graphs; nothing of MediaPipe is installed or run.

    pip download --no-deps --dest wheels mediapipe==0.10.21
    pip install tflite
    python tools/build_face_mesh.py wheels/mediapipe-0.10.21-*.whl src/openmer/face/mesh.safetensors

The models are Google's, under Apache-2.0. Their weights are half floats in the files and stay so in ours.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import tflite
import torch
from safetensors.torch import save_file
from torch import nn

from openmer.face.mesh_net import AttentionMesh, FaceDetector

FOLDER = "mediapipe/modules/"
FILES = {
    "detector": (
        FOLDER + "face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    "mesh": (
        FOLDER + "face_landmark/face_landmark_with_attention.tflite",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    ),
}
NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
DTYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "PRELU"}


class Graph:
    """A tflite graph, walked from its outputs back to its input."""

    def __init__(self, content: bytes) -> None:
        self._model = tflite.Model.GetRootAsModel(content, 0)
        self._graph = self._model.Subgraphs(0)
        self._made_by = {}
        for k in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(k)
            self._made_by |= {int(i): operator for i in operator.OutputsAsNumpy()}

    def outputs(self) -> dict[str, int]:
        """Tensor numbers by name."""
        return {self._graph.Tensors(int(i)).Name().decode(): int(i) for i in self._graph.OutputsAsNumpy()}

    def layers(self, tensor: int) -> list[list[np.ndarray]]:
        """The parameters of all layers with weights on the way to a tensor, first to last."""
        path: list[list[np.ndarray]] = []
        while tensor in self._made_by:
            operator = self._made_by[tensor]
            inputs = [int(i) for i in operator.InputsAsNumpy()]
            if self._kind(operator) in LAYERS:
                path.append([self._constant(i) for i in inputs[1:]])
            tensor = inputs[0] if self._kind(operator) != "ADD" else self._ahead(inputs)
        return path[::-1]

    def branch(self, tensor: int) -> list[list[np.ndarray]]:
        """The same, as far back as the cut from the features."""
        path: list[list[np.ndarray]] = []
        while self._kind(operator := self._made_by[tensor]) != "TransformTensorBilinear":
            inputs = [int(i) for i in operator.InputsAsNumpy()]
            if self._kind(operator) in LAYERS:
                path.append([self._constant(i) for i in inputs[1:]])
            tensor = inputs[0] if self._kind(operator) != "ADD" else self._ahead(inputs)
        return path[::-1]

    def parts(self, tensor: int) -> list[int]:
        """The inputs of the concatenation that makes a tensor."""
        return [int(i) for i in self._made_by[tensor].InputsAsNumpy()]

    def _ahead(self, inputs: list[int]) -> int:
        """Of a sum's two inputs, the one that a convolution made."""
        (chosen,) = [i for i in inputs if self._kind(self._made_by[i]) == "CONV_2D"]
        return chosen

    def _kind(self, operator: tflite.Operator) -> str:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        name = NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        return code.CustomCode().decode() if name == "CUSTOM" else name

    def _constant(self, tensor: int) -> np.ndarray:
        held = self._graph.Tensors(tensor)
        content = self._model.Buffers(held.Buffer())
        if not content.DataLength():  # half floats, widened by an operator
            return self._constant(int(self._made_by[tensor].InputsAsNumpy()[0]))
        return content.DataAsNumpy().view(DTYPES[held.Type()]).reshape(held.ShapeAsNumpy())


def fill(modules: Iterator[nn.Module], layers: list[list[np.ndarray]]) -> None:
    """Put the parameters into the modules, both first to last; the axes (out, y, x, in) become (out, in, y, x)."""
    targets = [m for module in modules for m in module.modules() if isinstance(m, nn.Conv2d | nn.PReLU)]
    for target, values in zip(targets, layers, strict=True):
        if isinstance(target, nn.PReLU):
            target.weight.data = torch.tensor(values[0].reshape(-1))
            continue
        weight = torch.tensor(values[0])
        weight = weight.permute(3, 0, 1, 2) if target.groups > 1 else weight.permute(0, 3, 1, 2)
        if weight.shape != target.weight.shape:
            raise SystemExit(f"a layer has shape {tuple(weight.shape)}, not {tuple(target.weight.shape)}")
        target.weight.data, target.bias.data = weight.contiguous(), torch.tensor(values[1])


def detector(graph: Graph) -> FaceDetector:
    """BlazeFace with the graph's weights."""
    model, outputs = FaceDetector(), graph.outputs()
    for heads, output in ((model.scores, "classificators"), (model.boxes, "regressors")):
        fine, coarse = graph.parts(outputs[output])
        fill(iter((model.stem, model.fine, heads[0])), graph.layers(fine))
        fill(iter((model.stem, model.fine, model.coarse, heads[1])), graph.layers(coarse))
    return model


def mesh(graph: Graph) -> AttentionMesh:
    """FaceMesh with attention, with the graph's weights."""
    model, outputs = AttentionMesh(), graph.outputs()
    for head, output in ((model.out, "output_mesh_identity"), (model.is_face, "conv_faceflag")):
        fill(iter((model.stem, model.features, model.body, model.narrow, head)), graph.layers(outputs[output]))
    for region, output in zip(model.regions, ("output_lips", "output_left_eye", "output_right_eye"), strict=True):
        fill(iter((region,)), graph.branch(outputs[output]))
    return model


def main(wheel: Path, out: Path) -> None:
    """Read, check, convert, write both files."""
    with ZipFile(wheel) as archive:
        contents = {name: archive.read(path) for name, (path, _) in FILES.items()}
    for name, (path, digest) in FILES.items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise SystemExit(f"{path} in {wheel.name} is not the file that this script was written for")
    models = {"detector": detector(Graph(contents["detector"])), "mesh": mesh(Graph(contents["mesh"]))}
    tensors = {
        f"{name}.{key}": value.half() for name, model in models.items() for key, value in model.state_dict().items()
    }
    save_file(tensors, out)
    card = {
        "what": "BlazeFace (short range) and FaceMesh with attention, without the irises",
        "licence": "Apache-2.0",
        "copyright": "The MediaPipe Authors (Google LLC)",
        "changes": "converted by OpenMER from TensorFlow Lite to safetensors; the irises' part was left out",
        "source": wheel.name,
        "files": dict(FILES.values()),
        "made_by": "tools/build_face_mesh.py",
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    main(arguments.wheel, arguments.out)
