"""Damaged weights, records, checkpoints and ONNX files, through `load_model`, `import-authors`, and what reads ONNX."""

import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from corpus import damage
from corpus.case import Case
from openmer.models.mol import create_model
from openmer.models.weights import ModelDescription, save_model


class Planted:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (open, (str(self.path), "w"))


def cases(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Weights with their record, other programs' checkpoints, graphs."""
    torch.manual_seed(0)
    model = create_model("mol-lite", num_classes=3, flow=False)
    saved = root / "whole.safetensors"
    save_model(model, saved, ModelDescription(classes=("a", "b", "c"), trained_on="nothing"))
    yield from weights(root, saved, rng)
    yield from records(root, saved, rng)
    yield from checkpoints(root, model.state_dict(), rng)
    yield from graphs(root, rng)


def _pair(root: Path, number: int, data: bytes, record: dict[str, Any]) -> Path:
    path = root / f"w{number}.safetensors"
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(record | {"file": path.name}))
    return path


def weights(root: Path, saved: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Tensors whose record fits."""
    data, record = saved.read_bytes(), json.loads(saved.with_suffix(".json").read_text())
    state = safetensors.torch.load(data)
    bad = {**dict(damage.of_bytes(data, rng, many=2)), **dict(_tensors(state)), **dict(_headers(data, rng))}
    for number, (name, content) in enumerate(bad.items()):
        # The digest is made to fit in all but every fourth, so that what lies behind it is tried too.
        digest = record["sha256"] if number % 4 == 3 else hashlib.sha256(content).hexdigest()
        path = _pair(root, number, content, record | {"sha256": digest})
        yield Case(f"networks/weights {name}", ("load_model", str(path)), (path,))
    path = _pair(root, 9000, data, record)
    path.unlink()
    path.mkdir()
    yield Case("networks/weights are a folder", ("load_model", str(path)))


def _tensors(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, bytes]]:
    first = next(name for name, value in state.items() if value.dim() > 1)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8):
        yield f"of {dtype}", safetensors.torch.save({k: v.to(dtype) for k, v in state.items()})
    arrays = {name: value.numpy() for name, value in state.items()}
    for name, changed in damage.of_arrays(arrays, [first]):
        if changed.get(first, np.zeros(1)).dtype.kind in "fi":
            yield name, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in changed.items()})
    yield "no tensors", safetensors.torch.save({})
    yield "one more", safetensors.torch.save(state | {"more": torch.zeros(2)})
    yield "a baseline", safetensors.torch.save({"fc.weight": torch.zeros(3, 400), "fc.bias": torch.zeros(3)})
    for name, model in (
        ("another preset", create_model("mol-lite", num_classes=5, flow=False)),
        ("all heads", create_model("mol-lite", num_classes=3)),
    ):
        yield name, safetensors.torch.save({k: v.contiguous() for k, v in model.state_dict().items()})


def _headers(data: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    size = struct.unpack("<Q", data[:8])[0]
    header, body = data[8 : 8 + size], data[8 + size :]
    for length in (0, 2**63, 2**32, size + 1, size - 1):
        yield f"header of {length} bytes", struct.pack("<Q", length) + header + body
    content = json.loads(header)
    first = next(name for name in content if name != "__metadata__")
    for what, entry in (
        *damage.of_values(content[first], rng),
        ("offsets beyond", content[first] | {"data_offsets": [0, 2**40]}),
        ("offsets that overlap", content[first] | {"data_offsets": [0, 8]}),
        ("huge shape", content[first] | {"shape": [2**40, 2**40]}),
    ):
        changed = json.dumps(content | {first: entry}).encode()
        yield f"header, {what}", struct.pack("<Q", len(changed)) + changed + body
    for what, text in (("header is text", b"hello"), ("header is deep", b"[" * damage.DEEP)):
        yield what, struct.pack("<Q", len(text)) + text + body
    yield "a pickle called safetensors", pickle.dumps({"a": 1})


def records(root: Path, saved: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Records whose tensors are whole."""
    record, data = json.loads(saved.with_suffix(".json").read_text()), saved.read_bytes()
    bad = dict(damage.of_json(record, rng, leaves=25))
    for name, config in damage.of_values(record["config"], rng):
        bad[f"config.{name}"] = json.dumps(record | {"config": config}).encode()
    bad["another preset"] = json.dumps(record | {"config": record["config"] | {"preset": "mol-authors"}}).encode()
    bad["file elsewhere"] = json.dumps(record | {"file": "../whole.safetensors"}).encode()
    for number, (name, content) in enumerate(bad.items()):
        path = root / f"r{number}.safetensors"
        path.write_bytes(data)
        path.with_suffix(".json").write_bytes(content.replace(saved.name.encode(), path.name.encode()))
        yield Case(f"networks/record {name}", ("load_model", str(path)), (path,))


def _saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def checkpoints(root: Path, state: dict[str, torch.Tensor], rng: np.random.Generator) -> Iterator[Case]:
    """What torch saved, through `openmer import-authors`."""
    good = _saved({k: v[:8].clone() if v.dim() else v for k, v in state.items()})
    code = Planted(root / "planted")
    weight = "mer_3dcnn.fc2.weight"
    contents: dict[str, object] = {
        "a whole module": torch.nn.Linear(2, 2),
        "a list": [torch.zeros(2)],
        "nested": {"state_dict": state},
        "numbers for names": {1: torch.zeros(2)},
        "a number": 3,
        "sparse": {weight: torch.zeros(4, 4).to_sparse()},
        "classes without end": {weight: torch.zeros(1, 2).expand(10**8, 2)},
        "complex": {weight: torch.zeros(5, 2, dtype=torch.complex64)},
    }
    bad = {
        **dict(damage.of_bytes(good, rng, many=2)),
        **{name: _saved(content) for name, content in contents.items()},
        "a state dict of another network": good,
        "in the old format": _saved(state, _use_new_zipfile_serialization=False),
        "a pickle with code": pickle.dumps(code),
        "code in a dict": pickle.dumps({"weight": code}),
        "code in a checkpoint": _with_pickle(good, pickle.dumps(code, protocol=2)),
        "a bomb": _with_pickle(good, bytes(300_000_000)),
        "deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    }
    for number, (name, content) in enumerate(bad.items()):
        path = root / f"c{number}{('.pt', '.pth')[number % 2]}"
        path.write_bytes(content)
        out = root / f"imported{number}.safetensors"
        yield Case(f"networks/checkpoint {name}", ("import-authors", str(path), str(out)), (path,))


def _with_pickle(good: bytes, code: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return damage.repacked(good, {name: code for name in archive.namelist() if name.endswith("data.pkl")})


def graphs(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """ONNX files."""
    for number, (name, content) in enumerate(_onnx(rng)):
        path = root / f"g{number}.onnx"
        path.write_bytes(content)
        yield Case(f"networks/onnx {name}", ("read_onnx", str(path)), (path,))
    folder = root / "folder.onnx"
    folder.mkdir()
    yield Case("networks/onnx folder", ("read_onnx", str(folder)))
    shutil.copy(root / "whole.safetensors", root / "weights.onnx")
    yield Case("networks/onnx weights", ("read_onnx", str(root / "weights.onnx")))


def _onnx(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Without the extra `onnx` only what is no graph can be made, and all of it is refused alike."""
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        yield from damage.of_bytes(rng.bytes(2000), rng)
        return

    def graph(metadata: dict[str, str], external: str | None = None) -> bytes:
        shape = helper.make_tensor_value_info("clip", TensorProto.FLOAT, [1, 2])
        out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])
        node = helper.make_node("Add", ["clip", "w"], ["logits"])
        weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 2], [0.0, 1.0])
        if external is not None:
            weight.ClearField("float_data")
            weight.data_location = TensorProto.EXTERNAL
            entry = weight.external_data.add()
            entry.key, entry.value = "location", external
        model = helper.make_model(helper.make_graph([node], "g", [shape], [out], [weight]))
        model.ir_version, model.opset_import[0].version = 8, 17
        for key, value in metadata.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value
        return bytes(onnx.ModelProto.SerializeToString(model))

    good = graph({"openmer": "{}"})
    yield from damage.of_bytes(good, rng, many=2)
    yield "nothing said", graph({})
    for text in ("{}", "[]", "null", "3", "hello", "[" * damage.DEEP, '{"schema": "openmer.weights/1"}'):
        yield f"metadata is {text[:8]}", graph({"openmer": text})
    record = {"schema": "openmer.weights/1", "config": {"num_classes": -1}, "classes": 3, "heads": 7}
    yield "metadata with wrong types", graph({"openmer": json.dumps(record)})
    yield "tensors elsewhere", graph({"openmer": "{}"}, external="../../../../etc/passwd")
