"""The authors' checkpoints, our own weights, and files that are neither."""

import json
import os
import pickle
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openmer import (
    InputError,
    ModelDescription,
    create_model,
    load_authors_checkpoint,
    load_model,
    read_record,
    save_model,
)
from openmer.cli import main

DATA = Path(__file__).parent / "data"


def drawn_state_dict(seed: int = 7) -> dict[str, torch.Tensor]:
    """Weights by the fixed rule with which the golden outputs of the authors' model were made."""

    def draw(name: str, shape: list[int]) -> np.ndarray:
        rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) & 0xFFFFFFFF)
        if name.endswith("num_batches_tracked"):
            return np.zeros(shape, np.int64)
        if name.endswith("running_var"):
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        noise = rng.standard_normal(shape)
        if name.endswith("running_mean"):
            return (0.1 * noise).astype(np.float32)
        if len(shape) == 1:
            return (1.0 + 0.2 * noise if name.endswith("weight") else 0.05 * noise).astype(np.float32)
        return (noise / np.sqrt(int(np.prod(shape[1:])))).astype(np.float32)

    keys = json.loads((DATA / "authors_5class.keys.json").read_text())
    return {name: torch.from_numpy(np.asarray(draw(name, shape))) for name, shape in keys.items()}


@pytest.fixture(scope="module")
def authors_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authors") / "best.pth"
    torch.save(drawn_state_dict(), path)
    return path


def test_mol_authors_gives_the_released_models_outputs(authors_checkpoint: Path) -> None:
    golden = np.load(DATA / "authors_5class.npz")
    model = load_authors_checkpoint(authors_checkpoint, neighbors=int(golden["neighbors"]))
    clip = torch.from_numpy(golden["clip"]).transpose(1, 2)  # theirs is (B, 1, T, H, W)
    with torch.inference_mode():
        out = model(clip)
    assert np.abs(out.logits.numpy() - golden["logits"]).max() < 1e-4
    flow = out.flow.permute(0, 2, 3, 4, 1)[:, :, ::4, ::4]
    assert np.abs(flow.numpy() - golden["flow"]).max() < 1e-4
    landmarks = out.landmarks.flatten(2).transpose(1, 2)
    assert np.abs(landmarks.numpy() - golden["landmarks"]).max() < 1e-4


def test_another_number_of_neighbours_gives_something_else(authors_checkpoint: Path) -> None:
    clip = torch.randn(1, 8, 1, 128, 128)
    with torch.inference_mode():
        four, two = (load_authors_checkpoint(authors_checkpoint, k)(clip, ["mer"]).logits for k in (4, 2))
    assert not torch.allclose(four, two)


def test_names_and_shapes_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = drawn_state_dict()
    del state["mer_3dcnn.fc1.bias"]
    state["extra.weight"] = torch.zeros(3)
    state["flownet.conv2.0.weight"] = torch.zeros(128, 64, 3, 3)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(InputError) as caught:
        load_authors_checkpoint(tmp_path / "odd.pth")
    for said in ("missing: mer_3dcnn.fc1.bias", "unexpected: extra.weight", "shape: flownet.conv2.0.weight"):
        assert said in str(caught.value)


class Evil:
    """Would run when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(Path(__file__).parent / "pwned"),))


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "pickle", "malicious", "list", "module"])
def test_files_that_are_no_checkpoint_are_refused_and_nothing_runs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file.pth"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("hello\n" * 50)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "malicious":
        torch.save({"weight": Evil()}, path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "module":
        torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError):
        load_authors_checkpoint(path)
    assert not (Path(__file__).parent / "pwned").exists()


def test_import_authors_writes_weights_that_load(
    authors_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mol.safetensors"
    monkeypatch.setattr(sys, "argv", ["openmer", "import-authors", str(authors_checkpoint), str(out)])
    main()
    clip = torch.randn(1, 8, 1, 128, 128)
    with torch.inference_mode():
        expected = load_authors_checkpoint(authors_checkpoint)(clip, ["mer", "landmarks"])
        found = load_model(out)(clip, ["mer", "landmarks"])
    assert torch.equal(expected.logits, found.logits) and torch.equal(expected.landmarks, found.landmarks)
    record = read_record(out)
    assert "unknown" in record.trained_on and record.notes.startswith(
        "imported from best.pth; the authors' code scales"
    )
    assert "warning: the authors' code scales" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit) as again:
        main()
    assert again.value.code == 1


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = create_model("mol-lite", num_classes=3, landmarks=False)
    save_model(
        model,
        tmp_path / "w.safetensors",
        ModelDescription(classes=("a", "b", "c"), trained_on="nothing", scores={"UF1": 0.5}),
    )
    return tmp_path / "w.safetensors"


def test_weights_come_back_bit_for_bit_with_their_record(tmp_path: Path) -> None:
    model = create_model("mol-lite", num_classes=4, frames=6, neighbors=3).eval()
    path = tmp_path / "w.safetensors"
    written = save_model(
        model, path, ModelDescription(classes=("w", "x", "y", "z"), trained_on="nothing", licence="CC0-1.0")
    )
    again = load_model(path)
    assert not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert read_record(path) == read_record(path.with_suffix(".json")) == written
    assert again.config == model.config


def test_a_record_knows_whom_the_weights_have_seen(saved: Path) -> None:
    record = replace(read_record(saved), people=("casme2/sub01", "simulated/p0-*"))
    people = [
        ("casme2", "sub01"),
        ("casme2", "sub011"),
        ("samm", "sub01"),
        ("simulated", "p0-7"),
        ("simulated", "p10-7"),
    ]
    assert record.known(people) == ["casme2/sub01", "simulated/p0-7"]
    assert replace(record, people=None).known(people) == [], "nobody knows"
    assert len(replace(record, people=("*",)).known(people)) == 5 and replace(record, people=("sa*",)).known(people)
    cameras = replace(record, people=("smic-hs/s11", "samm/006"))
    assert cameras.known([("smic-vis", "s11"), ("smic-nir", "s12"), ("samm-long", "006")]) == ["samm/006", "smic/s11"]
    spelled = replace(record, people=("study/01", "study/P3"))
    assert spelled.known([("study", "1.0"), ("study", "p_3"), ("study", "11")]) == ["study/1.0", "study/p_3"]
    content = json.loads(saved.with_suffix(".json").read_text())
    del content["people"]
    saved.with_suffix(".json").write_text(json.dumps(content))
    assert read_record(saved).people is None, "as in older records"
    saved.with_suffix(".json").write_text(json.dumps(content | {"people": "casme2/sub01"}))
    with pytest.raises(InputError, match=r"Expected `array . null`, got `str` - at `\$.people`"):
        read_record(saved)


def test_the_shipped_weights_have_seen_simulated_people_of_two_seeds() -> None:
    known = read_record("mol-lite").known(("simulated", f"p{seed}-00000") for seed in (0, 1, 2, 10, 77, 78))
    assert known == ["simulated/p0-00000", "simulated/p1-00000"]


def damaged(saved: Path, what: str) -> None:
    record = saved.with_suffix(".json")
    content = json.loads(record.read_text())
    if what == "flipped bit":
        data = bytearray(saved.read_bytes())
        data[-1] ^= 1
        saved.write_bytes(bytes(data))
    elif what == "cut off":
        saved.write_bytes(saved.read_bytes()[:-100])
    elif what == "no tensors":
        saved.unlink()
    elif what == "no record":
        record.unlink()
    elif what == "record is text":
        record.write_text("hello")
    elif what == "record is a list":
        record.write_text("[]")
    elif what == "other schema":
        record.write_text(json.dumps(content | {"schema": "openmer.weights/9"}))
    elif what == "missing field":
        del content["trained_on"]
        record.write_text(json.dumps(content))
    elif what == "unknown setting":
        content["config"]["colour"] = True
        record.write_text(json.dumps(content))
    elif what == "other network":
        content["config"]["landmarks"] = True
        record.write_text(json.dumps(content))
    elif what == "file elsewhere":
        record.write_text(json.dumps(content | {"file": "../../etc/passwd"}))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("flipped bit", "changed or cut off"),
        ("cut off", "changed or cut off"),
        ("no tensors", "cannot read the weights"),
        ("no record", "no record of weights"),
        ("record is text", "cannot read the record .* malformed"),
        ("record is a list", "Expected `object`, got `array`"),
        ("other schema", "its schema is openmer.weights/9"),
        ("missing field", "missing required field `trained_on`"),
        ("unknown setting", "does not know: colour"),
        ("other network", "does not fit"),
        ("file elsewhere", "outside its folder"),
    ],
)
def test_damaged_or_exchanged_weights_are_refused(saved: Path, what: str, said: str) -> None:
    assert load_model(saved).config.preset == "mol-lite"
    damaged(saved, what)
    with pytest.raises(InputError, match=said):
        load_model(saved)


def test_where_the_weights_of_a_training_lie_is_said(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    (tmp_path / "model.safetensors").touch()
    for given in (tmp_path, tmp_path / "checkpoint.pt"):
        with pytest.raises(InputError, match=r"no weights by itself; give .*model.safetensors"):
            load_model(given)


def test_unknown_names_wrong_endings_and_wrong_class_counts_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights are called 'nothing-like-it'"):
        load_model("nothing-like-it")
    model = create_model("mol-lite")
    with pytest.raises(InputError, match=r"\.safetensors"):
        save_model(model, tmp_path / "w.pth", ModelDescription(classes=("a", "b", "c"), trained_on="nothing"))
    with pytest.raises(InputError, match="3 classes, 2 names"):
        save_model(model, tmp_path / "w.safetensors", ModelDescription(classes=("a", "b"), trained_on="nothing"))
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_the_package_unpickles() -> None:
    import openmer

    for path in Path(openmer.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "pickle.load" not in text and "allow_pickle=True" not in text and "joblib" not in text, path
        loads = text.count("torch.load(") - text.count("safetensors.torch.load(")
        assert loads == text.count("weights_only=True"), path
