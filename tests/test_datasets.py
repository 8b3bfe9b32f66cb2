"""Readers of the licensed datasets, on folders of their true shape."""

import shutil
from pathlib import Path

import cv2
import pytest

import fakes
from openmer.datasets.check import shorter_than_a_clip
from openmer.datasets.protocols import protocol, protocols
from openmer.datasets.registry import open_datasets, samples_of
from openmer.datasets.workbook import parse_int
from openmer.errors import InputError
from openmer.facs import read_action_units
from terminal import run


def kinds(dataset: object) -> list[str]:
    return [f.kind for f in dataset.findings]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def composite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("composite")
    fakes.composite(root)
    return root


def test_the_composite_has_the_counts_of_every_subject(composite: Path) -> None:
    samples = samples_of(open_datasets("composite", composite))
    rule = protocol("composite")
    counted = [(s.dataset, s.subject, label) for s, label in rule.of(samples)]
    assert rule.differences(counted) == ()
    assert len(counted) == 442 and len({f[:2] for f in counted}) == 68
    without = [f for f in counted if f != ("casme2", "02", "positive")]
    assert rule.differences(without) == (
        "441 recordings, expected 442",
        "positive: 108, expected 109",
        "casme2 subject 02: 5 negative, 0 positive, 3 surprise; expected 5 negative, 1 positive, 3 surprise",
    )


@pytest.mark.parametrize("name", ["casme2-3", "samm-3", "smic-hs-3"])
def test_each_part_has_its_own_counts(composite: Path, name: str) -> None:
    rule = protocol(name)
    (dataset,) = rule.mapping
    samples = samples_of(open_datasets(dataset, composite))
    assert rule.differences([(s.dataset, s.subject, c) for s, c in rule.of(samples)]) == ()


@pytest.mark.parametrize("frames", ["raw", "cropped"])
@pytest.mark.parametrize("doubled", [False, True])
def test_casme2_raw_and_cropped_also_in_doubled_folders(tmp_path: Path, frames: str, doubled: bool) -> None:
    rows = fakes.casme2_rows()[:5]
    fakes.casme2(tmp_path / "a" / "b", frames=frames, doubled=doubled, rows=rows)
    (dataset,) = open_datasets("casme2", tmp_path)
    assert [(s.subject, s.name) for s in dataset] == [(f"{r[0]:02d}", r[1]) for r in rows]
    assert {s.cropped for s in dataset} == {frames == "cropped"}
    first = dataset.samples[0]
    assert (first.onset, first.apex, first.offset, first.apex_estimated) == (9, 10, 12, False)
    assert first.action_units == ("4", "L12") and first.label == "disgust" and first.fps == 200


def test_an_apex_that_is_missing_is_mended_from_the_table_or_estimated(tmp_path: Path) -> None:
    slash = (4, "EP12_01f", None, 9, "/", 300, None, "4", "disgust")
    odd = (3, "EP01_01", None, 9, 500, 12, None, "4", "disgust")
    fakes.casme2(tmp_path, rows=[slash, odd])
    for folder in (tmp_path / "CASME2_RAW_selected").glob("sub04/*"):
        fakes.pictures(folder, [f"img{n}.jpg" for n in range(14, 301)])
    (dataset,) = open_datasets("casme2", tmp_path)
    mended, estimated = dataset.samples
    assert (mended.apex, mended.apex_estimated) == (279, False)
    assert (estimated.apex, estimated.apex_estimated) == (10, True)
    assert "correction" in kinds(dataset) and "apex estimated" in kinds(dataset)
    (plain,) = open_datasets("casme2", tmp_path, corrections=False)
    assert plain.samples[0].apex_estimated and "correction" not in kinds(plain)


def test_frames_out_of_range_missing_folders_and_stray_ones_are_said(tmp_path: Path) -> None:
    rows = [
        (1, "EP01_01", None, 2, 10, 99, None, "4", "disgust"),
        (1, "EP02_01", None, 500, 510, 520, None, "4", "disgust"),
        (2, "EP03_01", None, 9, 10, 12, None, "4", "Others "),
        (2, "EP04_01", None, 12, 10, 9, None, "4", "boredom"),
        (3, "EP05_01", None, 9, 10, 12, None, "4", "disgust"),
        (3, "EP05_01", None, 9, 10, 12, None, "4", "disgust"),
    ]
    fakes.casme2(tmp_path, rows=rows)
    tree = tmp_path / "CASME2_RAW_selected"
    fakes.pictures(tree / "sub09" / "EP09_09", ["img1.jpg", "img2.jpg"])
    (dataset,) = open_datasets("casme2", tmp_path)
    first, other = dataset.samples
    assert (first.onset, first.offset) == (8, 13), "cut to the frames that are there, 9 before 10"
    assert other.label == "others"
    assert sorted(set(kinds(dataset))) == [
        "folder without row",
        "frames out of range",
        "impossible annotation",
        "repeated recording",
        "unknown label",
    ]
    for folder in (tree / "sub02").iterdir():
        folder.rename(tmp_path / folder.name)
    (fewer,) = open_datasets("casme2", tmp_path)
    assert len(fewer) == 1 and kinds(fewer).count("missing folder") == 2


def test_samm_below_its_notes_with_numbers_and_text_for_subjects(composite: Path) -> None:
    (dataset,) = open_datasets("samm", composite / "SAMM_release")
    assert len(dataset) == 133
    first = dataset.samples[0]
    assert (first.subject, first.apex_estimated) == ("006", True), "an apex of -1 is missing"
    assert (first.onset, first.offset) == (8, 11) and first.label == "anger"
    assert first.action_units == ("R4", "7")


def test_smic_takes_its_classes_from_folders_and_leaves_non_micro_alone(composite: Path) -> None:
    (dataset,) = open_datasets("smic-hs", composite)
    assert len(dataset) == 164
    second = dataset.samples[1]
    assert (second.onset, second.offset) == (999_998, 1_000_001), "frames are ordered by number, not by text"
    assert {s.label for s in dataset} == {"negative", "positive", "surprise"}
    assert all(s.apex_estimated for s in dataset)


def test_errors_say_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    with pytest.raises(InputError, match=r"no frames of CASME II.*holiday.*docs/data\.md.*licence"):
        open_datasets("casme2", tmp_path)
    fakes.casme2(tmp_path / "x", rows=fakes.casme2_rows()[:2])
    (tmp_path / "x" / "CASME2-coding-20140508.xlsx").unlink()
    with pytest.raises(InputError, match=r"annotation of CASME II was not found.*--workbook"):
        open_datasets("casme2", tmp_path)
    (tmp_path / "x" / "CASME2-coding-20140508.xlsx").write_bytes(b"no workbook")
    with pytest.raises(InputError, match=r"cannot read the workbook.*it is not an Excel file"):
        open_datasets("casme2", tmp_path)
    with pytest.raises(InputError, match="no dataset 'casme4'; choose casme2"):
        open_datasets("casme4", tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        open_datasets("smic-hs", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"CASME2-coding-20140508.xlsx is a file, not a folder"):
        open_datasets("casme2", tmp_path / "x" / "CASME2-coding-20140508.xlsx")
    with pytest.raises(InputError, match="checked by openmer prepare folder"):
        open_datasets("folder", tmp_path)


@pytest.mark.parametrize(
    ("cell", "units"),
    [
        ("4+7", ("4", "7")),
        ("L12", ("L12",)),
        ("15A+17", ("15A", "17")),
        (12, ("12",)),
        (12.0, ("12",)),
        ("(R6 or R12)+R15", ("R6?", "R12?", "R15")),
        ("AU12+AU6", ("12", "6")),
        ("R12:0.5000+L12:0.4300+R6:0.0000+L6:0.2", ("R12", "L12", "L6")),
        ("?", ()),
        (None, ()),
    ],
)
def test_action_units_as_coders_write_them(cell: object, units: tuple[str, ...]) -> None:
    read_units = read_action_units(cell)[0]
    assert tuple(str(u) for u in read_units) == units
    assert read_action_units("+".join(units))[0] == read_units, "what is written is read again, its doubts too"


def test_per_class_counts_add_up_to_the_totals() -> None:
    for rule in protocols().values():
        if rule.per_class:
            least, most = (sum(pick(v) for v in rule.per_class.values()) for pick in (min, max))
            assert {least, most} == set(rule.totals), rule.name
        assert set(rule.per_class) <= set(rule.classes)
    with pytest.raises(InputError, match="choose casme2-5"):
        protocol("casme2-6")


def test_the_check_counts_recordings_too_short_for_a_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SMIC VIS: a quarter of HS's 11 to 58 frames, all lengths equally often, so 3 to 14 at 25 frames a second."""
    fakes.smic(tmp_path, camera="VIS", length=[round((11 + 47 * k / 70) / 4) for k in range(71)])
    assert run(monkeypatch, "data", "check", "smic-vis", tmp_path) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "71 recordings can be used" in printed
    assert "29 of 71 have fewer frames than a clip: openmer prepare leaves them out, or fills them" in printed


def test_the_check_says_whether_the_counts_are_met(
    composite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "sheet.png"
    command = ("data", "check", "casme2", composite / "CASME2")
    assert run(monkeypatch, *command, "--protocol", "casme2-3", "--sheet", picture) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "148 recordings can be used" in printed and "casme2-3: met" in printed and "casme2-5: not met" in printed
    assert "correction" in printed or "apex estimated" in printed
    image = cv2.imread(str(picture))
    assert image is not None and image.shape == (5 * 146, 8 * 160, 3)
    assert run(monkeypatch, *command) == 1
    assert "counts of casme2-5 are not met" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, *command, "--protocol", "samm-3") == 1
    assert "is for samm" in " ".join(capsys.readouterr().err.split())


def test_one_recording_in_two_folders_or_rows_is_said(tmp_path: Path) -> None:
    """A copy with other frames, two spellings of a row: nobody knows which is meant."""
    row = (1, "EP01_01", None, 9, 10, 12, None, "4", "disgust")
    fakes.casme2(tmp_path / "a", rows=[row])
    tree = tmp_path / "a" / "CASME2_RAW_selected"
    shutil.copytree(tree / "sub01" / "EP01_01", tree / "sub01" / "ep01_01")
    assert len(open_datasets("casme2", tmp_path / "a")[0]) == 1, "both hold the same frames"
    next((tree / "sub01" / "ep01_01").glob("*.jpg")).unlink()
    (dataset,) = open_datasets("casme2", tmp_path / "a")
    assert len(dataset) == 0 and kinds(dataset) == ["several folders"]
    fakes.casme2(tmp_path / "b", rows=[row, (1, "ep01_01", None, 9, 10, 12, None, "4", "happiness")])
    shutil.rmtree(tmp_path / "b" / "CASME2_RAW_selected" / "sub01" / "ep01_01")
    (dataset,) = open_datasets("casme2", tmp_path / "b")
    assert len(dataset) == 0 and kinds(dataset).count("repeated recording") == 2


def test_names_that_contradict_their_folders_are_said(tmp_path: Path) -> None:
    fakes.pictures(tmp_path / "HS" / "s1" / "micro" / "positive" / "s11_ne_01", [f"image{k}.bmp" for k in range(9)])
    (dataset,) = open_datasets("smic-hs", tmp_path)
    assert kinds(dataset) == ["person unclear"] and dataset.samples[0].label == "positive"


def test_a_person_who_is_another_in_the_recordings_name_is_said(tmp_path: Path) -> None:
    row = list(fakes.samm_rows()[1])
    row[0], row[1] = 7, "006_1_9"
    (dataset,) = open_datasets("samm", fakes.samm(tmp_path, rows=[tuple(row)]))
    assert [(f.kind, f.what) for f in dataset.findings if f.kind == "person unclear"] == [
        ("person unclear", "the subject is '7', the name says '006'; using that")
    ]
    assert dataset.samples[0].subject == "006"


@pytest.mark.parametrize("kind", ["", "ME", "3"])
def test_a_movement_that_is_neither_micro_nor_macro_is_left_out(tmp_path: Path, kind: str) -> None:
    row = (1, "disgust1_2", 999, 1000, 1002, 4, "negative", kind, "disgust")
    (dataset,) = open_datasets("casme-sq", fakes.casme_sq(tmp_path, rows=[row, fakes.CASME_SQ_ROWS[0]]))
    assert [s.kind for s in dataset] == ["macro"] and "unknown type" in kinds(dataset)


def test_missing_pictures_make_a_recording_too_short_for_a_clip(tmp_path: Path) -> None:
    fakes.casme2(tmp_path, rows=[(1, "EP01_01", None, 9, 10, 18, None, "4", "disgust")])
    folder = next((tmp_path / "CASME2_RAW_selected").glob("sub01/*"))
    fakes.pictures(folder, [f"img{n}.jpg" for n in range(9, 19)])
    assert shorter_than_a_clip(open_datasets("casme2", tmp_path)[0].samples) == ()
    for number in (13, 14, 15):
        (folder / f"img{number}.jpg").unlink()
    assert len(shorter_than_a_clip(open_datasets("casme2", tmp_path)[0].samples)) == 1, "7 of 10 are there"


@pytest.mark.parametrize(("cell", "frame"), [("1_046", None), ("1.046", None), (566.4000000001, 566), ("46", 46)])
def test_numbers_with_signs_between_their_digits_are_no_frames(cell: object, frame: int | None) -> None:
    assert parse_int(cell) == frame
