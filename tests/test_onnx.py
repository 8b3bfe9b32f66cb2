"""The ONNX graph says what torch says, for any number of clips, and carries its record."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from openmer import InputError, create_model, load_model, read_record
from openmer.cli import main
from openmer.models.engine import load_engine
from openmer.models.onnx import OnnxNetwork, export_onnx
from openmer.models.weights import ModelDescription, save_model
from openmer.video.windows import predict_crops

pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
WEIGHTS = "mol-lite"


def clips(batch: int, seed: int) -> torch.Tensor:
    """Smooth pictures that change a little from frame to frame."""
    random = torch.Generator().manual_seed(seed)
    still, moved = (torch.randn(batch, n, 128, 128, generator=random) for n in (1, 8))
    return 4 * torch.nn.functional.avg_pool2d(still + 0.1 * moved, 7, 1, 3)[:, :, None]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "mol-lite.onnx"
    assert export_onnx(load_model(WEIGHTS), read_record(WEIGHTS), out) == ("mer", "flow", "landmarks", "units")
    return out


def test_it_equals_torch_for_batches_of_any_size(graph: Path) -> None:
    model, network = load_model(WEIGHTS), OnnxNetwork(graph)
    for batch in (1, 2, 5):
        inputs = clips(batch, batch)
        with torch.inference_mode():
            truth = model(inputs)
        found = network(inputs.numpy())
        for head, value in zip(network.heads, truth, strict=True):
            assert found[head].shape == value.shape
            np.testing.assert_allclose(found[head], value.numpy(), atol=1e-3, err_msg=head)


def test_it_says_what_it_was_trained_on_and_runs_in_an_analysis(graph: Path) -> None:
    engine = load_engine(graph, "cpu")
    assert engine.record == read_record(WEIGHTS) and "not validated" in engine.record.trained_on
    crops = np.random.default_rng(0).integers(60, 180, (8, 128, 128)).astype(np.uint8)
    for of_graph, of_torch in zip(
        predict_crops(engine, crops), predict_crops(load_engine(WEIGHTS, "cpu"), crops), strict=True
    ):
        assert of_graph is not None and of_torch is not None
        np.testing.assert_allclose(of_graph, of_torch, atol=1e-3)
    with pytest.raises(InputError, match="a stream needs weights in torch"):
        _ = engine.model


def test_heads_can_be_chosen_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small, out = tmp_path / "small.safetensors", tmp_path / "mer.onnx"
    model = create_model(WEIGHTS, fcc=False, ccc=False, motion=False)  # a small one is exported in seconds
    save_model(model, small, ModelDescription(classes=("a", "b", "c"), trained_on="nothing"))
    command = ["openmer", "export", str(small), "--to", "onnx", "--out", str(out), "--heads", "mer"]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert OnnxNetwork(out).heads == ("mer",) and set(OnnxNetwork(out)(clips(1, 0).numpy())) == {"mer"}
    with pytest.raises(SystemExit):
        main()
    assert "add --overwrite" in " ".join(capsys.readouterr().err.split())


def test_what_is_no_graph_of_ours_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(InputError, match="cannot read the ONNX file"):
        OnnxNetwork(broken)
    with pytest.raises(InputError, match="there is no ONNX file"):
        OnnxNetwork(tmp_path / "nowhere.onnx")
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        export_onnx(load_model(WEIGHTS), read_record(WEIGHTS), tmp_path / "model.bin")
