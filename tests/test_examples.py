"""The examples run as a reader would run them, and make what they promise."""

import ast
import json
import runpy
import shutil
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import speech

from openmer import read_elan, read_record, read_timeline
from openmer.clips.store import ClipStore

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs an example as `python NAME ...` does, in this process; gives what it prints."""

    def output(name: str, *given: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *given])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return output


@pytest.fixture
def run(printed: Callable[..., str]) -> Callable[..., str]:
    """The same with the folder for what it writes."""
    return lambda name, out, *more: printed(name, "--out", str(out), *more)


def test_every_example_is_tested_short_and_says_how_to_run_it() -> None:
    tests = Path(__file__).read_text()
    paths = sorted(EXAMPLES.glob("*.py"))
    assert [p.name[:2] for p in paths] == ["01", "02", "03", "04", "05", "06", "07"]
    for path in paths:
        text = path.read_text()
        assert f'"{path.name}"' in tests
        assert len(text.splitlines()) < 60
        assert f"python examples/{path.name}" in text.split('"""')[1]


def test_a_video_is_analysed_and_handed_to_elan(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("01_analyse_a_video.py", tmp_path)
    assert "simulated: a smile from 0.29 to 0.71 s" in said
    (found,) = read_timeline(tmp_path / "result" / "timeline.json").labelled("candidate")
    assert found.onset_s < 0.45 < found.offset_s, "its apex is about there"
    assert any("mouth" in region for region in found.regions)
    (read,) = read_elan(tmp_path / "annotations.eaf", "candidate")
    assert (read.onset_s, read.offset_s) == (round(found.onset_s, 3), round(found.offset_s, 3))
    assert (tmp_path / "result" / "report.html").stat().st_size > 10_000


def test_a_network_is_trained_and_judged_on_another_person(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("02_train_your_own.py", tmp_path, "--steps", "2", "--batch", "2")
    assert "of 4 clips of a person it never saw" in said and said.count("taken for") == 4
    assert {e.subject for e in ClipStore(tmp_path / "store")} == {"p4242-00000", "p4242-00001"}
    record = read_record(tmp_path / "run" / "model.safetensors")
    assert record.trained_on == "mol-lite, then 4 more simulated clips"


def test_a_dataset_of_another_shape_becomes_clips(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("03_add_a_dataset.py", tmp_path)
    assert "missing folder: P1/clip9" in said and "2 clips of 2 recordings" in said
    entries = list(ClipStore(tmp_path / "store"))
    assert sorted((e.dataset, e.subject, e.sample, e.label) for e in entries) == [
        ("pocket", "P1", "clip0", "happiness"),
        ("pocket", "P1", "clip1", "surprise"),
    ]


def test_f5c_knows_where_a_dot_is_and_a_convolution_does_not(run: Callable[..., str], tmp_path: Path) -> None:
    run("04_f5c_in_your_network.py", tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["with_f5c"] > 0.95 and result["without"] < 0.7


def test_flow_and_landmarks_come_without_recognition(run: Callable[..., str], tmp_path: Path) -> None:
    said = run("05_flow_and_landmarks_only.py", tmp_path)
    picture = cv2.imread(str(tmp_path / "flow.png"))
    assert picture is not None and picture.shape == (2 * 128, 7 * 128, 3)
    assert max(picture[:128].min(), picture[128:].min()) < 200, "both rows show motion, which white is not"
    with np.load(tmp_path / "motion.npz") as motion:
        assert motion["flow_px"].shape == (7, 2, 128, 128) and motion["landmarks_px"].shape == (7, 68, 2)
    errors = {name: float(part.split()[0]) for name, part in (line.split(": ") for line in said.splitlines()[:3])}
    assert errors["landmarks"] == pytest.approx(2, abs=2)
    assert errors["surprise, flow of mol-lite"] < 0.5


def test_a_decision_is_explained(run: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("captum", reason="needs the extra `explain`")
    said = run("06_what_the_network_saw.py", tmp_path)
    assert "shown: happiness, action units" in said and "compared with the same face standing still" in said
    assert (tmp_path / "why.svg").read_text().startswith("<?xml")
    with np.load(tmp_path / "places.npz") as stored:
        assert stored["places"].shape == (8, 128, 128) and stored["frames"].sum() == pytest.approx(1, abs=1e-5)


def test_the_emotions_of_voices_that_were_not_heard_before(printed: Callable[..., str], tmp_path: Path) -> None:
    if shutil.which(speech.SYNTHESIZER) is None:
        pytest.skip(f"the voices are made by {speech.SYNTHESIZER}, which is not installed")
    happy, sad = 3, 4
    assert speech.make_voices(tmp_path, 8, (happy, sad)) == 8 * 2 * 2 * 2
    assert len(list(tmp_path.glob("Actor_03/03-01-04-01-02-01-03.wav"))) == 1
    found = ast.literal_eval(printed("07_f5c_on_speech.py", str(tmp_path), "--steps", "40"))
    assert found["guessing"] == 0.5
    assert found["f5c"] >= 0.8 and found["convolutions"] > 0.5


def test_a_folder_without_clips_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"named as in RAVDESS in {tmp_path}"):
        speech.example().main(tmp_path)


def test_mel_filters_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 10,500 Hz, 1 + Hz / 700 is 16: three bands between the edges 1, 2, 4, 8, 16, with a bin every 700 Hz."""
    example = speech.example()
    monkeypatch.setattr(example, "RATE", 21_000)
    filters = example.mel_filters(3, 16)
    up, down = 0.585, 0.415  # log2(3) - 1, 2 - log2(3)
    assert filters[0].tolist() == pytest.approx([0, 1, down, *[0] * 13], abs=1e-3)
    # log2 of 5, 6 and 7 is 2.322, 2.585 and 2.807.
    assert filters[1].tolist() == pytest.approx([0, 0, up, 1, 0.678, 0.415, 0.193, *[0] * 9], abs=1e-3)
    assert filters[2].argmax() == 7 and filters[2, 3] == pytest.approx(0, abs=1e-6), "4,900 Hz; from 2,100"
    assert filters[2, 15] == pytest.approx(0, abs=1e-6)


def test_a_tone_lies_in_its_band_and_ends_where_it_ends(tmp_path: Path) -> None:
    """One second of 1,000 Hz at 48,000 a second, on two channels; log(1 + 1000 / 700) is 22.88 steps of 64 bands."""
    tone = 8000 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(np.repeat(tone.astype("<i2"), 2).tobytes())
    (mel,) = speech.example().log_mel(tmp_path / "tone.wav")
    assert mel.shape == (64, 64) and float(mel.mean()) == pytest.approx(0, abs=1e-5)
    assert mel[:, 8].argmax() == 23 - 1, "bands are counted from 1"
    assert mel[22, :15].min() > mel[22, 18:].max() + 3 and mel[:, 18:].std() < 1e-5, "then silence"


def test_both_have_as_many_weights() -> None:
    example = speech.example()
    f5c = example.F5C(example.FCC(example.C, example.S), example.CCC(example.C, example.S**2))
    # Two convolutions of 3 x 3 from 32 to 233 channels and back, with biases.
    assert sum(p.numel() for p in f5c.parameters()) == pytest.approx(2 * 9 * 32 * 233 + 233 + 32, rel=0.005)
