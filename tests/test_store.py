"""What is prepared once is read back as it was, and nothing wrong is read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipsets import shifting_clip, shifting_store
from openmer import InputError, OutputError
from openmer.cli.training import train
from openmer.clips.store import ClipStore
from openmer.datasets.simulated import SimulatedClips, prepare_simulated


def test_a_clip_comes_back_as_it_was(tmp_path: Path) -> None:
    clip = shifting_clip(np.random.default_rng(0), "left", "s0")
    store = ClipStore.create(tmp_path / "store", {"a": 1})
    store.add("k", [clip, replace(clip, flow=None, label=None)], dataset="d", samples=["one", "two"])
    first, second = ClipStore(tmp_path / "store")
    assert first.video == ("d", "s0", "one") and first.label == "left" and second.label is None
    assert first.person == ("d", "s0") and first.frames_digest == second.frames_digest
    read = store.read(first)
    assert (read.frames == clip.frames).all() and np.array_equal(read.landmarks, clip.landmarks)  # type: ignore[arg-type]
    assert read.flow is not None and np.abs(read.flow - clip.flow).max() <= 1 / 512
    assert store.read(second).flow is None and store.has("k") and not store.has("other")


def test_a_store_of_the_first_edition_is_read_and_filled_on(tmp_path: Path) -> None:
    """It called interleaved clips phases, and a uniform one cover."""
    for old, new in (("phases", "interleaved"), ("cover", "uniform")):
        root = tmp_path / old
        ClipStore.create(root, {"kind": "recordings", "sampling": old})
        written = (root / "store.json").read_bytes()
        today = {"kind": "recordings", "sampling": new, "face": "dlib", "interpolation": "none"}
        assert ClipStore.create(root, today).settings == today
        assert (root / "store.json").read_bytes() == written and f'"{old}"'.encode() in written
    with pytest.raises(InputError, match=r"other settings \(sampling\)"):
        ClipStore.create(tmp_path / "phases", {**today, "sampling": "uniform"})


def test_units_of_recordings_prepared_by_version_1_are_unknown(tmp_path: Path) -> None:
    """It wrote units of which the coder was not certain as certain ones."""
    for version, units in ((1, None), (2, (12,))):
        store = ClipStore.create(tmp_path / str(version), {"kind": "recordings", "version": version})
        clip = replace(shifting_clip(np.random.default_rng(0), "left", "s0"), units=(12,))
        store.add("k", [clip], dataset="casme2", samples=["one"])
        assert store.entries[0].units == units


def test_a_store_of_other_settings_is_refused(tmp_path: Path) -> None:
    ClipStore.create(tmp_path / "store", {"flow": "tvl1", "frames": 8})
    assert ClipStore.create(tmp_path / "store", {"frames": 8, "flow": "tvl1"}).settings["flow"] == "tvl1"
    with pytest.raises(InputError, match=r"other settings \(flow\)"):
        ClipStore.create(tmp_path / "store", {"flow": "dis", "frames": 8})
    content = json.loads((tmp_path / "store" / "store.json").read_text())
    content["settings"]["flow"] = "dis"
    (tmp_path / "store" / "store.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="changed by hand"):
        ClipStore(tmp_path / "store")


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store"):
        ClipStore(tmp_path / "nothing")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(OutputError, match="left alone"):
        ClipStore.create(tmp_path / "mine", {})


def test_wrong_clips_are_refused(tmp_path: Path) -> None:
    clip = shifting_clip(np.random.default_rng(0), "left", "s0")
    assert clip.flow is not None
    store = ClipStore.create(tmp_path / "store", {})
    broken = clip.flow.copy()
    broken[2, 0, 5, 5] = np.nan
    with pytest.raises(InputError, match="not finite"):
        store.add("k", [replace(clip, flow=broken)], dataset="d", samples=["one"])
    with pytest.raises(InputError, match="reaches 128"):
        store.add("k", [replace(clip, flow=clip.flow + 200)], dataset="d", samples=["one"])
    with pytest.raises(InputError, match="144 px"):
        store.add("k", [replace(clip, landmarks=None)], dataset="d", samples=["one"])
    with pytest.raises(InputError, match="no clip"):
        store.add("k", [], dataset="d", samples=[])
    assert not store.has("k") and not list((tmp_path / "store" / "clips").iterdir())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = shifting_store(tmp_path / "store", subjects=1)
    (path,) = (tmp_path / "store" / "clips").iterdir()
    entry = store.entries[0]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        _ = ClipStore(tmp_path / "store").entries
    with pytest.raises(InputError, match="prepare it again"):
        store.read(entry)


def test_a_full_disk_leaves_no_half_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ClipStore.create(tmp_path / "store", {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openmer.clips.store.write_atomic", full)
    clip = shifting_clip(np.random.default_rng(0), "left", "s0")
    with pytest.raises(OutputError, match="No space left"):
        store.add("k", [clip], dataset="d", samples=["one"])
    assert not store.has("k")


def test_a_store_whose_filling_was_interrupted_is_not_learned_from(tmp_path: Path) -> None:
    settings = SimulatedClips(subjects=2, samples=1, emotions=("happiness",))

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_simulated(tmp_path / "store", settings, on_subject=interrupted)
    store = ClipStore(tmp_path / "store")
    assert len(store) == 1 and not store.finished
    with pytest.raises(InputError, match=r"is incomplete: .* Repeat the same command"):
        train(tmp_path / "store", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    store = prepare_simulated(tmp_path / "store", settings)
    assert len(store) == 2 and store.finished
