"""A user's own table: every way in which a row can be wrong is named."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from footage import write_video
from openmer import InputError
from openmer.datasets.folder import FolderDataset


def table(
    root: Path,
    *rows: str,
    header: str = "subject,sample,source,fps,label,onset,apex,offset,action_units",
    touch: bool = True,
) -> Path:
    for name in ("a", "c", "d"):
        (root / name).mkdir(exist_ok=True)
    if touch:
        (root / "b.mp4").write_bytes(b"")
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
    for number in range(5, 20):
        (root / "a" / f"img{number:03d}.png").write_bytes(b"picture")
    with pytest.raises(InputError, match="line 2: frame 20 lies beyond the last picture of a, 19"):
        FolderDataset(root)
    with pytest.raises(InputError, match="line 2: frame 4 lies before the first picture of a, 5"):
        FolderDataset(table(root, "1,x,a,200,,4,10,19,"))


def test_how_spreadsheets_save_tables_elsewhere(tmp_path: Path) -> None:
    """Semicolons and decimal commas, tabs in UTF-16, a line that names the separator; Windows' signs in paths."""
    table(tmp_path)
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "Jörg").mkdir()
    rows = "subject;sample;source;fps;onset;apex;offset\r\nJörg;x;faces\\Jörg;59,94;46,0;47;４８\r\n;;;;;;\r\n"
    contents = (
        rows.encode(),
        b"\xef\xbb\xbf" + rows.encode(),
        f"sep=;\r\n{rows}".encode(),
        rows.replace(";", "\t").encode("utf-16"),
    )
    for content in contents:
        (tmp_path / "samples.csv").write_bytes(content)
        (sample,) = FolderDataset(tmp_path)
        assert (sample.subject, sample.fps) == ("Jörg", Fraction(5994, 100))
        assert (sample.onset, sample.apex, sample.offset) == (46, 47, 48)
        assert sample.source == (tmp_path / "faces" / "Jörg").resolve()
    (tmp_path / "samples.csv").write_bytes("subject,sample,source,fps\nJörg,x,a,25\n".encode("cp1252"))
    with pytest.raises(InputError, match="save it as CSV UTF-8"):
        FolderDataset(tmp_path)


@pytest.mark.parametrize("first", [True, False])
def test_a_row_longer_than_the_header_is_refused(tmp_path: Path, first: bool) -> None:
    """Such as one with a decimal comma between commas."""
    rows = ["1,x,a,29,97,joy,3,10,20,4", "1,y,a,25,joy,3,10,20,4"]
    with pytest.raises(InputError, match=r"line [23]: it has 10 cells, the header 9; put a cell with a"):
        FolderDataset(table(tmp_path, *(rows if first else rows[::-1])))
    quoted = table(tmp_path, '1,x,a,"29,97",joy,3,10,20,4,,', "1,y,a,25")
    first_row, second_row = FolderDataset(quoted)
    assert first_row.fps == Fraction(2997, 100) and second_row.onset is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("01", "1"), ("1.0", "1"), ("P3", "p3"), ("p03", "P3"), ("１", "1"), ("sub01", "sub_1"), ("sub 1", "Sub-01")),
        *(("anna  b", "anna b"), ("P3.0", "P3"), ('"1,0"', "01")),
    ],
)
def test_one_person_under_two_names_is_refused(tmp_path: Path, one: str, other: str) -> None:
    """A spreadsheet program makes 1 of 01; each would be a person of their own, on both sides of a split."""
    with pytest.raises(InputError, match=r"line 3: the subjects .* look like one person"):
        FolderDataset(table(tmp_path, f"{one},x,a,25", f"{other},y,c,25"))
    assert len(FolderDataset(table(tmp_path, "p10,x,a,25", "p1,y,c,25", "p1_0,z,d,25"))) == 3


def test_one_recording_of_two_people_is_refused(tmp_path: Path) -> None:
    """A copied cell would put one face on both sides of a split."""
    with pytest.raises(InputError, match=r"line 3: the recording is listed for 'anna' and 'ben'"):
        FolderDataset(table(tmp_path, "anna,x,a,25", "ben,y,a,25"))
    assert len(FolderDataset(table(tmp_path, "anna,x,a,25,joy,1,,5", "anna,y,a,25,joy,10,,15"))) == 2


@pytest.mark.parametrize("marks", ["3,,", ",5,", ",,9", "3,5,", ",5,9"])
def test_an_onset_needs_an_offset(tmp_path: Path, marks: str) -> None:
    """All the rest of a recording would be the expression."""
    with pytest.raises(InputError, match=r"line 2: give onset and offset, or neither"):
        FolderDataset(table(tmp_path, f"1,x,a,25,joy,{marks}"))


def test_no_expression_is_none_however_it_is_written(tmp_path: Path) -> None:
    (sample,) = FolderDataset(table(tmp_path, "1,x,a,25,None"))
    assert sample.label == "none"


def test_a_label_in_two_spellings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 3: the labels 'joy' and 'Joy' would be two classes"):
        FolderDataset(table(tmp_path, "1,x,a,25,joy", "2,y,c,25,Joy"))
    with pytest.raises(InputError, match=r"line 3: the labels 'happy' and 'Happiness' would be two classes"):
        FolderDataset(table(tmp_path, "1,x,a,25,happy", "2,y,c,25,Happiness"))
    assert [s.label for s in FolderDataset(table(tmp_path, "1,x,a,25,joy", "2,y,c,25,fear"))] == ["joy", "fear"]


def test_one_picture_is_no_recording(tmp_path: Path) -> None:
    root = table(tmp_path, "1,x,a/img1.png,25")
    (root / "a" / "img1.png").write_bytes(b"picture")
    with pytest.raises(InputError, match="is one picture; give the folder"):
        FolderDataset(root)


def test_the_same_column_twice_and_a_windows_drive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than one column fps"):
        FolderDataset(table(tmp_path, "1,x,a,25,30", header="subject,sample,source,fps,FPS"))
    with pytest.raises(InputError, match="is a Windows computer's; write it relative"):
        FolderDataset(table(tmp_path, "1,x,C:\\data\\a,25,,,,,"))


def test_a_rate_that_contradicts_the_file_is_a_wrong_row(tmp_path: Path) -> None:
    """60 a second declared as 30; 59.94 is near enough, and slow motion may be declared as it was filmed."""
    levels = [np.full((48, 64, 3), 100 + k, np.uint8) for k in range(12)]
    root = table(tmp_path)
    write_video(root / "b.mp4", levels, Fraction(60))
    with pytest.raises(InputError, match=r"line 2: fps is 30, but b\.mp4 has 60 frames a second"):
        FolderDataset(table(root, "1,x,b.mp4,30,,,,,", touch=False))
    assert FolderDataset(table(root, '1,x,b.mp4,"59,94",,,,,', touch=False)).samples[0].fps == Fraction(5994, 100)


def test_slow_motion_may_be_declared_as_it_was_filmed(tmp_path: Path) -> None:
    root = table(tmp_path)
    with av.open(str(root / "b.mp4"), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["com.android.capture.fps"] = "240.0"
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 100 + k, np.uint8))))
        container.mux(stream.encode())
    for rate in ("30", "240"):
        assert FolderDataset(table(root, f"1,x,b.mp4,{rate},,,,,", touch=False)).samples[0].fps == int(rate)
    with pytest.raises(InputError, match=r"fps is 120, but b\.mp4 has 30 or 240 frames a second"):
        FolderDataset(table(root, "1,x,b.mp4,120,,,,,", touch=False))


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
    ("row", "reason"),
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
        ("1,x,a,200,,1.000,,,", "onset must be the number"),  # 1000 in other countries
        ("1,x,a,200,,15.02.1900,,,", "onset must be the number"),
        ("1,x,a,200,,,,,4.7", "action_units: '4.7' is not an action unit"),
    ],
)
def test_each_wrong_row_is_named_with_its_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    root = table(tmp_path, "1,good,a,200,,,,,", row)
    with pytest.raises(InputError, match=reason) as caught:
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
    with pytest.raises(InputError, match="lacks the column subject, sample, source, fps; its columns are: none"):
        FolderDataset(tmp_path)


@pytest.mark.parametrize(
    "names", ["onset_frame,apex_frame,offset_frame,AU", "OnsetFrame,Apex Frame,OFFSET,Action Units"]
)
def test_columns_are_known_by_their_names_in_other_tables(tmp_path: Path, names: str) -> None:
    """Those of `timeline.csv` and of workbooks: left unread, the whole recording would be the expression."""
    (sample,) = FolderDataset(table(tmp_path, "1,x,a,200,3,10,20,R12+L4", header=f"subject,sample,source,fps,{names}"))
    assert (sample.onset, sample.apex, sample.offset, sample.action_units) == (3, 10, 20, ("R12", "L4"))


@pytest.mark.parametrize("name", ["onset_s", "Onset (ms)", "apex time", "offset_picture"])
def test_marks_in_other_units_are_not_passed_over(tmp_path: Path, name: str) -> None:
    root = table(tmp_path, "1,x,a,200,0.5", header=f"subject,sample,source,fps,{name}")
    with pytest.raises(InputError, match=r"is not read; a column (onset|apex|offset) must hold the numbers of frames"):
        FolderDataset(root)
    assert FolderDataset(
        table(tmp_path, "1,x,a,200,3,9,.5", header="subject,sample,source,fps,onset,offset,onset_s")
    ).samples


def test_a_rate_that_may_be_a_thousand_or_one_is_refused(tmp_path: Path) -> None:
    for rate, said in (("1.000", "may be 1000 or 1 and"), ('"2,500"', "may be 2500 or 2 and")):
        with pytest.raises(InputError, match=said):
            FolderDataset(table(tmp_path, f"1,x,a,{rate}", header="subject,sample,source,fps"))
    (sample,) = FolderDataset(table(tmp_path, "1,x,a,59.940", header="subject,sample,source,fps"))
    assert sample.fps == Fraction(5994, 100)
