"""A classifier that compares clips: exact values, the readable twin of leaving people out, weights on disk."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from clipsets import shifting_store
from openmer import create_model, load_model
from openmer.errors import InputError
from openmer.evaluation.evaluate import predict
from openmer.evaluation.metrics import class_scores
from openmer.models.incremental import Incremental
from openmer.models.kernel import KernelClassifier, alike, comparable
from openmer.models.mol import MOL
from openmer.models.weights import read_record
from openmer.training.data import ClipData
from openmer.training.kernel import fitted, solved
from openmer.training.loop import train
from openmer.training.network import make_model
from openmer.training.settings import FEW, RECIPES, TrainSettings

UNITS = read_record("mol-lite").config.units


def test_clips_are_as_alike_as_their_cosine_says() -> None:
    same, other, opposite = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0, -1.0]])
    found = alike(same, torch.cat([same, other, opposite]))
    torch.testing.assert_close(found, torch.exp(torch.tensor([[0.0, -0.6, -1.2]])))


def test_the_frame_in_which_most_has_moved_is_compared_whatever_the_size() -> None:
    moved = torch.zeros(1, 3, 2, 4, 4)
    moved[0, 1, 0, 2, 2], moved[0, 2, 1] = 3.0, 0.01
    vector = comparable(moved, torch.ones(4, 4))
    assert vector.shape == (1, 32) and int(vector[0].argmax()) == 10 and int(vector[0].count_nonzero()) == 1
    torch.testing.assert_close(vector.square().mean(1), torch.ones(1), rtol=1e-4, atol=0)
    torch.testing.assert_close(comparable(7 * moved, torch.ones(4, 4)), vector, rtol=1e-4, atol=1e-5)


def test_leaving_people_out_equals_fitting_without_them() -> None:
    rng = torch.Generator().manual_seed(0)
    vectors = torch.randn(7, 5, generator=rng, dtype=torch.float64)
    truth = 2 * torch.eye(2, dtype=torch.float64)[[0, 1, 0, 1, 1, 0, 0]] - 1
    ridge = torch.rand(7, generator=rng, dtype=torch.float64) + 0.1
    kernel = alike(vectors, vectors)
    groups = [np.array([0, 3]), np.array([1, 2, 6]), np.array([4, 5])]
    weights, left_out = solved(kernel, truth, ridge, groups)
    torch.testing.assert_close((kernel + torch.diag(ridge)) @ weights, truth)
    for group in groups:
        rest = np.setdiff1d(np.arange(7), group)
        without = torch.linalg.solve(kernel[rest][:, rest] + torch.diag(ridge[rest]), truth[rest])
        torch.testing.assert_close(left_out[group], kernel[group][:, rest] @ without)


def test_the_networks_opinion_counts_where_it_is_right_and_the_clips_say_nothing() -> None:
    rng = torch.Generator().manual_seed(1)
    labels = torch.arange(40) % 2
    noise = torch.nn.functional.normalize(torch.randn(40, 64, generator=rng)) * 8
    knowing = 4 * torch.nn.functional.one_hot(labels, 2).float()
    people = [k // 4 for k in range(40)]
    assert fitted(noise, labels, people, knowing, (0.0, 1.0)).trust == 1.0
    assert fitted(noise, labels, people, knowing, (0.0, 1.0)).uf1 > 0.9
    told = torch.zeros(40, 64)
    told[:, 0] = 8.0 * (2 * labels - 1)
    wrong = fitted(told, labels, people, -knowing, (0.0, 1.0))
    assert (wrong.trust, wrong.uf1) == (0.0, 1.0)


def test_what_cannot_be_compared_is_refused() -> None:
    vectors, logits = torch.ones(4, 2), torch.zeros(4, 2)
    for labels, people in (([0, 1, 0, 1], [0, 0, 0, 0]), ([1, 1, 1, 1], [0, 1, 2, 3])):
        with pytest.raises(InputError, match="for 2 people and more"):
            fitted(vectors, torch.tensor(labels), people, logits, (0.0,))
    for changes in ({"steps": 10}, {"init": None, "freeze": ()}):
        with pytest.raises(InputError, match="fitted without steps"):
            replace(FEW, **changes)
    with pytest.raises(InputError, match="needs motion and centered"):
        create_model("mol", kernel=3)


def test_what_would_stay_random_is_refused() -> None:
    """Nothing is learned beside the comparison, so an action unit that the weights do not know would be a guess."""
    known = make_model(replace(FEW, switches={"units": (4, 12)}), ("left", "right"))
    assert isinstance(known, MOL)
    torch.testing.assert_close(known.units.read.weight[1], load_model("mol-lite").units.read.weight[UNITS.index(12)])
    for changes in ({"switches": {"units": (12, 18)}}, {"init_parts": ("backbone", "flow", "landmarks")}):
        with pytest.raises(InputError, match="the rest would stay random"):
            make_model(replace(FEW, **changes), ("left", "right"))


def test_scores_and_opinion_are_joined_as_shares() -> None:
    kernel = KernelClassifier(1, 2, 2)
    kernel.scale.fill_(2.0)
    kernel.trust.fill_(0.5)
    out = kernel.join(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 4.0]]))
    torch.testing.assert_close(out[:, 0] - out[:, 1], torch.tensor([2.0 - 0.5 * 4.0]))


def test_weights_with_a_kernel_are_written_and_judge_as_they_did(tmp_path: Path) -> None:
    store = shifting_store(tmp_path / "store")
    data = ClipData(store, store.entries, sorted({str(entry.label) for entry in store.entries}))
    model = train(RECIPES["few"], data, tmp_path / "run")
    again = load_model(tmp_path / "run" / "model.safetensors")
    assert isinstance(model, MOL) and again.config.kernel == len(data)
    assert float(again.mer.kernel.trust) == 0.0, "the shipped weights have not learned these classes"
    answers = predict(again, data)
    assert answers == predict(model, data)
    assert "compares 16 clips" in read_record(tmp_path / "run" / "model.safetensors").notes
    assert class_scores(answers, len(data.classes)).accuracy > 0.9
    begun = str(tmp_path / "run" / "model.safetensors")
    with pytest.raises(InputError, match="cannot continue; begin with what it began with"):
        make_model(TrainSettings(model="mol-lite", init=begun), data.classes)
    said = Console(record=True, width=400, file=io.StringIO())
    onwards = train(replace(RECIPES["few"], init=begun), data, tmp_path / "onwards", console=said)
    assert isinstance(onwards, MOL) and float(onwards.mer.kernel.trust) == 0.0, "its own layer learned nothing"
    assert "has learned from" in said.export_text()
    x = data.evaluation_batch([0, 1]).inputs
    with torch.inference_mode():
        torch.testing.assert_close(again(x, ["units"]).units, load_model("mol-lite")(x, ["units"]).units)
    window = Incremental(again, ["mer"])
    streamed = [window.push(frame) for frame in x[0, :, 0]][-1]
    torch.testing.assert_close(streamed.logits, again(x[:1], ["mer"]).logits, rtol=1e-3, atol=1e-3)
