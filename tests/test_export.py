"""Pictures of motion in the folders of STSTNet and HTNet."""

import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import fakes
from openmer import InputError
from openmer.cli import main
from openmer.clip import Sample
from openmer.datasets.export import (
    FOLDS,
    WHOLE,
    Labelled,
    _with_apex,
    export_ststnet,
    motion_picture,
    stretched,
    three_classes,
)
from openmer.datasets.registry import open_datasets, samples_of
from openmer.datasets.settings import PrepareSettings
from openmer.media.writer import VideoWriter
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import RecordingSettings

DIS = PrepareSettings(flow="dis")


def sample(name: str = "EP01_01", subject: str = "01", dataset: str = "casme2", label: str = "disgust") -> Sample:
    return Sample(
        dataset=dataset, subject=subject, name=name, source=Path(), fps=Fraction(200), label=label, onset=1, apex=3
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects of CASME II with three rendered expressions each, one of them broken."""
    labels = ("disgust", "happiness", "surprise")
    rows = [
        (subject, f"EP0{k + 1}_01", None, 9, 12, 20, None, "4", label)
        for subject in (1, 2, 3)
        for k, label in enumerate(labels)
    ]
    root = fakes.casme2(tmp_path_factory.mktemp("export") / "CASME2", rows=rows)
    for k, folder in enumerate(sorted((root / "CASME2_RAW_selected").glob("sub*/EP*"))):
        fakes.render(folder, k // 3, k % 3)
    for path in (root / "CASME2_RAW_selected" / "sub03" / "EP03_01").iterdir():
        path.write_bytes(b"cut off")
    return root


def test_an_apex_that_nobody_knows_is_put_in_the_middle_and_said_so() -> None:
    known = replace(sample(), offset=9)
    assert _with_apex(known) == known
    put_in = _with_apex(replace(known, apex=None))
    assert put_in.apex == 5 and put_in.apex_estimated, "of the expression, not of a video around it"
    assert _with_apex(replace(known, onset=None, apex=None)).apex_estimated


def test_each_channel_is_stretched_by_its_own_ends() -> None:
    channels = np.array([[[-1, 0], [1, 3]], [[5, 5], [5, 5]], [[0, 0.5], [0.25, 1]]], np.float32)
    picture = stretched(channels)
    assert picture[..., 0].tolist() == [[0, 64], [128, 255]]
    assert not picture[..., 1].any()
    assert picture[..., 2].tolist() == [[0, 128], [64, 255]]


def test_names_are_those_of_their_programs_and_lead_nowhere_else() -> None:
    assert Labelled(sample(), 0).file == "sub01_EP01_01.png"
    assert Labelled(sample("s3_po_01", "s3", "smic-hs"), 1).file == "s03_s3_po_01.png"
    assert Labelled(sample("s12_po_01", "s12", "smic-hs"), 1).subject == "s12"
    assert Labelled(sample("../../x/y", "006", "samm"), 0).file == "006_.._.._x_y.png"


def test_classes_are_those_of_the_datasets_protocol() -> None:
    samples = [sample(), sample(label="happiness"), sample(label="others"), sample("EP12_01f", "04")]
    classes, wanted = three_classes("casme2", samples)
    assert classes == ("negative", "positive", "surprise")
    assert [(w.sample.label, w.label) for w in wanted] == [("disgust", 0), ("happiness", 1)], "as MEGC counts"
    own = [sample(dataset="mine", label="b"), sample(dataset="mine", label="a")]
    assert three_classes("folder", own)[0] == ("a", "b")
    with pytest.raises(InputError, match="nothing to export"):
        three_classes("casme2", [sample(label="others")])


def test_every_subject_is_held_out_once(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["openmer", "prepare", "casme2", str(small), "--out", str(tmp_path / "store"), "--flow", "dis"]
    monkeypatch.setattr(sys, "argv", [*command, "--processes", "1", "--export", "ststnet"])
    main()
    out = tmp_path / "store-ststnet"
    assert "left out 03/EP03_01" in " ".join(capsys.readouterr().err.split())
    whole = {p.name for p in (out / WHOLE).iterdir()}
    assert len(whole) == 8 and "sub02_EP03_01.png" in whole
    assert sorted(p.name for p in (out / FOLDS).iterdir()) == ["sub01", "sub02", "sub03"]
    test, train = ({p.name for p in (out / FOLDS / "sub01" / part).rglob("*.png")} for part in ("u_test", "u_train"))
    assert test == {"sub01_EP01_01.png", "sub01_EP02_01.png", "sub01_EP03_01.png"} and train == whole - test
    assert (out / FOLDS / "sub03" / "u_test" / "2").is_dir(), "also where it is empty"
    table = pd.read_csv(out / "samples.csv")
    assert list(table[table.file == "sub02_EP02_01.png"].iloc[0][["class", "number", "onset", "apex"]]) == [
        "positive",
        1,
        9,
        12,
    ]
    picture = cv2.imread(str(out / FOLDS / "sub01" / "u_train" / "1" / "sub02_EP02_01.png"), cv2.IMREAD_UNCHANGED)
    assert picture is not None and picture.shape == (28, 28, 3)
    assert picture.min((0, 1)).tolist() == [0, 0, 0] and picture.max((0, 1)).tolist() == [255, 255, 255]
    assert json.loads((out / "export.json").read_text())["left_out"] == 1


def test_nothing_is_left_of_an_export_that_fails(small: Path, tmp_path: Path) -> None:
    broken = [s for s in samples_of(open_datasets("casme2", small)) if (s.subject, s.name) == ("03", "EP03_01")]
    with pytest.raises(InputError, match="no recording could be exported"):
        export_ststnet("casme2", broken, tmp_path / "out", DIS)
    assert not any(tmp_path.iterdir())


def test_the_picture_shows_what_moves_between_onset_and_apex(tmp_path: Path) -> None:
    """A smile of 3 px: the corners of the mouth go up and apart, and nothing else does."""
    person = draw_person((8, 0))
    recording, event = draw_recording(
        (8, 0, 0), person, "happiness", RecordingSettings(fps=100, size=240), peak_px=3, distractors=False, noise=False
    )
    assert event is not None
    folder = tmp_path / "smile"
    folder.mkdir()
    apex = int(np.abs(recording.times_s - event.apex_s).argmin())
    for number, k in ((1, 0), (2, apex // 2), (3, apex)):
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(recording.image(k), cv2.COLOR_RGB2BGR))
    made = replace(sample(), source=folder, fps=Fraction(100), offset=3)
    picture = motion_picture(made, DIS).astype(int)
    strain = picture[..., 2]
    lower = strain[15:25].mean()
    assert lower > 1.5 * strain[:6].mean(), "the mouth strains, the forehead does not"


def test_an_apex_beyond_the_last_frame_of_a_video_is_refused(tmp_path: Path) -> None:
    recording, _ = draw_recording(
        (8, 0, 0), draw_person((8, 0)), "happiness", RecordingSettings(fps=100, size=240), distractors=False
    )
    path = tmp_path / "smile.mp4"
    with VideoWriter(path, 240, 240, Fraction(100)) as writer:
        for k in range(12):
            writer.write(recording.image(k), k / 100)
    made = replace(sample(), source=path, fps=Fraction(100), onset=2, apex=11, offset=None)
    assert motion_picture(made, DIS).shape == (28, 28, 3)
    for mark in (replace(made, apex=12), replace(made, apex=9, offset=12)):
        with pytest.raises(InputError, match=r"frame 12 lies beyond the last of .*smile\.mp4, 11"):
            motion_picture(mark, DIS)
