"""A user's own table: every way in which a row can be wrong is named."""

from fractions import Fraction
from pathlib import Path

import pytest

from openmer import InputError
from openmer.datasets.folder import FolderDataset


def table(
    root: Path, *rows: str, header: str = "subject,sample,source,fps,label,onset,apex,offset,action_units"
) -> Path:
    (root / "a").mkdir(exist_ok=True)
    (root / "b.mp4").touch()
    (root / "samples.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_a_good_table(tmp_path: Path) -> None:
    root = table(tmp_path, "01,x,a,200,joy,3,10,20,R12+L4", "01,y,b.mp4,30000/1001,,,,,")
    first, second = FolderDataset(root, name="mine")
    assert first.key == ("mine", "01", "x"), "leading zeros stay"
    assert (first.onset, first.apex, first.offset, first.label) == (3, 10, 20, "joy")
    assert first.action_units == ("R12", "L4") and first.source == (tmp_path / "a").resolve()
    assert second.fps == Fraction(30000, 1001) and second.label is None and second.onset is None


def test_simulated_people_are_known_as_such_and_no_others(tmp_path: Path) -> None:
    root = table(tmp_path, "p1-00000,x,a,200,joy,3,10,20,R12")
    with pytest.raises(InputError, match="rename the folder"):
        FolderDataset(root, name="simulated")
    (root / "dataset.json").write_text('{"simulated": true}')
    assert [s.dataset for s in FolderDataset(root, name="mine")] == ["simulated"]
    (root / "dataset.json").write_text('{"simulated": ')
    with pytest.raises(InputError, match="by which simulated faces are known"):
        FolderDataset(root)
    (root / "dataset.json").write_text("[]")
    assert [s.dataset for s in FolderDataset(root, name="mine")] == ["mine"]


def test_marks_beyond_the_last_picture_are_a_wrong_row(tmp_path: Path) -> None:
    root = table(tmp_path, "1,x,a,200,,3,10,20,")
    for number in range(20):
        (root / "a" / f"img{number:03d}.png").write_bytes(b"picture")
    with pytest.raises(InputError, match="line 2: frame 20 lies beyond the last picture of a, 19"):
        FolderDataset(root)


def test_how_spreadsheets_save_tables_otherwise_is_said(tmp_path: Path) -> None:
    table(tmp_path)
    (tmp_path / "samples.csv").write_bytes("subject,sample,source,fps\nJörg,x,a,25\n".encode("cp1252"))
    with pytest.raises(InputError, match="save it as CSV UTF-8"):
        FolderDataset(tmp_path)
    (tmp_path / "samples.csv").write_text("subject;sample;source;fps\n1;x;a;25\n")
    with pytest.raises(InputError, match="separate the columns by commas"):
        FolderDataset(tmp_path)


def test_a_recording_behind_a_link_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine").mkdir()
    root = table(tmp_path / "mine", "1,x,linked,200,,,,,")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="it is reached by a link, so copy it here"):
        FolderDataset(root)
    table(root, "1,x,../elsewhere,200,,,,,")
    with pytest.raises(InputError, match=r"lies outside of the dataset's folder, at .*elsewhere$"):
        FolderDataset(root)


def test_a_byte_order_mark_and_loose_headers_are_read(tmp_path: Path) -> None:
    table(tmp_path)
    (tmp_path / "samples.csv").write_text("\ufeffSubject, Sample ,SOURCE,fps\n1,x,a,25\n")
    assert len(FolderDataset(tmp_path)) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",x,a,200,,,,,", "subject is empty"),
        ("1,x,nowhere,200,,,,,", "nothing at"),
        ("1,x,../../etc,200,,,,,", "outside of the dataset"),
        ("1,x,/etc,200,,,,,", "outside of the dataset"),
        ("1,x,a,fast,,,,,", "fps must be a number"),
        ("1,x,a,-3,,,,,", "above 0"),
        ("1,x,a,200,,ten,,,", "onset must be the number"),
        ("1,x,a,200,,1.5,,,", "onset must be the number"),
        ("1,x,a,200,,-1,,,", "onset must be the number"),
        ("1,x,a,200,,9,5,20,", "must rise, got 9, 5, 20"),
        ("1,x,a,200,,inf,,,", "onset must be the number"),
    ],
)
def test_each_wrong_row_is_named_with_its_line_and_reason(tmp_path: Path, row: str, said: str) -> None:
    root = table(tmp_path, "1,good,a,200,,,,,", row)
    with pytest.raises(InputError, match=said) as caught:
        FolderDataset(root)
    assert "line 3" in str(caught.value) and "line 2" not in str(caught.value)


def test_the_same_recording_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same subject and sample as in line 2"):
        FolderDataset(table(tmp_path, "1,x,a,200,,,,,", "1,x,b.mp4,200,,,,,"))


def test_tables_that_are_missing_empty_or_lack_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no samples\.csv"):
        FolderDataset(tmp_path)
    with pytest.raises(InputError, match="lacks the column fps"):
        FolderDataset(table(tmp_path, "1,x,a", header="subject,sample,source"))
    with pytest.raises(InputError, match="lists no recordings"):
        FolderDataset(table(tmp_path))
    (tmp_path / "samples.csv").write_text("")
    with pytest.raises(InputError, match="cannot read"):
        FolderDataset(tmp_path)
