"""Recordings whose interleaved clips are averaged, frame by frame, before they are judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipsets import CLASSES, shifting_clip
from openmer import create_model, load_model
from openmer.clips.store import ClipStore
from openmer.clips.transforms import evaluation_input
from openmer.evaluation.evaluate import predict
from openmer.training.data import ClipData
from openmer.training.loop import train
from openmer.training.settings import RECIPES

PHASES = 3


def noisy_store(root: Path, sampling: str, subjects: int = 2, noise: float = 0.0) -> ClipStore:
    """Of every subject two recordings, one goes left and one right; each is three clips with noise of their own."""
    store = ClipStore.create(root, {"kind": "recordings", "sampling": sampling})
    rng = np.random.default_rng(0)
    for k in range(subjects):
        clips, samples = [], []
        for label in CLASSES:
            clip = shifting_clip(rng, label, f"s{k}", patch=True)
            for _ in range(PHASES):
                frames = clip.frames + rng.normal(0, noise, clip.frames.shape)
                clips.append(replace(clip, frames=np.clip(np.rint(frames), 0, 255).astype(np.uint8)))
                samples.append(label)
        store.add(f"{k:016x}", clips, dataset="d", samples=samples)
    return ClipStore(root)


def clips_of(store: ClipStore) -> ClipData:
    return ClipData(store, store.entries, CLASSES)


def test_the_phases_of_a_recording_are_one_group_and_their_mean_is_what_is_read(tmp_path: Path) -> None:
    data = clips_of(noisy_store(tmp_path, "interleaved", noise=5.0))
    recordings = data.recordings()
    assert [list(r) for r in recordings] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    found = data.mean_inputs(recordings[:2])
    by_hand = [evaluation_input(data.store.read(entry).frames) for entry in data.entries[3:6]]
    np.testing.assert_allclose(found[1].numpy(), np.mean(by_hand, axis=0), atol=1e-5)
    still = np.std(found[1].numpy()[0] - found[1].numpy()[0].mean())
    assert 0.9 < still < 1.1, "gray levels keep their scale"


@pytest.mark.parametrize("settings", [{"kind": "recordings", "sampling": "uniform"}, {"kind": "simulated"}])
def test_other_clips_stand_alone(tmp_path: Path, settings: dict[str, str]) -> None:
    store = ClipStore.create(tmp_path, settings)
    rng = np.random.default_rng(0)
    store.add("0" * 16, [shifting_clip(rng, "left", "s0") for _ in range(2)], dataset="d", samples=["v", "v"])
    assert [list(r) for r in clips_of(ClipStore(tmp_path)).recordings()] == [[0], [1]]


def test_a_network_of_motion_judges_the_mean_and_others_each_clip(tmp_path: Path) -> None:
    data = clips_of(noisy_store(tmp_path, "interleaved", noise=5.0))
    shipped = load_model("mol-lite")
    first = predict(shipped, data)[0]
    with torch.inference_mode():
        expected = shipped(data.mean_inputs(data.recordings()[:1]), ("mer",)).logits.softmax(1)[0]
    np.testing.assert_allclose(first.probabilities, expected.numpy(), atol=1e-5)
    assert first.clips == PHASES
    torch.manual_seed(0)
    paper = create_model("mol", num_classes=2, flow=False, landmarks=False).eval()
    with torch.inference_mode():
        each = paper(data.evaluation_batch([0, 1, 2]).inputs, ("mer",)).logits.softmax(1).mean(0)
    np.testing.assert_allclose(predict(paper, data)[0].probabilities, each.numpy(), atol=1e-5)


def test_the_recipe_for_few_clips_compares_recordings(tmp_path: Path) -> None:
    data = clips_of(noisy_store(tmp_path / "store", "interleaved", subjects=3))
    model = train(RECIPES["few"], data, tmp_path / "run")
    assert model.config.kernel == 6
    assert [p.predicted for p in predict(model, data)] == [0, 1] * 3
