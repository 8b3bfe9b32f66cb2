"""What a second look at a dataset must not do: read other frames, keep old clips, lose files."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

import fakes
from openmer import InputError, OutputError
from openmer.clip import Sample
from openmer.clips.store import ClipStore
from openmer.datasets.check import write_contact_sheet
from openmer.datasets.prepare import not_asked_for, prepare, read_frames
from openmer.datasets.registry import open_datasets
from openmer.datasets.settings import PrepareSettings
from openmer.datasets.trees import frame_files
from openmer.media.reader import VideoReader
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import RecordingSettings
from terminal import run

DIS = PrepareSettings(flow="dis", sampling="uniform")


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """Frames 0 to 39 of a simulated face; 5 to 7 are missing, and 20 to 33 show an expression."""
    recording, _ = draw_recording((6, 0, 0), draw_person((6, 0)), "surprise", RecordingSettings(fps=100, size=200))
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(40):
        if k not in (5, 6, 7):
            cv2.imwrite(str(folder / f"img{k}.png"), recording.image(min(k, len(recording) - 1)))
    return Sample(
        dataset="d", subject="a", name="x", source=folder, fps=Fraction(100), label="one", onset=20, offset=33
    )


def test_a_gap_before_the_onset_shifts_nothing(sample: Sample) -> None:
    assert read_frames(sample).numbers.tolist() == list(range(20, 34))


def test_a_changed_label_replaces_the_clips_and_a_stray_file_changes_nothing(sample: Sample, tmp_path: Path) -> None:
    store, _ = prepare([sample], tmp_path / "store", DIS)
    (first,) = store.entries
    (sample.source / "Thumbs.db").write_bytes(b"thumbs")
    (sample.source / "img3.png").write_bytes(b"another picture outside of the expression")
    store, _ = prepare([sample], tmp_path / "store", DIS)
    assert store.entries == (first,)
    replaced: list[str] = []
    store, _ = prepare([sample], tmp_path / "store", DIS, on_replaced=replaced.append)
    assert replaced == []
    store, _ = prepare([replace(sample, label="two")], tmp_path / "store", DIS, on_replaced=replaced.append)
    assert [e.label for e in store] == ["two"] and replaced == ["d/a/x"]
    assert not_asked_for(store, [sample]) == [] and not_asked_for(store, []) == ["d/a/x"]


def test_what_cannot_be_prepared_is_said(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no recording to prepare"):
        prepare([], tmp_path / "store", DIS)
    with pytest.raises(InputError, match="--processes must be at least 1"):
        prepare([sample], tmp_path / "store", DIS, processes=-2)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        prepare([sample], tmp_path / "file", DIS)
    store, _ = prepare([sample], tmp_path / "store", DIS)
    (clip,) = (store.root / "clips").iterdir()
    clip.write_bytes(b"")
    with pytest.raises(InputError, match=clip.name):
        _ = ClipStore(store.root).entries


def test_copies_hidden_and_empty_pictures_are_no_frames(tmp_path: Path) -> None:
    fakes.pictures(tmp_path, ["img9.jpg", "img10.jpg", "img10(2).jpg", "img11 - Copy.jpg", "._img12.jpg", "img13.jpg"])
    (tmp_path / "img13.jpg").write_bytes(b"")
    assert sorted(frame_files(tmp_path)) == [9, 10]


def test_the_contact_sheet_replaces_no_workbook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fakes.casme2(tmp_path, rows=fakes.casme2_rows()[:2])
    workbook = root / "CASME2-coding-20140508.xlsx"
    before = workbook.read_bytes()
    assert run(monkeypatch, "data", "check", "casme2", root, "--sheet", workbook) == 1
    assert "must end in .png" in " ".join(capsys.readouterr().err.split())
    assert workbook.read_bytes() == before
    with pytest.raises(InputError, match="no recording to show"):
        write_contact_sheet([], tmp_path / "sheet.png")


@pytest.mark.parametrize("cell", ["=A2+8", "9,5 s", "not yet"])
def test_frame_numbers_that_are_no_numbers_are_refused(tmp_path: Path, cell: str) -> None:
    rows = [(*row[:3], cell, *row[4:]) for row in fakes.casme2_rows()[:4]]
    fakes.casme2(tmp_path, rows=rows)
    with pytest.raises(InputError, match=r"4 of 4 rows .* is not a number .*docs/data\.md"):
        open_datasets("casme2", tmp_path)


def test_missing_frames_within_an_expression_are_said(tmp_path: Path) -> None:
    fakes.casme2(tmp_path, rows=fakes.casme2_rows()[:1])
    next((tmp_path / "CASME2_RAW_selected").rglob("img10.jpg")).unlink()
    (dataset,) = open_datasets("casme2", tmp_path)
    assert [(f.kind, f.what) for f in dataset.findings if f.kind == "frames missing"] == [
        ("frames missing", "1 numbers between 9 and 12 have no picture")
    ]


def test_a_picture_larger_than_any_is_named(sample: Sample, tmp_path: Path) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    (sample.source / "img25.png").write_bytes(header + b"\0" * 64)
    with pytest.raises(InputError, match=r"img25\.png"):
        prepare([sample], tmp_path / "store", DIS)


def test_a_recording_that_cannot_be_used_any_more_keeps_its_older_clips(sample: Sample, tmp_path: Path) -> None:
    store, _ = prepare([sample], tmp_path / "store", DIS)
    (entry,) = store.entries
    for picture in sample.source.iterdir():
        picture.write_bytes(b"damaged")
    with pytest.raises(InputError, match="no recording could be used"):
        prepare([sample], tmp_path / "store", DIS)
    assert ClipStore(store.root).entries == (entry,)


def test_an_annotation_that_gives_no_clips_any_more_leaves_no_older_label(sample: Sample, tmp_path: Path) -> None:
    other = replace(sample, name="y", label="two")
    prepare([sample, other], tmp_path / "store", DIS)
    replaced: list[str] = []
    shorter = replace(sample, label="three", onset=20, offset=24)
    store, problems = prepare([shorter, other], tmp_path / "store", DIS, on_replaced=replaced.append)
    assert [p.sample.name for p in problems] == ["x"] and replaced == ["d/a/x"]
    assert [(e.sample, e.label) for e in store] == [("y", "two")]


def test_a_store_in_which_there_is_nothing_takes_other_settings(sample: Sample, tmp_path: Path) -> None:
    """The remedy for recordings that are too short is another setting, for the same folder."""
    short = replace(sample, onset=20, offset=24)
    with pytest.raises(InputError, match="5 frames are too few"):
        prepare([short], tmp_path / "store", DIS)
    store, problems = prepare([short], tmp_path / "store", replace(DIS, interpolation="tim"))
    assert not problems and len(store.entries) == 1
    with pytest.raises(InputError, match="made with other settings"):
        prepare([short], tmp_path / "store", DIS)


def test_frames_whose_numbers_are_no_numbers_are_named(tmp_path: Path) -> None:
    fakes.pictures(tmp_path, [f"img{10**25 + k}.png" for k in range(3)])
    with pytest.raises(InputError, match=r"at most 18 digits.*img1000"):
        VideoReader(tmp_path, fps=Fraction(30))
