"""On a GPU it is as on a CPU; skipped where there is none."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring import judge_flow, judge_landmarks

from clipsets import CLASSES, shifting_store
from openmer.clips.transforms import EVAL
from openmer.evaluation.evaluate import predict
from openmer.evaluation.loso import run_loso
from openmer.evaluation.settings import LosoSettings, Workers
from openmer.models.mol import create_model
from openmer.models.weights import load_model
from openmer.training.data import ClipData
from openmer.training.loop import Devices, train
from openmer.training.settings import LossSettings, TrainSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

# Dropout draws other numbers on a GPU, and only recognition has it.
NO_DROPOUT = TrainSettings(
    model="mol-lite",
    steps=4,
    batch=2,
    warmup=0,
    lr=1e-3,
    log_every=1,
    checkpoint_every=2,
    transforms=EVAL,
    losses=LossSettings(mer=0.0, flow=2.0, landmarks=3.0),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ClipData:
    store = shifting_store(tmp_path_factory.mktemp("shifting") / "store")
    return ClipData(store, store.entries, CLASSES)


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_training_on_a_gpu_is_training_on_a_cpu(data: ClipData, tmp_path: Path) -> None:
    on = {device: losses_of(data, tmp_path / device, device) for device in ("cpu", "cuda")}
    np.testing.assert_allclose(on["cuda"], on["cpu"], rtol=0.02)
    assert load_model(tmp_path / "cuda" / "model.safetensors").config == create_model("mol-lite", num_classes=2).config


def losses_of(data: ClipData, out: Path, device: str) -> list[float]:
    train(NO_DROPOUT, data, out, on=Devices(device, 1))
    return losses(out)


def test_a_run_stopped_on_a_gpu_goes_on_there(data: ClipData, tmp_path: Path) -> None:
    """Dropout too: the random state of the GPU is kept. Sums on a GPU differ from run to run in their last digits."""
    whole = replace(NO_DROPOUT, losses=LossSettings(mer=1.0, flow=2.0, landmarks=3.0))
    train(whole, data, tmp_path / "undisturbed", on=Devices("cuda", 1))
    train(whole, data, tmp_path / "stopped", on=Devices("cuda", 1), stop_after=2)
    train(whole, data, tmp_path / "stopped", on=Devices("cuda", 1))
    np.testing.assert_allclose(losses(tmp_path / "stopped"), losses(tmp_path / "undisturbed"), rtol=0.01)


def test_heads_learn_from_views_that_were_encoded_on_a_gpu(data: ClipData, tmp_path: Path) -> None:
    train(NO_DROPOUT, data, tmp_path / "first", on=Devices("cuda", 1))
    head = replace(
        NO_DROPOUT,
        init=str(tmp_path / "first" / "model.safetensors"),
        freeze=("backbone", "flow", "landmarks"),
        views=2,
        losses=LossSettings(flow=0.0, landmarks=0.0),
    )
    train(head, data, tmp_path / "head", on=Devices("cuda", 1))
    assert all(np.isfinite(losses(tmp_path / "head")))


def test_a_judgement_on_a_gpu_is_that_on_a_cpu(data: ClipData) -> None:
    torch.manual_seed(0)
    model = create_model("mol-lite", num_classes=2, units=(1, 12)).eval()
    here = judged(model, data)
    there = judged(model.cuda(), data)
    np.testing.assert_allclose(there, here, rtol=0.01, atol=0.005)


def judged(model: torch.nn.Module, data: ClipData) -> list[float]:
    rows = [p for prediction in predict(model, data) for p in prediction.probabilities]
    return [*rows, judge_flow(model, data, methods=())["all"]["network"], judge_landmarks(model, data)["nme_mean"]]


def test_folds_on_a_gpu(data: ClipData, tmp_path: Path) -> None:
    settings = LosoSettings(training=replace(NO_DROPOUT, steps=1, losses=LossSettings()), split="2")
    found = run_loso(data, settings, tmp_path / "loso", on=Workers(device="cuda", workers=2))
    assert found["videos"] == len({e.video for e in data.entries})
