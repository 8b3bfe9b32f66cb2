import json
import sys
from pathlib import Path

import pytest
import torch

from openmer.bench.measure import _as_onnx
from openmer.cli import main
from openmer.models.mol import create_model


def test_bench_writes_figures_with_their_provenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    command = [
        "openmer",
        "bench",
        "--presets",
        "mol-lite",
        "--repeats",
        "1",
        "--train-batch",
        "1",
        "--dtype",
        "bfloat16",
        "--out",
    ]
    monkeypatch.setattr(sys, "argv", [*command, str(out)])
    main()
    content = json.loads(out.read_text())
    assert {"cpu", "torch", "commit", "threads"} <= set(content["machine"])
    (row,) = content["rows"]
    assert row["settings"]["dtype"] == "bfloat16" and row["settings"]["preset"] == "mol-lite"
    assert row["figures"]["gflop"]["all"] > row["figures"]["gflop"]["mer"] > 0.1
    for name in ("ms_a_clip_mer", "ms_a_clip_all", "ms_a_training_step", "peak_mb", "share_of_matmul_peak"):
        assert row["figures"][name] > 0
    assert "recognition alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "0"], "at least 1"),
        (["--onnx", "--dtype", "bfloat16"], "onnxruntime is measured on the CPU in float32"),
        pytest.param(
            ["--device", "cuda"],
            "no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here"),
        ),
    ],
)
def test_bad_settings_are_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["openmer", "bench", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and said in capsys.readouterr().err


def test_what_is_timed_in_onnxruntime_is_the_same_network() -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    torch.manual_seed(0)
    model = create_model("mol-lite", flow=False, landmarks=False, motion=False).eval()
    clip = torch.randn(1, 8, 1, 128, 128)
    with torch.inference_mode():
        expected = model(clip).logits
    found = _as_onnx(model, ("mer",))(clip.numpy())["mer"]
    assert found == pytest.approx(expected.numpy(), abs=1e-3)
