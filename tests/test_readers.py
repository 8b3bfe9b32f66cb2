"""Each reader on a folder of the dataset's true shape: values by hand, quirks, and errors that say what to do."""

import datetime
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900

import fakes
from openmer.clip import Sample
from openmer.datasets.base import Dataset
from openmer.datasets.protocols import FILE, protocol, protocols, read_protocols
from openmer.datasets.registry import READERS, open_datasets
from openmer.errors import InputError
from openmer.facs import read_action_units
from terminal import run

Row = tuple[Any, ...]


def read(name: str, root: Path, **how: Any) -> Dataset:
    (dataset,) = open_datasets(name, root, **how)
    return dataset


def marks(sample: Sample) -> tuple[int | None, int | None, int | None, bool]:
    return sample.onset, sample.apex, sample.offset, sample.apex_estimated


def listed(dataset: Dataset) -> list[tuple[str, str]]:
    """Findings but for columns that nothing is taken from."""
    return [(f.kind, f.where) for f in dataset.findings if f.kind != "unread column"]


# CASME II


def test_pictures_that_are_no_frames_and_numbers_of_several_are_findings(tmp_path: Path) -> None:
    rows: list[Row] = [(9, "EP09f", None, 9, 10, 12, None, "L12", "happiness")]
    fakes.casme2(tmp_path, rows=rows)
    folder = tmp_path / "CASME2_RAW_selected" / "sub09" / "EP09f"
    fakes.pictures(folder, ["img10(2).jpg", "img11 - Copy.jpg"])
    dataset = read("casme2", tmp_path)
    assert [marks(s) for s in dataset] == [(9, 10, 12, False)]
    (finding,) = (f for f in dataset.findings if f.kind == "pictures left out")
    assert finding.where == "09/EP09f" and finding.what.startswith("2, such as img10(2).jpg")
    fakes.pictures(folder, ["img010.jpg"])
    again = read("casme2", tmp_path)
    _ = tuple(again)
    (finding,) = (f for f in again.findings if "cannot be read" in f.what)
    assert "img10.jpg and img010.jpg in" in finding.what and "have the same number; the recording" in finding.what


@pytest.mark.parametrize("blanks", [True, False])
def test_casme2_clip_names_and_cells_of_every_kind(tmp_path: Path, blanks: bool) -> None:
    rows: list[Row] = [
        (9, "EP09f", None, 9, 10, 12, None, "L12", "happiness"),
        (3, "EP01_2", None, 9, "/", 12, None, 14, "others"),
        ("07", "EP06_02_01", None, "9", "11", "12", None, "?", " Disgust "),
        (7.0, "EP06_02_02", None, 9, 0, 12, None, "R1+R2", "surprise"),
        (1, "EP09f", None, 9, -1, 12, None, "4+7", "sadness"),
        (2, "EP02_01", None, 9, 10, "/", None, 4, "fear"),
        (2, "EP03_01", None, 9, 10, 12, None, 4, "  "),
        ("see the paper", None, None, None, None, None, None, None, None),
    ]
    fakes.casme2(tmp_path, rows=rows[:-1], blanks=blanks)
    kept = [k for k in range(9) if blanks or k not in (2, 6)]
    header = [fakes.clips.CASME2_HEADER[k] for k in kept]
    table = [header, *([row[k] for k in kept] for row in rows)]
    fakes.sheet(tmp_path / "CASME2-coding-20140508.xlsx", "Sheet1", table, empty=("Sheet2",))
    dataset = read("casme2", tmp_path)
    assert [(s.subject, s.name, *marks(s), s.label, s.action_units) for s in dataset] == [
        ("09", "EP09f", 9, 10, 12, False, "happiness", ("L12",)),
        ("03", "EP01_2", 9, 10, 12, True, "others", ("14",)),
        ("07", "EP06_02_01", 9, 11, 12, False, "disgust", ()),
        ("07", "EP06_02_02", 9, 10, 12, True, "surprise", ("R1", "R2")),
        ("01", "EP09f", 9, 10, 12, True, "sadness", ("4", "7")),
        ("02", "EP02_01", 9, 10, 13, False, "fear", ("4",)),
        ("02", "EP03_01", 9, 10, 12, False, None, ("4",)),
    ]
    assert listed(dataset) == [
        ("unread row", "see the paper"),
        ("unknown label", "02/EP03_01"),
        ("apex estimated", "03/EP01_2"),
        ("apex estimated", "07/EP06_02_02"),
        ("apex estimated", "01/EP09f"),
        ("interval not annotated", "02/EP02_01"),
    ]


def test_casme2_of_two_numberings_the_mended_apex_is_not_taken_where_it_does_not_fit(tmp_path: Path) -> None:
    """MEB's apex of 12/EP09_02 is 187; where the clip is numbered 16 to 101, it lies outside."""
    fakes.casme2(tmp_path, rows=[(12, "EP09_02", None, 16, "/", 20, None, "4", "disgust")])
    fakes.pictures(tmp_path / "CASME2_RAW_selected" / "sub12" / "EP09_02", [f"img{n}.jpg" for n in range(8, 102)])
    (sample,) = read("casme2", tmp_path)
    assert marks(sample) == (16, 18, 20, True)


def test_raw_frames_come_before_cropped_ones_unless_asked_otherwise(tmp_path: Path) -> None:
    rows = fakes.casme2_rows()[:2]
    root = tmp_path / "crops of mine"
    fakes.casme2(root, rows=rows)
    fakes.casme2(root, rows=rows, frames="cropped")
    raw, cropped = read("casme2", root), read("casme2", root, frames="cropped")
    assert raw.tree.root.name == "CASME2_RAW_selected" and not raw.samples[0].cropped
    assert cropped.tree.root.name == "Cropped" and cropped.samples[0].cropped
    own = read("casme2", root / "CASME2_RAW_selected", workbook=root / "CASME2-coding-20140508.xlsx")
    assert not own.samples[0].cropped, "a folder above may be called anything"
    with pytest.raises(InputError, match=r"no cropped frames of CASME II.*raw frames in .*CASME2_RAW_selected"):
        read("casme2", root / "CASME2_RAW_selected", frames="cropped")


# SAMM


@pytest.mark.parametrize(
    ("notes", "book"),
    [(13, "SAMM_Micro_FACS_Codes_v2.xlsx"), (0, "SAMM_20181215_Micro_FACS_Codes_v2.xlsx")],
)
@pytest.mark.parametrize("top", ["SAMM", "SAMM/SAMM", "SAMM_CROP"])
def test_samm_raw_and_cropped_with_odd_cells(tmp_path: Path, top: str, notes: int, book: str) -> None:
    root = fakes.samm(tmp_path, rows=fakes.SAMM_ROWS, top=top, notes=notes, book=book, numbers=range(97, 106))
    dataset = read("samm", root)
    assert [(s.subject, s.name, *marks(s), s.label, s.action_units) for s in dataset] == [
        ("006", "006_1_2", 98, 100, 103, True, "anger", ("12",)),
        ("007", "007_3_1", 98, 100, 103, True, "others", ("R6?", "R12?", "R15")),
        ("009", "009_2_1", 98, 101, 103, False, "happiness", ("4D", "6?", "7C")),
        ("010", "010_1_1", 98, 100, 103, True, "others", ("A12",)),
        ("011", "011_1_1", 97, 100, 105, False, "contempt", ()),
    ]
    assert {s.cropped for s in dataset} == {top == "SAMM_CROP"}
    assert listed(dataset) == [
        ("apex estimated", "006/006_1_2"),
        ("apex estimated", "007/007_3_1"),
        ("apex estimated", "010/010_1_1"),
        ("frames out of range", "011/011_1_1"),
    ]
    assert [f.what for f in dataset.findings if f.kind == "apex estimated"] == [
        "the apex is not annotated; using the middle, 100",
        "the apex is not annotated; using the middle, 100",
        "the apex 240 lies outside of 98 to 103; using the middle, 100",
    ]


def test_samm_known_errors_are_mended_only_where_they_stand(tmp_path: Path) -> None:
    swapped = ("013", "013_1_9", 1, 5700, 5710, 5793, None, "Micro - 1/2", 4, "Anger", 1, None)
    mended = ("032", "032_3_1", 1, 4930, 4940, 4950, None, "Micro - 1/2", 4, "Anger", 1, None)
    fakes.samm(tmp_path, rows=[swapped], numbers=range(5700, 5740))
    fakes.samm(tmp_path, rows=[mended], numbers=range(4930, 4951))
    absent = ("028", "028_4_1", 1, 1100, -1, 1110, None, "Micro - 1/2", 4, "Anger", 1, None)
    fakes.samm(tmp_path, rows=[absent], numbers=range(1100, 1111))
    fakes.samm(tmp_path, rows=[swapped, mended, absent], numbers=range(0))
    dataset = read("samm", tmp_path)
    assert [marks(s) for s in dataset] == [
        (5700, 5710, 5739, False),
        (4930, 4940, 4950, False),
        (1100, 1105, 1110, False),
    ]
    assert listed(dataset) == [("correction", "013/013_1_9"), ("correction", "028/028_4_1")], (
        "032_3_1 has an apex, so the table's is not taken"
    )


# SMIC


@pytest.mark.parametrize("camera", ["VIS", "NIR"])
@pytest.mark.parametrize(("frames", "doubled"), [("raw", False), ("raw", True), ("cropped", False)])
def test_smic_vis_and_nir_are_71_recordings_of_8_people(
    tmp_path: Path, camera: str, frames: str, doubled: bool
) -> None:
    fakes.smic(tmp_path, camera=camera, frames=frames, doubled=doubled)
    name = f"smic-{camera.lower()}"
    dataset = read(name, tmp_path)
    rule = protocol(f"{name}-3")
    assert rule.differences([(s.dataset, s.subject, c) for s, c in rule.of(dataset)]) == ()
    assert len(dataset) == 71 and dataset.fps == 25 and not dataset.findings
    assert list(dict.fromkeys(s.subject for s in dataset)) == ["s11", "s12", "s13", "s14", "s15", "s18", "s19", "s20"]
    assert [(s.name, *marks(s), s.label, s.cropped) for s in dataset.samples[:2]] == [
        ("s11_ne_01", 9740, 9741, 9743, True, "negative", frames == "cropped"),
        ("s11_ne_02", 99998, 99999, 100001, True, "negative", frames == "cropped"),
    ]
    with pytest.raises(InputError, match=r"no frames of SMIC \(HS\)"):
        read("smic-hs", tmp_path)


@pytest.mark.parametrize("given", [".", "SMIC_all_cropped", "SMIC_all_cropped/HS"])
def test_smic_hs_cropped_from_any_folder_of_it(tmp_path: Path, given: str) -> None:
    of = [("s2", 1, "surprise"), ("s20", 1, "positive"), ("s3", 4, "negative")]
    fakes.smic(tmp_path, frames="cropped", of=of)
    dataset = read("smic-hs", tmp_path / given)
    assert [(s.subject, s.name, s.label, s.cropped) for s in dataset] == [
        ("s2", "s2_sur_01", "surprise", True),
        ("s3", "s3_ne_04", "negative", True),
        ("s20", "s20_po_01", "positive", True),
    ], "subjects in order of their numbers"


def test_smic_cropped_faces_are_known_by_their_folder_too(tmp_path: Path) -> None:
    folder = tmp_path / "SMIC_all_cropped" / "HS" / "s1" / "micro" / "negative" / "s1_ne_01"
    fakes.pictures(folder, ["image059740.bmp", "image059741.bmp"])
    assert read("smic-hs", tmp_path).samples[0].cropped and read("smic-hs", folder.parents[3]).samples[0].cropped


def test_smic_padded_folders_are_the_same_people(tmp_path: Path) -> None:
    folder = tmp_path / "SMIC_all_raw" / "HS" / "s01" / "micro" / "Surprise" / "s01_sur_02"
    fakes.pictures(folder, ["image 9.bmp", "image 10.bmp", "image 12.bmp"])
    (folder / "Thumbs7.db").write_bytes(b"no picture")
    (sample,) = read("smic-hs", tmp_path)
    assert (sample.subject, sample.name, sample.label, *marks(sample)) == (
        *("s1", "s01_sur_02", "surprise"),
        *(9, 10, 12, True),
    )


# CAS(ME)^2


@pytest.mark.parametrize("top", ["rawpic", "rawpic/rawpic", "cropped"])
def test_casme_sq_joins_people_and_videos_by_the_naming_rules(tmp_path: Path, top: str) -> None:
    dataset = read("casme-sq", fakes.casme_sq(tmp_path, top=top))
    assert [(s.subject, s.name, s.source.name, *marks(s), s.label, s.kind) for s in dataset] == [
        ("s15", "disgust1_1", "15_0101disgustteeth", 998, 1001, 1004, False, "negative", "macro"),
        ("s15", "disgust1_2", "15_0101disgustteeth", 999, 1000, 1002, False, "negative", "micro"),
        ("s15", "happy4_1", "15_0507happinessteeth", 996, 1000, 1000, False, "positive", "macro"),
        ("s40", "happy4_1", "40_0507happinessteeth", 997, 999, 1001, True, "positive", "micro"),
        ("s40", "anger2_1", "40_0402surpriseteeth", 995, 1000, 1006, False, "surprise", "micro"),
    ]
    assert {s.cropped for s in dataset} == {top == "cropped"} and dataset.fps == 30
    assert listed(dataset) == [
        ("interval not annotated", "s15/happy4_1"),
        ("impossible annotation", "s40/disgust1_1"),
        ("apex estimated", "s40/happy4_1"),
        ("frames out of range", "s40/anger2_1"),
    ]
    rule = protocol("casme-sq-3")
    assert [(s.subject, s.name, label) for s, label in rule.of(dataset)] == [
        ("s15", "disgust1_2", "negative"),
        ("s40", "happy4_1", "positive"),
        ("s40", "anger2_1", "surprise"),
    ], "macro-expressions do not count"


def test_casme_sq_stimuli_that_excel_made_numbers_and_raw_frames_beside_cropped_ones(tmp_path: Path) -> None:
    fakes.casme_sq(tmp_path, top="cropped")
    fakes.casme_sq(tmp_path)
    sheets = {
        "CASFEcode_final": fakes.CASME_SQ_ROWS[:2],
        "naming rule1": fakes.videos.CASME_SQ_PEOPLE,
        "naming rule2": [(int(code), name) for code, name in fakes.videos.CASME_SQ_VIDEOS],
    }
    fakes.book(tmp_path / "CAS(ME)^2code_final.xlsx", sheets)
    dataset = read("casme-sq", tmp_path)
    assert [s.name for s in dataset] == ["disgust1_1", "disgust1_2"] and dataset.tree.root.name == "rawpic"


def test_casme_sq_a_sheet_of_ones_own_at_the_end_changes_nothing(tmp_path: Path) -> None:
    fakes.casme_sq(tmp_path)
    before = [(s.subject, s.name, marks(s)) for s in read("casme-sq", tmp_path)]
    sheets = {
        "CASFEcode_final": fakes.CASME_SQ_ROWS,
        "naming rule1": fakes.videos.CASME_SQ_PEOPLE,
        "naming rule2": fakes.videos.CASME_SQ_VIDEOS,
        "mine": [(99, "x", 1), (98, "y", 2)],
        "mine too": [("0101", "bored"), ("0507", "tired")],
    }
    fakes.book(tmp_path / "CAS(ME)^2code_final.xlsx", sheets)
    assert [(s.subject, s.name, marks(s)) for s in read("casme-sq", tmp_path)] == before


def test_casme_sq_says_what_no_naming_rule_has(tmp_path: Path) -> None:
    stranger = (9, "disgust1_1", 998, 1001, 1004, "4", "negative", "micro-expression", "disgust")
    unknown = (1, "bored1_1", 998, 1001, 1004, "4", "negative", "micro-expression", "disgust")
    note = (None, "checked twice", None, None, None, None, None, None, None)
    fakes.casme_sq(tmp_path)
    sheets = {
        "b": [*fakes.CASME_SQ_ROWS[:1], stranger, unknown, note],
        "a": fakes.videos.CASME_SQ_VIDEOS,
        "c": fakes.videos.CASME_SQ_PEOPLE,
    }
    fakes.book(tmp_path / "CAS(ME)^2code_final.xlsx", sheets)
    dataset = read("casme-sq", tmp_path)
    assert [s.name for s in dataset] == ["disgust1_1"], "sheets are known by content, not by name or order"
    assert [f.what for f in dataset.findings if f.kind == "impossible annotation"] == [
        "participant 9 is in no naming rule of CAS(ME)^2code_final.xlsx; left out",
        "video bored1 is in no naming rule of CAS(ME)^2code_final.xlsx; left out",
    ]
    assert ("unread row", "checked twice") in listed(dataset)


@pytest.mark.parametrize(
    ("sheet", "holds"), [("CASFEcode_final", "expressions"), ("naming rule1", "people"), ("naming rule2", "videos")]
)
def test_casme_sq_a_missing_sheet_is_named(tmp_path: Path, sheet: str, holds: str) -> None:
    fakes.casme_sq(tmp_path, without=(sheet,))
    with pytest.raises(InputError, match=rf"lacks the sheet of {holds} \(.*it has .*naming.*--workbook; docs/data\.md"):
        read("casme-sq", tmp_path)


# CAS(ME)^3


@pytest.mark.parametrize("doubled", [False, True])
def test_casme3_in_whole_videos(tmp_path: Path, doubled: bool) -> None:
    fakes.casme3(tmp_path / "CASME3" if doubled else tmp_path)
    dataset = read("casme3", tmp_path)
    assert [(s.subject, s.name, s.source.parent.name, *marks(s), s.label) for s in dataset] == [
        ("spNO.1", "a_8", "a", 8, 9, 11, False, "disgust"),
        ("spNO.1", "a_9", "a", 9, 9, 12, False, "happiness"),
        ("spNO.2", "j_7", "j", 7, 9, 12, True, "others"),
        ("spNO.216", "e_0", "e", 7, 9, 11, True, "fear"),
    ]
    assert {s.source.name for s in dataset} == {"color"} and not any(s.cropped for s in dataset)
    assert listed(dataset) == [
        ("correction", "spNO.216/e_0"),
        ("correction", "spNO.216/e_0"),
        ("apex estimated", "spNO.2/j_7"),
        ("impossible annotation", "spNO.3/b_8"),
        ("frames out of range", "spNO.216/e_0"),
        ("apex estimated", "spNO.216/e_0"),
    ]


def test_casme3_with_a_folder_a_clip_takes_the_colour_beside_the_depth(tmp_path: Path) -> None:
    rows = [*fakes.CASME3_ROWS[:3], ("spNO.3", "b", "8", "9", "0", "4", "VII", "sad")]
    dataset = read("casme3", fakes.casme3(tmp_path, short=True, rows=rows))
    assert [(s.subject, s.name, str(s.source.relative_to(tmp_path)), *marks(s)) for s in dataset] == [
        ("spNO.1", "a_8", "Part_A_ME_clip/frame/spNO.1_a_8", 8, 9, 11, False),
        ("spNO.1", "a_9", "Part_A_ME_clip/frame/spNO.1_a_9", 9, 9, 12, False),
        ("spNO.2", "j_7", "Part_A_ME_clip/frame/spNO.2_j_7", 7, 9, 12, True),
        ("spNO.3", "b_8", "Part_A_ME_clip/frame/spNO.3_b_8", 8, 9, 12, False),
    ]
    assert ("interval not annotated", "spNO.3/b_8") in listed(dataset), "the clip's end is the expression's"


def test_casme3_known_errors_are_mended(tmp_path: Path) -> None:
    rows = [
        ("spNO.149", "d", "112", "83", "130", "4", "VII", "anger"),
        ("spNO.214", "c", "5", "20", "3460", "4", "VII", "anger"),
        ("spNO.216", "e", "0", "0", "20", "4", "VII", "anger"),
    ]
    fakes.casme3(tmp_path, rows=rows)
    for row in rows:
        folder = tmp_path / "part_A" / "data" / "part_A_split" / "part_A" / row[0] / row[1] / "color"
        fakes.pictures(folder, [f"{n}.jpg" for n in range(1, 200)])
    assert [marks(s) for s in read("casme3", tmp_path)] == [
        (112, 123, 130, False),
        (5, 20, 34, False),
        (1, 1, 20, False),
    ]
    assert [marks(s) for s in read("casme3", tmp_path, corrections=False)] == [
        (112, 121, 130, True),
        (5, 20, 199, False),
        (1, 10, 20, True),
    ]


# MMEW


@pytest.mark.parametrize("by_person", [False, True])
@pytest.mark.parametrize("doubled", [False, True])
def test_mmew_in_folders_of_emotions_or_of_people(tmp_path: Path, by_person: bool, doubled: bool) -> None:
    fakes.mmew(tmp_path / "MMEW" / "MMEW_Final" if doubled else tmp_path, by_person=by_person)
    dataset = read("mmew", tmp_path)
    assert [(s.subject, s.name, *marks(s), s.label) for s in dataset] == [
        ("S03", "S03-01-002", 1, 9, 11, False, "happiness"),
        ("S03", "S03-02-001", 2, 10, 12, False, "surprise"),
        ("S13", "S13-07-001", 2, 7, 12, True, "others"),
        ("S14", "S14-04-001", 2, 7, 12, True, "disgust"),
    ]
    assert all(s.cropped and s.fps == 90 for s in dataset)
    assert dataset.samples[2].source.parent.name == "repression", "as the folder of others is called"
    assert listed(dataset) == [
        ("apex estimated", "S13/S13-07-001"),
        ("frames out of range", "S14/S14-04-001"),
        ("apex estimated", "S14/S14-04-001"),
    ]


# SAMM Long Videos


@pytest.mark.parametrize("doubled", [False, True])
def test_samm_long_has_several_expressions_a_video_and_numbers_with_fractions(tmp_path: Path, doubled: bool) -> None:
    fakes.samm_long(tmp_path / "SAMM_longvideos" if doubled else tmp_path)
    dataset = read("samm-long", tmp_path)
    assert [(s.subject, s.name, s.source.name, *marks(s), s.kind) for s in dataset] == [
        ("006", "006_1_1", "006_1", 1, 4, 9, False, "macro"),
        ("006", "006_1_2", "006_1", 9, 10, 12, True, "micro"),
        ("006", "006_2_1", "006_2", 8, 11, 14, False, "macro"),
        ("007", "007_5_3", "007_5", 11, 13, 16, False, "micro"),
    ]
    assert all(s.label is None and s.fps == 200 for s in dataset)
    assert listed(dataset) == [("frames out of range", "006/006_1_1"), ("apex estimated", "006/006_1_2")]
    assert dataset.samples[2].action_units == ("10A",)


# Cells that a spreadsheet program has made into something else


@pytest.mark.parametrize("epoch", [CALENDAR_WINDOWS_1900, CALENDAR_MAC_1904])
def test_frame_numbers_shown_as_dates_are_the_numbers_that_were_stored(
    tmp_path: Path, epoch: datetime.datetime
) -> None:
    """46 in a column formatted as a date is 15 February 1900."""
    fakes.casme2(tmp_path, rows=[(1, "EP01_01", None, 9, 10, 12, None, "4", "disgust")])
    path = tmp_path / "CASME2-coding-20140508.xlsx"
    book = openpyxl.load_workbook(path)
    book.epoch = epoch
    for column in "ADEF":
        book["Sheet1"][f"{column}2"].number_format = "yyyy-mm-dd"
    book.save(path)
    dataset = read("casme2", tmp_path)
    assert [(s.subject, *marks(s)) for s in dataset] == [("01", 9, 10, 12, False)]
    assert [f.where for f in dataset.findings if f.kind == "date read as a number"] == ["01/EP01_01"] * 3


def test_units_that_became_dates_fractions_or_sums(tmp_path: Path) -> None:
    """A cell typed as 4-7 is a date, 4,7 a fraction, +4+7 a formula with the result 11."""
    cells = (datetime.datetime(2026, 4, 7), 4.7, "=+4+7", "=4+12", 412)
    rows = [(1, f"EP{k:02d}_01", None, 9, 10, 12, None, cell, "disgust") for k, cell in enumerate(cells)]
    dataset = read("casme2", fakes.casme2(tmp_path, rows=rows))
    assert [s.action_units for s in dataset] == [(), (), ("4", "7"), ("4", "12"), ()]
    unread = {f.where: f.what for f in dataset.findings if f.kind == "unread action units"}
    assert sorted(unread) == ["01/EP00_01", "01/EP01_01", "01/EP04_01"]
    assert "2026-04-07" in unread["01/EP00_01"] and "4.7 is a fraction" in unread["01/EP01_01"]


def test_numbers_in_full_width_digits_and_numbers_with_words(tmp_path: Path) -> None:
    rows = [
        ("０１", "ＥＰ０１_01\u200b", None, "９", " 1０\xa0", "12\ufeff", None, "４＋Ｌ１２", "Ｄisgust"),
        (2, "EP01_01", None, 9, "ca. 10", 12, None, 4, "disgust"),
    ]
    plain = [(1, "EP01_01", *rows[0][2:]), rows[1]]
    fakes.casme2(tmp_path, rows=plain)
    fakes.sheet(
        tmp_path / "CASME2-coding-20140508.xlsx", "Sheet1", [("Ｓubject\u200b", *fakes.clips.CASME2_HEADER[1:]), *rows]
    )
    dataset = read("casme2", tmp_path)
    assert [(s.subject, s.name, *marks(s), s.action_units, s.label) for s in dataset] == [
        ("01", "EP01_01", 9, 10, 12, False, ("4", "L12"), "disgust"),
        ("02", "EP01_01", 9, 10, 12, True, ("4",), "disgust"),
    ]
    assert listed(dataset) == [("unread number", "02/EP01_01"), ("apex estimated", "02/EP01_01")]


def test_a_recording_of_one_frame_cannot_be_used(tmp_path: Path) -> None:
    fakes.casme2(tmp_path, rows=[(1, "EP01_01", None, 9, 9, 9, None, "4", "disgust")])
    dataset = read("casme2", tmp_path)
    assert not dataset.samples
    assert [f.what for f in dataset.findings] == ["annotated 9 to 9, on disk 8 to 13: only frame 9 in common; left out"]


def test_a_sum_without_a_result_at_the_end_of_a_sheet_is_its_units(tmp_path: Path) -> None:
    """Of a workbook that a script wrote, in which formulas have no results: the last row ends with one."""
    rows = [(1, f"EP0{k}_01", None, 9, 10, 12, None, "=4+7", "disgust") for k in (1, 2)]
    fakes.casme2(tmp_path, rows=rows)
    header = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion", "Action Units")
    cells = [(*row[:2], *row[3:6], row[8], row[7]) for row in rows]
    fakes.sheet(tmp_path / "CASME2-coding-20140508.xlsx", "Sheet1", [header, *cells])
    assert [s.action_units for s in read("casme2", tmp_path)] == [("4", "7")] * 2


def test_of_several_sheets_the_known_one_is_read_and_others_are_refused(tmp_path: Path) -> None:
    """A draft beside the final coding: which of them counts, only their owner knows."""
    fakes.casme2(tmp_path, rows=[(1, "EP01_01", None, 9, 10, 12, None, "4", "disgust")])
    path = tmp_path / "CASME2-coding-20140508.xlsx"
    book = openpyxl.load_workbook(path)
    draft = book.copy_worksheet(book["Sheet1"])
    draft.title, draft["D2"] = "draft", 8
    book.move_sheet(draft, 1 - len(book.sheetnames))
    book.save(path)
    assert [marks(s)[0] for s in read("casme2", tmp_path)] == [9]
    book["Sheet1"].title = "final"
    book.save(path)
    with pytest.raises(InputError, match=r"several sheets .*: draft, final; keep one of them, or call it Sheet1"):
        read("casme2", tmp_path)


# Errors

MAKE: dict[str, Callable[[Path], Path]] = {
    "casme2": lambda root: fakes.casme2(root, rows=fakes.casme2_rows()[:2]),
    "samm": lambda root: fakes.samm(root, rows=fakes.samm_rows()[:2]),
    "samm-long": fakes.samm_long,
    "smic-hs": fakes.smic,
    "smic-vis": lambda root: fakes.smic(root, camera="VIS"),
    "smic-nir": lambda root: fakes.smic(root, camera="NIR"),
    "casme3": fakes.casme3,
    "casme-sq": fakes.casme_sq,
    "mmew": fakes.mmew,
}
WITH_BOOK = sorted(set(MAKE) - {"smic-hs", "smic-vis", "smic-nir"})
NEXT = r"(To get the dataset|give it with --workbook|with --workbook)"


def test_every_reader_has_a_fake() -> None:
    assert set(MAKE) == set(READERS)


def error_of(name: str, root: Path, **how: Any) -> str:
    with pytest.raises(InputError) as error:
        read(name, root, **how)
    assert "docs/data.md" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", sorted(MAKE))
def test_without_frames_the_error_says_where_what_and_whom_to_ask(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday" / "2019").mkdir(parents=True)
    error, reader = error_of(name, tmp_path), READERS[name]
    assert f"no frames of {reader.title} were found in {tmp_path}" in error
    assert "it holds the folders holiday" in error and reader.layout in error and reader.request in error
    assert f"there is no folder {tmp_path / 'away'}" in error_of(name, tmp_path / "away")
    docs = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    assert f"`{reader.layout}`" in docs and reader.workbook_called in docs, "the page that the error names has both"


@pytest.mark.parametrize("name", WITH_BOOK)
def test_a_wrong_workbook_is_told_from_a_missing_and_a_damaged_one(name: str, tmp_path: Path) -> None:
    root, reader = MAKE[name](tmp_path / "data"), READERS[name]
    (book,) = root.glob("*.xlsx")
    assert book.name == reader.workbook_called
    copy = root / book.name.replace(".xlsx", "_v9.xlsx")
    copy.write_bytes(book.read_bytes())
    error = error_of(name, root)
    assert f"several workbooks of {reader.title}: {book}" in error and str(copy) in error and "--workbook" in error
    assert len(read(name, root, workbook=copy)) == len(read(name, root, workbook=book)) > 1
    copy.unlink()

    book.write_bytes(b"cut off")
    error = error_of(name, root)
    assert f"cannot read the workbook {book}" in error and "unpack it again" in error
    fakes.sheet(book, "Tabelle1", [["a note"], ["Name", "Start", "End"], ["x", 1, 2]])
    error = error_of(name, root)
    assert str(book) in error and "--workbook" in error
    assert "Name, Start, End" in error or "it has Tabelle1" in error, "what was found there"

    book.rename(root / "letter.xlsx")
    error = error_of(name, root)
    assert f"annotation of {reader.title} was not found in {root}" in error and "letter.xlsx" in error
    assert f"for example, {reader.workbook_called}" in error and "--workbook" in error
    (root / "letter.xlsx").unlink()
    assert "no workbook at all" in error_of(name, root)
    assert f"there is no workbook {root / 'x.xlsx'}" in error_of(name, root, workbook=root / "x.xlsx")


@pytest.mark.parametrize("name", WITH_BOOK)
def test_a_workbook_whose_rows_name_no_recording_is_refused(name: str, tmp_path: Path) -> None:
    """Its header is right, but what stands below is written as nobody knows it."""
    root = MAKE[name](tmp_path)
    (book,) = root.glob("*.xlsx")
    if name == "casme-sq":
        rows: Sequence[Row] = [("first", "disgust", 1, 2, 3, 4, "negative", "micro-expression")]
        sheets = {"b": rows, "a": fakes.videos.CASME_SQ_VIDEOS, "c": fakes.videos.CASME_SQ_PEOPLE}
        fakes.book(book, sheets)
    else:
        header = {
            "casme2": fakes.clips.CASME2_HEADER,
            "samm": fakes.clips.SAMM_HEADER,
            "samm-long": fakes.videos.SAMM_LONG_HEADER,
            "casme3": fakes.videos.CASME3_HEADER,
            "mmew": fakes.clips.MMEW_HEADER,
        }[name]
        fakes.sheet(book, "Sheet1", [header, ["first", "one"]])
    error = error_of(name, root)
    assert f"{book} has no row that names a recording" in error and "first" in error and "--workbook" in error


def test_an_old_workbook_says_how_to_save_it(tmp_path: Path) -> None:
    root = fakes.samm(tmp_path, rows=fakes.samm_rows()[:1])
    (book,) = root.glob("*.xlsx")
    old = book.with_suffix(".xls")
    book.unlink()
    old.write_bytes(bytes.fromhex("D0CF11E0A1B11AE1") + bytes(2048))
    assert "save it as .xlsx" in error_of("samm", root)


def test_the_composite_cannot_tell_two_workbooks_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the composite has two workbooks.*docs/data\.md"):
        open_datasets("composite", tmp_path, workbook=tmp_path / "x.xlsx")


@pytest.mark.parametrize(
    ("cell", "units"),
    [
        ("15A+17", ("15A", "17")),
        ("L12 or L14", ("L12?", "L14?")),
        ("10A/B", ("10A",)),
        ("A/L12", ("L12",)),
        ("T18+39", ("T18", "39")),
        ("4D+ref(6)+7C+43E", ("4D", "6?", "7C", "43E")),
        ("R14+17+soft focus", ("R14", "17")),
        ("1，2", ("1", "2")),
    ],
)
def test_action_units_of_samm_and_casme3(cell: object, units: tuple[str, ...]) -> None:
    read_units = read_action_units(cell)[0]
    assert tuple(str(u) for u in read_units) == units
    assert read_action_units("+".join(units))[0] == read_units


# Protocols: counts by hand, from workbooks that were counted, the official list of MEGC 2019, and the authors' lists


@pytest.mark.parametrize(
    ("name", "totals", "people", "per_class"),
    [
        (
            "casme2-5",
            (246, 247),
            26,
            {"others": (99,), "disgust": (63, 64), "happiness": (32,), "repression": (27,), "surprise": (25,)},
        ),
        ("casme2-3", (145,), 24, {"negative": (88,), "positive": (32,), "surprise": (25,)}),
        ("casme2-3-147", (147, 148), 24, {"negative": (90, 91), "positive": (32,), "surprise": (25,)}),
        ("casme2-3-156", (156, 157), 25, {"negative": (99, 100), "positive": (32,), "surprise": (25,)}),
        (
            "samm-5",
            (136,),
            27,
            {"anger": (57,), "others": (26,), "happiness": (26,), "surprise": (15,), "contempt": (12,)},
        ),
        ("samm-3", (133,), 28, {"negative": (92,), "positive": (26,), "surprise": (15,)}),
        ("smic-hs-3", (164,), 16, {"negative": (70,), "positive": (51,), "surprise": (43,)}),
        ("smic-vis-3", (71,), 8, {"negative": (23,), "positive": (28,), "surprise": (20,)}),
        ("smic-nir-3", (71,), 8, {"negative": (23,), "positive": (28,), "surprise": (20,)}),
        ("composite", (442,), 68, {"negative": (250,), "positive": (109,), "surprise": (83,)}),
        ("casme3-3", (699,), 88, {"negative": (457,), "positive": (55,), "surprise": (187,)}),
        ("casme3-4", (860,), 94, {"negative": (457,), "positive": (55,), "surprise": (187,), "others": (161,)}),
        (
            "casme3-7",
            (860,),
            94,
            {
                "disgust": (250,),
                "surprise": (187,),
                "others": (161,),
                "fear": (86,),
                "anger": (64,),
                "sadness": (57,),
                "happiness": (55,),
            },
        ),
        ("casme-sq-3", (38,), None, {"negative": (21,), "positive": (8,), "surprise": (9,)}),
    ],
)
def test_protocols_have_the_counts_of_the_literature(
    name: str, totals: tuple[int, ...], people: int | None, per_class: dict[str, tuple[int, ...]]
) -> None:
    rule = protocol(name)
    assert (rule.totals, rule.people, dict(rule.per_class)) == (totals, people, per_class)
    assert rule.source and not rule.comparable


@pytest.mark.parametrize(
    ("name", "classes", "totals", "people"),
    [
        ("mol-authors-casme2-3", ("surprise", "positive", "negative"), (156, 157), 25),
        ("mol-authors-casme2-5", ("surprise", "happiness", "disgust", "repression", "others"), (243, 244), 25),
        ("mol-authors-samm-3", ("surprise", "positive", "negative"), (133,), 28),
        ("mol-authors-samm-5", ("surprise", "happiness", "anger", "contempt", "others"), (136,), 27),
        ("mol-authors-smic-3", ("surprise", "positive", "negative"), (164,), 16),
    ],
)
def test_the_mol_authors_protocols_say_that_they_are_not_comparable(
    name: str, classes: tuple[str, ...], totals: tuple[int, ...], people: int
) -> None:
    rule = protocol(name)
    assert (rule.classes, rule.totals, rule.people) == (classes, totals, people)
    assert "clips, not recordings" in rule.comparable and "MOL authors" in rule.source
    assert {p.name for p in protocols().values() if p.comparable} == {
        p for p in protocols() if p.startswith("mol-authors-")
    }


def test_the_mol_authors_subjects_and_classes_differ_as_said() -> None:
    three, five = protocol("mol-authors-casme2-3"), protocol("mol-authors-casme2-5")
    assert three.label("casme2", "10", "EP13_01", "fear") == "negative", "why they have a fold for subject 10"
    assert protocol("casme2-3").label("casme2", "10", "EP13_01", "fear") is None
    assert five.label("casme2", "18", "EP08_01", "others") is None, "subject 18 is not in their list"
    assert protocol("casme2-5").label("casme2", "18", "EP08_01", "others") == "others"
    assert protocol("casme2-3").label("casme2", "05", "EP02_07", "surprise") == "surprise"
    assert protocol("casme2-3").label("casme2", "24", "EP02_07", "disgust") is None, "one name, two subjects"
    assert protocol("casme2-3-147").label("casme2", "24", "EP02_07", "disgust") == "negative"


def test_a_damaged_file_of_protocols_says_what_is_wrong() -> None:
    content = FILE.read_bytes()
    assert read_protocols(content) == protocols()
    with pytest.raises(InputError, match=r"Expected `int`.*protocol.*totals"):
        read_protocols(content.replace(b"totals = [145]", b'totals = ["145"]'))
    with pytest.raises(InputError, match=r"unknown field `total`"):
        read_protocols(content.replace(b"totals = [145]", b"total = [145]"))
    with pytest.raises(InputError, match="refers to 'casme2-megc'"):
        read_protocols(content.replace(b"[emotions.casme2-megc]", b"[emotions.casme2-megc2]"))


def test_counts_of_megc_by_dataset() -> None:
    """From the official list: SMIC 164, CASME II 145, SAMM 133."""
    sums = Counter[tuple[str, int]]()
    for (dataset, _), counts in protocol("composite").per_subject.items():
        sums.update({(dataset, k): n for k, n in enumerate(counts)})
    assert [sums["smic-hs", k] for k in range(3)] == [70, 51, 43]
    assert [sums["casme2", k] for k in range(3)] == [88, 32, 25]
    assert [sums["samm", k] for k in range(3)] == [92, 26, 15]


@pytest.mark.parametrize(
    ("name", "code", "lines"),
    [
        ("casme2", 1, ("casme2-5: not met", "mol-authors-casme2-5: not met (not comparable with the others)")),
        ("samm", 1, ("samm-5: not met", "2 rows of annotation (known: 159)")),
        ("smic-vis", 0, ("smic-vis-3: met", "71 recordings can be used: positive 28, negative 23, surprise 20")),
        ("casme3", 1, ("casme3-3: not met", "casme3-7: not met", "5 rows of annotation (known: 860)")),
        ("casme-sq", 1, ("casme-sq-3: not met", "negative (macro) 1", "3 recordings, expected 38")),
        ("mmew", 1, ("mmew-6: not met", "mmew-4: not met", "S13/S13-07-001")),
        ("samm-long", 0, ("no label (macro) 2, no label 2", "4 rows of annotation (known: 502)")),
    ],
)
def test_the_check_of_each_dataset(
    name: str,
    code: int,
    lines: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "data", "check", name, MAKE[name](tmp_path)) == code
    output = " ".join(capsys.readouterr().out.split())
    assert [line for line in lines if line not in output] == []
