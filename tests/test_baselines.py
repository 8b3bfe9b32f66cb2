from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.svm import SVC  # type: ignore[import-untyped]

from clipsets import CLASSES, shifting_clip, shifting_store
from openmer import InputError
from openmer.cli.training import Judged, clip_data
from openmer.clips.store import ClipStore
from openmer.models.baselines import SVM_FILE, ConstantGuesser, FlowSVM, OffApexNet, STSTNet
from openmer.training.data import ClipData
from openmer.training.loop import train
from openmer.training.settings import TrainSettings


def test_sizes_are_the_papers() -> None:
    # STSTNet: 16 filters of 3x3x3 with bias and normalisation, then 400 features to 3 classes.
    assert sum(p.numel() for p in STSTNet().parameters()) == 16 * 28 + 2 * 16 + 400 * 3 + 3
    # Off-ApexNet: twice (6 filters of 5x5, 16 of 5x5x6), then 1568 -> 1024 -> 1024 -> 3.
    streams = 2 * (6 * 26 + 16 * 151)
    assert sum(p.numel() for p in OffApexNet().parameters()) == streams + 1569 * 1024 + 1025 * 1024 + 1025 * 3


@pytest.mark.parametrize(("model", "channels"), [(STSTNet(5), 3), (OffApexNet(5), 2)])
def test_they_answer_with_logits_alone_and_can_learn(model: torch.nn.Module, channels: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, channels, 28, 28)
    labels = (x[:, 0].mean((1, 2)) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(60):
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x).logits, labels).backward()
        optimizer.step()
    out = model.eval()(x)
    assert out.flow is None and out.landmarks is None and out.logits.shape == (8, 5)
    assert (out.logits.argmax(1) == labels).all()
    with pytest.raises(InputError, match="28, 28"):
        model(torch.randn(2, channels, 32, 32))


def test_the_constant_guesser_by_hand() -> None:
    guesser = ConstantGuesser(3).fit(torch.tensor([0, 0, 0, 1]))
    # (3 + 1, 1 + 1, 0 + 1) of 7.
    torch.testing.assert_close(guesser(torch.zeros(2, 9)).logits.exp()[1], torch.tensor([4 / 7, 2 / 7, 1 / 7]))


def motions(count: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Each class moves another quarter of the picture to the right; sizes differ, and there is noise."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    x = 0.3 * torch.randn(count, 3, 28, 28, generator=rng)
    for k, label in enumerate(labels.tolist()):
        x[k, 0, 7 * label : 7 * label + 7] += 0.5
    return x * (0.1 + torch.rand(count, 1, 1, 1, generator=rng)), labels


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_svm_in_torch_says_what_scikit_learn_says(classes: int) -> None:
    x, labels = motions(60, classes)
    svm = FlowSVM(classes).fit(x, labels)
    unseen, truth = motions(40, classes, seed=1)
    flow = [t[:, :2].flatten(1) / t[:, :2].flatten(1).square().mean(1, keepdim=True).sqrt() for t in (x, unseen)]
    theirs = SVC(C=1, gamma=0.1 / 1568).fit(flow[0].numpy(), labels.numpy())
    logits = svm(unseen).logits
    assert logits is not None and (logits.argmax(1).numpy() == theirs.predict(flow[1].numpy())).all()
    if classes > 2:
        values = torch.from_numpy(theirs.decision_function(flow[1].numpy())).float()
        torch.testing.assert_close(logits, values, atol=1e-4, rtol=1e-4)
    assert (logits.argmax(1) == truth).float().mean() > 0.9
    torch.testing.assert_close(svm(10 * unseen).logits, logits, msg="the size of a motion does not count")


def test_a_class_that_the_svm_never_saw_is_never_its_answer() -> None:
    x, labels = motions(30, 2)
    svm = FlowSVM(4).fit(x, labels + 1)
    logits = svm(x).logits
    assert logits is not None and (logits.argmax(1) == labels + 1).all() and (logits[:, [0, 3]] == -100).all()
    assert (FlowSVM(3).fit(x, torch.full((30,), 2))(x).logits.argmax(1) == 2).all()


def test_the_svm_is_saved_without_pickle_and_checked_when_read(tmp_path: Path) -> None:
    x, labels = motions(30, 3)
    svm, path = FlowSVM(3).fit(x, labels), tmp_path / "svm.safetensors"
    svm.save(path)
    torch.testing.assert_close(FlowSVM.read(path)(x).logits, svm(x).logits, rtol=0, atol=0)
    tensors = dict(svm.state_dict())
    save_file({**tensors, "bias_P": torch.zeros(5)}, path)
    with pytest.raises(InputError, match="is not a FlowSVM"):
        FlowSVM.read(path)
    save_file({"bias_P": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"cannot read .*present_K"):
        FlowSVM.read(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read"):
        FlowSVM.read(path)


def test_a_fitted_baseline_leaves_another_ones_folder_alone(tmp_path: Path) -> None:
    one, other = (shifting_store(tmp_path / name, subjects=2, seed=k) for k, name in enumerate(("one", "other")))
    settings = TrainSettings(model="flow-svm")
    for _ in range(2):  # the same again is the same run
        train(settings, ClipData(one, one.entries, CLASSES, "motion"), tmp_path / "run")
    before = (tmp_path / "run" / SVM_FILE).read_bytes()
    with pytest.raises(InputError, match="holds a run with other settings or data"):
        train(settings, ClipData(other, other.entries, CLASSES, "motion"), tmp_path / "run")
    assert (tmp_path / "run" / SVM_FILE).read_bytes() == before


def test_datasets_that_call_one_thing_differently_are_not_learned_together(tmp_path: Path) -> None:
    store, rng = ClipStore.create(tmp_path / "both", {"kind": "shifting"}), np.random.default_rng(0)
    for dataset, names in (("casme2", ("disgust", "happiness")), ("smic", ("negative", "positive"))):
        clips = [replace(shifting_clip(rng, side, "1"), label=name) for side, name in zip(CLASSES, names, strict=True)]
        store.add(dataset, clips, dataset=dataset, samples=["a", "b"])
    with store.filling():
        pass
    with pytest.raises(InputError, match=r"casme2: disgust, happiness; smic: negative, positive.*--protocol"):
        clip_data(tmp_path / "both", Judged(), "motion")
    assert len(clip_data(tmp_path / "both", Judged(classes=("negative", "positive")), "motion")) == 2
