"""What a frozen backbone gives is computed once, and a head learns from it what it would have learned without."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsets import CLASSES, shifting_store
from openmer import InputError, OutputError
from openmer.clips.transforms import EVAL, STRONG
from openmer.models.mol import create_model
from openmer.training.data import ClipData
from openmer.training.encoded import EncodedClips, FeatureHeads, encode, packed
from openmer.training.loop import train
from openmer.training.network import make_model
from openmer.training.settings import LossSettings, TrainSettings
from terminal import run

HEAD = TrainSettings(
    steps=4,
    batch=3,
    warmup=0,
    log_every=1,
    checkpoint_every=2,
    seed=3,
    transforms=EVAL,
    freeze=("backbone", "flow", "landmarks"),
    losses=LossSettings(flow=0.0, landmarks=0.0),
)


@pytest.fixture
def data(tmp_path: Path) -> ClipData:
    store = shifting_store(tmp_path / "store")
    return ClipData(store, store.entries, CLASSES)


def kept(data: ClipData) -> list[Path]:
    return sorted((data.store.root / "encoded").glob("*/*.npy"))


LANDMARKS = replace(HEAD, freeze=("backbone", "flow", "mer"), losses=LossSettings(mer=0.0, flow=0.0))


@pytest.mark.parametrize(("settings", "head"), [(HEAD, "mer"), (LANDMARKS, "landmarks")])
def test_the_head_learns_what_it_learns_without(data: ClipData, settings: TrainSettings, head: str) -> None:
    anew = train(settings, data).state_dict()
    once = train(replace(settings, views=1), data).state_dict()
    begun = make_model(settings, CLASSES).state_dict()
    learned = {name: float((anew[name] - begun[name]).float().norm()) for name in anew}
    apart = {name: float((anew[name] - once[name]).float().norm()) for name in anew}
    assert {name.split(".")[0] for name, size in learned.items() if size > 0} == {head}
    assert sum(apart.values()) < 0.1 * sum(learned.values())  # what is kept is rounded to float16
    assert len(kept(data)) == 2 * len(data)  # features and landmarks


@pytest.mark.parametrize("motion", [True, False])
def test_a_decision_from_what_is_kept_is_that_of_the_whole_network(motion: bool) -> None:
    torch.manual_seed(0)
    model = create_model("mol-lite", motion=motion, units=(1, 12)).eval()
    clips = torch.randn(2, 8, 1, 128, 128)
    with torch.inference_mode():
        whole = model(clips, ("mer", "units", "landmarks"))
        decided = FeatureHeads(model)(packed(encode(model, clips)), ("mer", "units", "landmarks"))
    assert torch.equal(whole.logits, decided.logits)
    assert torch.equal(whole.units, decided.units)
    assert torch.equal(whole.landmarks, decided.landmarks)


def test_seeds_share_what_is_kept_and_other_backbones_and_changes_do_not(data: ClipData, tmp_path: Path) -> None:
    train(replace(HEAD, views=2), data, tmp_path / "first")
    weights = str(tmp_path / "first" / "model.safetensors")
    before = {path: path.stat().st_mtime_ns for path in kept(data)}
    train(replace(HEAD, views=2, seed=4, init=weights, init_parts=HEAD.freeze), data)
    assert {path: path.stat().st_mtime_ns for path in kept(data)} == before  # the same backbone
    train(replace(HEAD, views=2, seed=4), data)
    assert len(kept(data)) == 2 * len(before)  # another backbone
    train(replace(HEAD, views=2, seed=4, transforms=STRONG), data)
    assert len(kept(data)) == 3 * len(before)


def test_views_are_changed_differently_and_drawn_from_step_to_step(data: ClipData) -> None:
    model = create_model("mol-lite", num_classes=len(CLASSES))
    clips = EncodedClips(data, model, STRONG, views=3)
    assert clips.missing() == list(data.entries)
    clips.fill(data.entries[:1])
    assert clips.missing() == list(data.entries[1:])
    points, first = (np.load(path) for path in kept(data))
    assert first.shape == (3, 7, 128 + 128 + 9, 16, 16)
    assert points.shape == (3, 8, 68, 2)
    assert all(np.abs(first[a] - first[b]).max() > 0.01 for a, b in ((0, 1), (0, 2), (1, 2)))
    clips.fill(clips.missing())
    four = TrainSettings(batch=4)
    batches = [clips.training_batch(step, four) for step in (0, 0, 1)]
    assert torch.equal(batches[0].inputs, batches[1].inputs)
    assert not torch.equal(batches[0].inputs, batches[2].inputs)
    assert batches[0].landmarks.shape == (4, 8, 68, 2)
    assert batches[0].labels.tolist() == data.training_batch(0, four).labels.tolist()


def test_some_pairs_of_a_clip_come_with_their_landmarks(data: ClipData) -> None:
    clips = EncodedClips(data, create_model("mol-lite", num_classes=len(CLASSES)), STRONG, views=1)
    clips.fill(clips.missing())
    whole, some = (clips.training_batch(0, replace(LANDMARKS, batch=4, seed=0, pairs=pairs)) for pairs in (0, 2))
    assert some.inputs.shape[:2] == (4, 2) and some.landmarks.shape == (4, 3, 68, 2)
    taken = set()
    for clip in range(4):
        for k in range(2):
            same = [p for p in range(7) if torch.equal(some.inputs[clip, k], whole.inputs[clip, p])]
            assert len(same) == 1
            assert torch.equal(some.landmarks[clip, 1 + k], whole.landmarks[clip, 1 + same[0]])
            taken.add((clip, same[0]))
    assert len(taken) == 8 and len({pair for _, pair in taken}) > 2
    learned = train(replace(LANDMARKS, views=1, pairs=2), data).state_dict()
    begun = make_model(LANDMARKS, CLASSES).state_dict()
    assert {n.split(".")[0] for n in learned if not torch.equal(learned[n], begun[n])} == {"landmarks"}


def test_a_stopped_run_goes_on_as_if_it_had_not(data: ClipData, tmp_path: Path) -> None:
    settings = replace(HEAD, views=2)
    whole = train(settings, data).state_dict()
    train(settings, data, tmp_path / "run", stop_after=2)
    gone_on = train(settings, data, tmp_path / "run").state_dict()
    assert all(torch.equal(whole[name], gone_on[name]) for name in whole)


def test_what_cannot_work_is_refused_before_a_folder_is_made(
    data: ClipData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="the backbone must be frozen; name it in freeze"):
        TrainSettings(views=2)
    with pytest.raises(InputError, match="must not be negative"):
        replace(HEAD, views=-1)
    for views in (0, 1):
        with pytest.raises(InputError, match="enough for flow and landmarks, and for no other head"):
            replace(HEAD, views=views, pairs=2)
    with pytest.raises(InputError, match="and flow would have nothing to learn"):
        replace(HEAD, views=1, losses=LossSettings())
    assert replace(HEAD, views=1, losses=LossSettings(), switches={"flow": False}).views == 1
    out = tmp_path / "out"
    given = ["--out", str(out), "--freeze", "backbone", "--views", "2", "--steps", "1"]
    assert run(monkeypatch, "loso", data.store.root, *given) == 1
    assert not out.exists()


def test_damaged_and_unwritable_files_are_said(data: ClipData) -> None:
    train(replace(HEAD, views=1), data)
    for path in kept(data):
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="remove it to have it made again"):
        train(replace(HEAD, views=1), data)
    for part in ("-points.npy", "[0-9].npy"):
        for path in kept(data)[0].parent.glob(f"*{part}"):
            path.unlink()
        train(replace(HEAD, views=1), data)
        assert len(kept(data)) == 2 * len(data)
    folder = kept(data)[0].parent
    for path in kept(data):
        path.unlink()
    folder.rmdir()
    folder.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot write encoded clips"):
        train(replace(HEAD, views=1), data)
