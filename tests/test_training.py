"""The loop learns, repeats itself, stops and goes on, and refuses what is wrong."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from scoring import judge_flow, judge_landmarks

from clipsets import CLASSES, shifting_store
from openmer import InputError, OutputError
from openmer.cli.training import ShortForms
from openmer.clips.transforms import CROP, EVAL, STRONG
from openmer.evaluation.evaluate import predict
from openmer.evaluation.metrics import class_scores
from openmer.models.baselines import FlowSVM, STSTNet
from openmer.models.mol import MOL, MOLOutput, create_model
from openmer.models.weights import ModelDescription, initialise, load_model, read_record, save_model
from openmer.training.data import Batch, ClipData, motion_to_apex
from openmer.training.loop import Devices, _ahead, _readers, learning_rate, train
from openmer.training.losses import classification_loss, flow_loss, landmark_loss, total_loss
from openmer.training.network import make_model
from openmer.training.settings import LOSSES, PAPER, LossSettings, TrainSettings

LITE = TrainSettings(
    model="mol-lite", steps=4, batch=2, warmup=0, lr=1e-3, log_every=1, checkpoint_every=2, seed=3, transforms=EVAL
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ClipData:
    store = shifting_store(tmp_path_factory.mktemp("shifting") / "store")
    return ClipData(store, store.entries, CLASSES)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# ------------------------------------------------------------------------------------------------------------- losses


def test_flow_losses_by_hand() -> None:
    truth = torch.zeros(1, 2, 2, 4, 4)
    guess = truth.clone()
    guess[0, 0, 0] = 3.0
    guess[0, 0, 1] = 4.0  # the first pair is 5 px off everywhere, the second right
    assert flow_loss(guess, truth, "mse").tolist() == [(9 + 16) / 2 / 2]
    assert flow_loss(guess, truth, "epe").item() == pytest.approx(2.5, abs=0.02)
    truth[0, 1, 0, 0, 0] = 1.0  # now one pixel of the second pair moves, and is missed
    moving = flow_loss(torch.zeros_like(truth), truth, "relative").item()
    assert moving == pytest.approx((1 / 16 + 1 / 1.2) / 2, abs=0.02)


def test_the_relative_loss_has_a_slope_at_zero() -> None:
    flow = torch.zeros(1, 1, 2, 4, 4, requires_grad=True)
    flow_loss(flow, torch.zeros(1, 1, 2, 4, 4), "relative").sum().backward()
    assert flow.grad is not None and flow.grad.isfinite().all()


def test_landmark_loss_by_hand_and_without_unknown_frames() -> None:
    truth = torch.zeros(1, 2, 68, 2)
    truth[..., 36:42, 0] = 20.0
    truth[..., 42:48, 0] = 70.0  # pupils 50 px apart
    guess = truth + torch.tensor([3.0, -2.0])
    assert landmark_loss(guess, truth).item() == pytest.approx(5 / 50)
    truth[0, 1] = float("nan")
    assert landmark_loss(guess, truth).item() == pytest.approx(5 / 50)
    truth[0, 0] = float("nan")
    assert landmark_loss(guess.requires_grad_(), truth).item() == 0


def test_unknown_classes_and_class_weights() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, np.log(3.0)]])
    np.testing.assert_allclose(classification_loss(logits, torch.tensor([-1, 1])), [0, np.log(4 / 3)], rtol=1e-6)
    only = LossSettings(mer=2.0)
    out = MOLOutput(logits=logits)
    labels = torch.tensor([0, 1])
    batch = Batch(torch.zeros(0), labels, None, torch.zeros(2, 8, 68, 2), torch.zeros(2, 0))
    parts = total_loss(out, batch, only, torch.tensor([1.0, 3.0]))
    expected = (np.log(2) + 3 * np.log(4 / 3)) / 4
    assert parts["mer"].item() == pytest.approx(expected) and parts["loss"].item() == pytest.approx(2 * expected)
    assert set(parts) == {"loss", "mer"}


def test_the_recipe_of_mol_learns_classes_and_units_from_frames_alone() -> None:
    whole, other = (
        ShortForms(recipe="mol", **given).applied({}) for given in ({}, {"units": (12,), "without": ("ccc",)})
    )
    assert whole.model == "mol" and not {"flow", "landmarks"} & {k for k, v in whole.switches.items() if v}
    assert 12 in whole.switches["units"] and whole.transforms == CROP
    assert other.switches == {**whole.switches, "units": (12,), "ccc": False}


def test_the_papers_recipe() -> None:
    assert LOSSES["paper"] == LossSettings(mer=1, flow=10, landmarks=0.7, flow_kind="mse")
    assert (PAPER.lr, PAPER.weight_decay, PAPER.batch, PAPER.steps, PAPER.schedule) == (
        1e-4,
        1e-3,
        32,
        1000,
        "constant",
    )
    whole, own = (ShortForms(recipe="paper").applied(given) for given in ({}, {"batch": 8, "model": "mol-lite"}))
    assert (whole.model, whole.batch) == ("mol", 32) and (own.model, own.batch) == ("mol-lite", 8)


def test_the_command_line_has_the_defaults_of_the_settings() -> None:
    assert ShortForms().applied({}) == TrainSettings()
    assert (TrainSettings().lr, TrainSettings().batch) == (1.5e-3, 16), "what the shipped weights were begun with"


# --------------------------------------------------------------------------------------------------------------- data


def test_every_clip_comes_once_before_any_comes_again(data: ClipData) -> None:
    order = np.concatenate([data.chosen(step, 4, seed=0) for step in range(4)])
    assert sorted(order.tolist()) == list(range(16))
    assert (data.chosen(2, 4, seed=0) == order[8:12]).all(), "a step's clips do not depend on what came before"
    across = np.concatenate([data.chosen(step, 5, seed=0) for step in range(16)])
    assert (np.bincount(across) == 5).all(), "also where an epoch is no whole number of batches"


def test_batches_repeat_and_differ_by_seed(data: ClipData) -> None:
    one, same, other = (data.training_batch(1, TrainSettings(batch=2, seed=s)) for s in (0, 0, 1))
    assert torch.equal(one.inputs, same.inputs) and not torch.equal(one.inputs, other.inputs)
    four = TrainSettings(batch=4)
    halves = [data.training_batch(1, four, part=(k, 2)) for k in (0, 1)]
    whole = data.training_batch(1, four)
    assert torch.equal(whole.inputs[0::2], halves[0].inputs) and torch.equal(whole.inputs[1::2], halves[1].inputs)


def test_balanced_sampling_draws_rare_classes_as_often(data: ClipData) -> None:
    rare = data.subset([0, *np.flatnonzero(data.labels == data.labels[1]).tolist()])
    assert sorted(rare.counts().values()) == [1, 8]
    drawn = np.concatenate([rare.chosen(s, 50, seed=0, balance="sampler") for s in range(20)])
    assert 0.4 < (rare.labels[drawn] == rare.labels[0]).mean() < 0.6
    rates = rare.class_weights().numpy() * np.array(list(rare.counts().values()))
    assert rates[0] == pytest.approx(rates[1]) and rates.sum() == pytest.approx(9)


def test_baselines_see_the_motion_up_to_the_largest(data: ClipData) -> None:
    right = next(k for k, e in enumerate(data.entries) if e.label == "right")
    motion = motion_to_apex(data.store.read(data.entries[right]))
    assert motion.shape == (3, 28, 28)
    patch = motion[:, 18:25, 18:25]  # rows and columns 80 to 128 of 144, in the crop's twenty-eighths
    assert np.median(patch[0]) > 2.5 and abs(np.median(patch[1])) < 0.5
    batch = ClipData(data.store, data.entries, CLASSES, "motion").training_batch(0, TrainSettings(batch=2))
    assert batch.inputs.shape == (2, 3, 28, 28) and batch.flow is None


def test_labels_that_are_no_class_are_refused(data: ClipData) -> None:
    with pytest.raises(InputError, match="labels right, the classes are left"):
        ClipData(data.store, data.entries, ("left",))
    with pytest.raises(InputError, match="no clips"):
        ClipData(data.store, [], CLASSES)


# --------------------------------------------------------------------------------------------------------------- loop


def test_training_twice_gives_the_same_numbers(data: ClipData) -> None:
    one, two = train(LITE, data), train(LITE, data)
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(train(replace(LITE, seed=4), data)))


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(data: ClipData, tmp_path: Path) -> None:
    whole = train(LITE, data, tmp_path / "whole")
    train(LITE, data, tmp_path / "parts", stop_after=1)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    train(LITE, data, tmp_path / "parts", stop_after=2)
    rest = train(LITE, data, tmp_path / "parts")
    assert torch.equal(weights(whole), weights(rest))
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1] and len(logs[0].splitlines()) == 5
    assert torch.equal(weights(load_model(tmp_path / "parts" / "model.safetensors")), weights(rest))
    assert "shifting" in read_record(tmp_path / "parts" / "model.json").trained_on


def test_a_run_with_other_settings_or_data_is_refused(data: ClipData, tmp_path: Path) -> None:
    train(LITE, data, tmp_path / "run", stop_after=1)
    with pytest.raises(InputError, match=r"other settings or data; what differs: lr"):
        train(replace(LITE, lr=1e-4), data, tmp_path / "run")
    with pytest.raises(InputError, match="the clips or the initial weights differ"):
        train(LITE, data.subset([0, 1, 2]), tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        train(LITE, data, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(OutputError, match="left alone"):
        train(LITE, data, tmp_path / "mine")


def test_a_full_disk_keeps_the_last_checkpoint(data: ClipData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(LITE, data, tmp_path / "run", stop_after=1)
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openmer.training.run.write_atomic", full)
    with pytest.raises(OutputError, match="No space left"):
        train(LITE, data, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_a_batch_of_far_more_clips_than_there_are_is_refused(data: ClipData) -> None:
    with pytest.raises(InputError, match="each of the 16 clips more than 4 times"):
        train(replace(LITE, batch=65), data)


@pytest.mark.parametrize("log_every", [1, 8])
def test_divergence_ends_with_a_line_and_the_last_good_checkpoint(
    data: ClipData, tmp_path: Path, log_every: int
) -> None:
    settings = replace(LITE, lr=1e30, clip_norm=0.0, steps=8, checkpoint_every=1, log_every=log_every)
    with pytest.raises(InputError, match="diverged at step"):
        train(settings, data, tmp_path / "run")
    found = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert found["step"] >= 1
    assert all(value.isfinite().all() for value in found["model"].values())


def test_frozen_parts_stay_as_they_are(data: ClipData) -> None:
    settings = replace(LITE, freeze=("backbone", "landmarks"), steps=2)
    fresh = make_model(settings, CLASSES).state_dict()
    after = train(settings, data).state_dict()
    changed = {name.split(".")[0] for name in fresh if not torch.equal(fresh[name], after[name])}
    assert changed == {"mer", "flow"}
    with pytest.raises(InputError, match="everything is frozen"):
        train(replace(LITE, freeze=("all",)), data)


def test_flow_is_learned_from_some_neighbouring_pairs_of_each_clip(data: ClipData, tmp_path: Path) -> None:
    only_flow = LossSettings(mer=0, landmarks=0)
    four = TrainSettings(batch=4, transforms=STRONG, losses=only_flow)
    whole = data.training_batch(0, four)
    some = data.training_batch(0, replace(four, pairs=2))
    assert some.inputs.shape[:2] == (4, 3) and whole.flow is not None and some.flow is not None
    starts = []
    for k in range(4):
        start = next(s for s in range(6) if torch.equal(some.inputs[k], whole.inputs[k, s : s + 3]))
        assert torch.equal(some.flow[k], whole.flow[k, start : start + 2])
        assert torch.equal(some.landmarks[k], whole.landmarks[k, start : start + 3])
        starts.append(start)
    assert len(set(starts)) > 1
    assert data.training_batch(0, replace(four, pairs=9)).inputs.shape == whole.inputs.shape  # there are only 7
    settings = replace(LITE, pairs=2, freeze=("backbone", "mer", "landmarks"), losses=only_flow)
    begun, learned = make_model(settings, CLASSES).state_dict(), train(settings, data).state_dict()
    assert {n.split(".")[0] for n in learned if not torch.equal(learned[n], begun[n])} == {"flow"}
    train(settings, data, tmp_path / "run", stop_after=2)
    gone_on = train(settings, data, tmp_path / "run").state_dict()
    assert all(torch.equal(learned[name], gone_on[name]) for name in learned)


def test_initial_weights_are_taken_by_part(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = create_model("mol-lite", num_classes=5)
    save_model(source, tmp_path / "w.safetensors", ModelDescription(classes=tuple("abcde"), trained_on="nothing"))
    settings = replace(LITE, init=str(tmp_path / "w.safetensors"), init_parts=("backbone", "flow"))
    model = make_model(settings, CLASSES)
    assert isinstance(model, MOL)
    ours, theirs = model.state_dict(), source.state_dict()
    assert torch.equal(ours["stack.0.weight"], theirs["stack.0.weight"])
    assert torch.equal(ours["flow.entry.weight"], theirs["flow.entry.weight"])
    assert not torch.equal(ours["landmarks.heat.weight"], theirs["landmarks.heat.weight"])
    left = initialise(create_model("mol-lite", num_classes=2), source)
    last = [f"mer.motion.classify.{kind}" for kind in ("weight", "bias")]
    assert left == last, "another number of classes"
    with pytest.raises(InputError, match="none of flow"):
        initialise(create_model("mol-lite", flow=False), source, ("flow",))


def test_a_class_and_a_unit_take_over_what_their_namesakes_have_learned() -> None:
    source, model = (
        create_model("mol-lite", num_classes=3, units=units, mer_features=True) for units in ((1, 4, 12), (12, 2, 1))
    )
    before = model.state_dict()["mer.classify.weight"].clone()
    left = initialise(model, source, classes=(("happy", "fear", "none"), ("none", "sad", "happy")))
    for name in ("mer.classify.weight", "mer.motion.classify.bias"):
        ours, theirs = model.state_dict()[name], source.state_dict()[name]
        assert torch.equal(ours[0], theirs[2]) and torch.equal(ours[2], theirs[0])
    assert torch.equal(model.state_dict()["mer.classify.weight"][1], before[1])
    ours, theirs = (m.state_dict()["units.read.weight"] for m in (model, source))
    assert torch.equal(ours[0], theirs[2]) and torch.equal(ours[2], theirs[0]) and not torch.equal(ours[1], theirs[1])
    assert {name.rpartition(".")[0] for name in left} == {"mer.classify", "mer.motion.classify", "units.read"}
    with pytest.raises(InputError, match="none of units"):
        initialise(create_model("mol-lite", units=(4, 6), mer_features=True), model, ("units",))


def test_what_the_initial_weights_do_not_give_is_said_and_cannot_be_frozen(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_model(
        create_model("mol-lite", num_classes=2),
        weights,
        ModelDescription(classes=("right", "left"), trained_on="nothing"),
    )
    said: list[str] = []
    make_model(replace(LITE, init=str(weights), freeze=("backbone", "mer")), CLASSES, said.append)
    assert not said, "the classes are the same in another order"
    make_model(replace(LITE, init=str(weights)), ("left", "up"), said.append)
    assert said == [f"not taken over from {weights}, so trained from scratch: mer"]
    frozen = replace(LITE, init=str(weights), freeze=("backbone", "mer"))
    with pytest.raises(InputError, match=r"would stay random: mer \(mer.motion.classify"):
        make_model(frozen, ("left", "up"))
    make_model(replace(frozen, losses=LossSettings(mer=0)), ("left", "up"))  # nobody asks for classes
    for wrong in ({"init_parts": ("backbone",)}, {"switches": {"fcc_length": 64}}):
        with pytest.raises(InputError, match="would stay random"):
            make_model(replace(frozen, **wrong), CLASSES)
    with pytest.raises(InputError, match="none of flow of mol-lite fits mol"):
        make_model(replace(LITE, model="mol", init=str(weights), init_parts=("backbone", "flow")), CLASSES)


def test_weights_record_whom_they_and_their_beginnings_have_seen(data: ClipData, tmp_path: Path) -> None:
    everyone = tuple(sorted({f"shifting/{e.subject}" for e in data.entries}))
    train(replace(LITE, steps=1), data, tmp_path / "first")
    first = read_record(tmp_path / "first" / "model.safetensors")
    assert first.people == everyone
    for people, after in ((("elsewhere/x",), ("elsewhere/x", *everyone)), (None, None)):
        save_model(
            create_model("mol-lite"),
            tmp_path / "w.safetensors",
            ModelDescription(classes=("a", "b", "c"), trained_on="fog", people=people),
        )
        train(replace(LITE, steps=1, init=str(tmp_path / "w.safetensors")), data, tmp_path / str(people))
        record = read_record(tmp_path / str(people) / "model.safetensors")
        assert record.people == after and record.trained_on.endswith("begun from weights trained on fog")


def test_batches_come_in_order_however_many_threads_make_them() -> None:
    def slow_at_first(step: int) -> Any:
        sleep(0.02 / (1 + step))
        return step

    for readers in (1, 3, 20):
        assert list(_ahead(slow_at_first, range(2, 9), readers)) == list(range(2, 9))


def test_a_batch_that_cannot_be_made_stops_training_at_its_step() -> None:
    def damaged(step: int) -> Any:
        if step == 3:
            raise InputError("damaged")
        return step

    batches = _ahead(damaged, range(9), 4)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="damaged"):
        next(batches)


def test_a_gpu_has_its_batches_made_by_several_threads() -> None:
    assert _readers(torch.device("cpu"), 1) == 1
    assert 1 <= _readers(torch.device("cuda"), 1) <= 8
    assert _readers(torch.device("cuda"), 10_000) == 1


def test_learning_rate_by_hand() -> None:
    settings = TrainSettings(steps=110, warmup=10, lr=1.0)
    assert learning_rate(0, settings) == pytest.approx(0.1) and learning_rate(9, settings) == 1
    assert learning_rate(60, settings) == pytest.approx(0.01 + 0.99 / 2) and learning_rate(
        110, settings
    ) == pytest.approx(0.01)
    assert learning_rate(70, replace(settings, schedule="constant")) == 1


@pytest.mark.parametrize(
    ("given", "steps"),
    [({}, 50), ({"steps": 60}, 15), ({"steps": 60, "warmup": 40}, 40), ({"recipe": "paper"}, 0)],
)
def test_a_short_training_spends_no_more_than_a_quarter_on_its_warm_up(given: dict[str, Any], steps: int) -> None:
    recipe = given.pop("recipe", "openmer")
    assert ShortForms(recipe=recipe).applied(given).warmup == steps


def test_settings_are_checked() -> None:
    for wrong in ({"model": "resnet"}, {"steps": 0}, {"warmup": -1}, {"freeze": ("eyes",)}, {"init_parts": ("nose",)}):
        with pytest.raises(InputError):
            TrainSettings(**wrong)  # type: ignore[arg-type]


def test_train_and_eval_modes_really_switch(data: ClipData) -> None:
    seen = []

    class Watched(STSTNet):
        def forward(self, x: torch.Tensor) -> MOLOutput:
            seen.append(self.training)
            return super().forward(x)

    model = Watched(2)
    motion = ClipData(data.store, data.entries, CLASSES, "motion")
    model.train()
    assert predict(model, motion) == predict(model, motion), "dropout is off"
    assert seen == [False, False] and model.training, "and the mode is put back"


def test_mol_and_a_baseline_solve_a_task_that_can_be_solved(data: ClipData) -> None:
    """In under a minute on a CPU: four held-out subjects, whom no training has seen."""
    other = shifting_store(data.store.root.parent / "other", seed=9)
    held_out = other.entries
    settings = replace(LITE, steps=12, batch=4, lr=3e-3)
    model = train(settings, data)
    assert isinstance(model, MOL)
    judged = ClipData(other, held_out, CLASSES)
    assert class_scores(predict(model, judged), 2).accuracy == 1.0
    errors = judge_flow(model, judged.subset([0, 1]), methods=())
    assert errors["moving"]["network"] < 0.7 * errors["moving"]["zero"]
    assert errors["far"]["zero"] == pytest.approx(1.0, abs=0.01), "the patch moves by one pixel, the rest stands still"
    assert judge_landmarks(model, judged.subset([0]))["frames"] == 7
    small = TrainSettings(model="off-apexnet", steps=60, batch=8, lr=1e-3, warmup=0, transforms=EVAL)
    baseline = train(small, ClipData(data.store, data.entries, CLASSES, "motion"))
    assert class_scores(predict(baseline, ClipData(other, held_out, CLASSES, "motion")), 2).accuracy == 1.0


def test_a_machine_on_flow_solves_it_at_once(data: ClipData) -> None:
    others = shifting_store(data.store.root.parent / "others", subjects=2, clips=2, seed=8)
    learned, run = ClipData(data.store, data.entries, CLASSES, "motion"), data.store.root.parent / "svm"
    machine = train(TrainSettings(model="flow-svm"), learned, run)
    judged = ClipData(others, others.entries, CLASSES, "motion")
    rows = predict(machine, judged)
    assert [r.predicted for r in rows] == [r.truth for r in rows] and len(rows) == 4
    assert predict(FlowSVM.read(run / "flow-svm.safetensors"), judged) == rows


def test_the_constant_guesser_needs_no_steps(data: ClipData) -> None:
    guesser = train(TrainSettings(model="constant"), ClipData(data.store, data.entries[:3], CLASSES, "motion"))
    rows = predict(guesser, ClipData(data.store, data.entries, CLASSES, "motion"))
    assert (
        len({r.probabilities for r in rows}) == 1
        and rows[0].predicted == np.bincount([CLASSES.index(e.label) for e in data.entries[:3] if e.label]).argmax()
    )


def test_a_prediction_is_the_mean_over_a_videos_clips(data: ClipData) -> None:
    same = [replace(e, sample="one video") for e in data.entries if e.subject == "s0"]
    model = make_model(LITE, CLASSES).eval()
    joined = predict(model, ClipData(data.store, [replace(e, label="left") for e in same], CLASSES))
    apart = predict(model, ClipData(data.store, [e for e in data.entries if e.subject == "s0"], CLASSES))
    assert len(joined) == 1 and joined[0].clips == 4
    np.testing.assert_allclose(joined[0].probabilities, np.mean([p.probabilities for p in apart], 0), atol=1e-6)


ON_TWO_DEVICES = """
import sys
from pathlib import Path
from openmer.clips.store import ClipStore
from openmer.training.data import ClipData
from openmer.training.loop import Devices, train
from openmer.training.settings import LossSettings, TrainSettings

if __name__ == "__main__":
    store = ClipStore(sys.argv[1])
    data = ClipData(store, store.entries, ("left", "right"))
    settings = TrainSettings(
        model="mol-lite", steps=3, batch=2, warmup=0, log_every=1, losses=LossSettings(mer=0.0, flow=0.0)
    )
    train(settings, data, Path(sys.argv[2]), on=Devices("cpu", 2))
"""


def test_two_devices_learn_heads_that_leave_parameters_without_a_gradient(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(ON_TWO_DEVICES)
    shifting_store(tmp_path / "store", subjects=1)
    command = [sys.executable, str(script), str(tmp_path / "store"), str(tmp_path / "run")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    steps = [row["step"] for row in csv.DictReader((tmp_path / "run" / "log.csv").read_text().splitlines())]
    assert steps == ["1", "2", "3"] and (tmp_path / "run" / "model.safetensors").is_file()


def test_a_batch_smaller_than_the_devices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = shifting_store(tmp_path / "store", subjects=1)
    monkeypatch.setattr("lightning.fabric.Fabric.world_size", 2)
    with pytest.raises(InputError, match="leaves some of 2 devices without a clip"):
        train(TrainSettings(batch=1, steps=1), ClipData(store, store.entries, CLASSES), on=Devices("cpu", 1))
