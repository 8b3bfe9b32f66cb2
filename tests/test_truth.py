"""Annotations of people, as ELAN, BORIS and spreadsheet programs write them: each right value worked by hand."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from openmer import InputError, Interval, Timeline
from openmer.cli import main
from openmer.exchange.elan import read_elan
from openmer.exchange.truth import read_truth

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">{media}</HEADER>
  <TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="368"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="668"/></TIME_ORDER>
  <TIER TIER_ID="ME" LINGUISTIC_TYPE_REF="t"><ANNOTATION>
    <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>
"""
SOUND = ("file:///C:/data/voice.wav", "audio/x-wav", 0)
VIDEO = ("file:///D:/study%201/Talk%20A.MP4", "video/mp4", 1000)
OTHER = ("./side.mp4", "video/mp4", 250)


def eaf(folder: Path, *media: tuple[str, str, int]) -> Path:
    path = folder / "a.eaf"
    described = ""
    for url, kind, origin in media:
        since = f' TIME_ORIGIN="{origin}"' if origin else ""
        described += f'<MEDIA_DESCRIPTOR MEDIA_URL="{url}" MIME_TYPE="{kind}"{since}/>'
    path.write_text(EAF.format(media=described))
    return path


@pytest.mark.parametrize(
    ("media", "video", "onset"),
    [
        ((), "talk a.mp4", 0.368),
        ((SOUND, VIDEO), None, 1.368),
        ((SOUND, VIDEO), "talk a.mp4", 1.368),
        ((SOUND, VIDEO), "Talk A.avi", 1.368),
        ((SOUND, VIDEO, OTHER), "Talk A.MP4", 1.368),
        ((VIDEO, OTHER, SOUND), "side.mp4", 0.618),
        ((OTHER,), None, 0.618),
    ],
)
def test_times_count_from_the_origin_of_the_analysed_media(
    tmp_path: Path, media: tuple[tuple[str, str, int], ...], video: str | None, onset: float
) -> None:
    timeline = read_elan(eaf(tmp_path, *media), video=video)
    assert [(i.onset_s, i.offset_s) for i in timeline] == [pytest.approx((onset, onset + 0.3))]
    assert "warnings" not in timeline.provenance


def test_origins_that_cannot_be_matched_are_refused(tmp_path: Path) -> None:
    for video in ("another.mp4", None):
        with pytest.raises(InputError, match=r"start at different moments \(Talk A.MP4, side.mp4\)"):
            read_elan(eaf(tmp_path, VIDEO, OTHER), video=video)


def test_the_annotation_of_another_video_is_told(tmp_path: Path) -> None:
    timeline = read_elan(eaf(tmp_path, OTHER), video="talk.mp4")
    assert timeline.provenance["warnings"] == [
        "a.eaf annotates side.mp4, not talk.mp4; is it the annotation of another video?"
    ]
    assert "warnings" not in read_elan(eaf(tmp_path, OTHER), video="frames").provenance, (
        "a folder is no media of ELAN's"
    )


AGGREGATED = [
    "Observation id",
    "Time offset (s)",
    "Subject",
    "Behavior",
    "Behavior type",
    "Start (s)",
    "Stop (s)",
    "Duration (s)",
    "Media file name",
]
STATES = [
    ["o1", "0.0", "p1", "micro", "STATE", "1.368", "1.668", "0.3", "C:\\data\\talk.mp4"],
    ["o1", "0.0", "p1", "macro", "STATE", "3.5", "5.0", "1.5", "C:\\data\\talk.mp4"],
    ["o1", "0.0", "p1", "apex", "POINT", "1.5", "1.5", "0", "C:\\data\\talk.mp4"],
]
TABULAR = ["Observation id", "Time offset (s)", "Subject", "Behavior", "Behavior type", "Time", "Media file name"]
EVENTS = [
    ["o1", "0", "p1", "micro", "START", "1.368", "talk.mp4"],
    ["o1", "0", "p1", "apex", "POINT", "1.5", "talk.mp4"],
    ["o1", "0", "p1", "micro", "STOP", "1.668", "talk.mp4"],
    ["o1", "0", "p1", "macro", "START", "0:03.5", "talk.mp4"],
    ["o1", "0", "p1", "macro", "STOP", "0:00:05.0", "talk.mp4"],
]


def export(path: Path, columns: list[str], rows: list[list[str]], offset: str = "0") -> Path:
    table = pd.DataFrame(rows, columns=columns)
    table["Time offset (s)"] = offset
    if path.suffix == ".xlsx":
        table.to_excel(path, index=False)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["e.csv", "e.tsv", "e.xlsx"])
@pytest.mark.parametrize(("columns", "rows"), [(AGGREGATED, STATES), (TABULAR, EVENTS)], ids=["aggregated", "tabular"])
def test_events_that_boris_exports_are_truth(
    tmp_path: Path, name: str, columns: list[str], rows: list[list[str]]
) -> None:
    path = export(tmp_path / name, columns, rows)
    truth = read_truth(path, "micro", "talk.mp4")
    assert [(i.onset_s, i.offset_s, i.label) for i in truth] == [(1.368, 1.668, "micro")]
    assert [(i.onset_s, i.offset_s) for i in read_truth(path, "macro")] == [(3.5, 5.0)]
    assert truth.provenance == {"source": name, "tier": "micro"}


def test_a_time_offset_of_boris_is_taken_off(tmp_path: Path) -> None:
    moved = [[*row[:5], *(f"{float(t) + 5400:.3f}" for t in row[5:7]), *row[7:]] for row in STATES]
    truth = read_truth(export(tmp_path / "e.csv", AGGREGATED, moved, "5400"), "micro", "talk.mp4")
    assert [(i.onset_s, i.offset_s) for i in truth] == [pytest.approx((1.368, 1.668))]


def test_an_older_export_with_lines_above_the_header(tmp_path: Path) -> None:
    path = tmp_path / "e.tsv"
    above = "Observation id\to1\n\nMedia file(s)\nPlayer #1\ttalk.mp4\n\n"
    rows = "Time\tMedia file path\tSubject\tBehavior\tComment\tStatus\n"
    rows += "1.368\ttalk.mp4\t\tmicro\t\tSTART\n1.668\ttalk.mp4\t\tmicro\t\tSTOP\n"
    path.write_text(above + rows)
    assert [(i.onset_s, i.offset_s) for i in read_truth(path)] == [(1.368, 1.668)]


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        (TABULAR, EVENTS[:1], "line 2: the state 'micro' does not stop"),
        (TABULAR, EVENTS[2:3], "line 2: a start and a stop of 'micro'"),
        (TABULAR, EVENTS[1:2], "point events only"),
        (AGGREGATED, STATES[2:], "point events only"),
        (AGGREGATED, [[*STATES[0][:6], "NA", *STATES[0][7:]]], "line 2: .* is empty; fix unpaired events"),
        (AGGREGATED, [STATES[0], ["o2", *STATES[1][1:]]], "several observations"),
        (AGGREGATED, [STATES[0], [*STATES[1][:-1], "second.mp4"]], "several observations or media files"),
    ],
)
def test_events_that_cannot_be_read_are_explained(
    tmp_path: Path, columns: list[str], rows: list[list[str]], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_truth(export(tmp_path / "e.csv", columns, rows))


def test_events_of_other_media_are_left_out_or_told(tmp_path: Path) -> None:
    second = ["o2", *STATES[0][1:5], "9.0", "9.5", "0.5", "second.mp4"]
    path = export(tmp_path / "e.csv", AGGREGATED, [STATES[0], second])
    assert [i.onset_s for i in read_truth(path, "micro", "second.mp4")] == [9.0]
    at_zero = ["o1", *STATES[0][1:5], "0.0", "0.2", "0.2", "not found"]
    path = export(tmp_path / "e.csv", AGGREGATED, [at_zero, STATES[0]])
    assert [i.onset_s for i in read_truth(path, "micro", "talk.mp4")] == [0.0, 1.368]
    alone = read_truth(export(tmp_path / "e.csv", AGGREGATED, [second]), video="talk.mp4")
    assert "annotates second.mp4, not talk.mp4" in alone.provenance["warnings"][0]


@pytest.mark.parametrize(
    "content",
    [
        b"onset_s;offset_s;label\n1,368;1,668;micro\n",
        b"onset_s\toffset_s\tlabel\n1,368\t1,668\tmicro\n",
        b"sep=;\nOnset_s; Offset_s; Label\n1,368;1,668;micro\n",
        b"\xef\xbb\xbfonset_s,offset_s,label\r\n1.368,1.668,micro\r\n",
        "onset_s;offset_s;label\n1,368;1,668;micro\n".encode("utf-16"),
        "onset_s;offset_s;label\n１,３６８;１,６６８;micro\n".encode(),
    ],
    ids=["semicolons", "tabs", "sep=", "byte order mark", "UTF-16", "full-width digits"],
)
def test_tables_of_other_countries_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert [(i.onset_s, i.offset_s, i.label) for i in read_truth(path)] == [(1.368, 1.668, "micro")]


def test_decimal_commas_between_commas_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("onset_s,offset_s,label\n1,368,1,668,micro\n")
    with pytest.raises(InputError, match="line 2: it has 5 cells, the header 3"):
        read_truth(path)


def test_score_warns_of_another_video_and_cuts_no_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    regions = ("inner_brow_right", "outer_brow_right", "inner_brow_left", "outer_brow_left")
    hit = Interval(onset_s=0.4, offset_s=0.9, label="candidate", regions=regions)
    result = Timeline(intervals=(hit,), start_s=0, end_s=4, provenance={"source": "talk.mp4"})
    (tmp_path / "timeline.json").write_text(result.to_json())
    monkeypatch.setattr(sys, "argv", ["openmer", "score", str(tmp_path), "--truth", str(eaf(tmp_path, OTHER))])
    main()
    said = capsys.readouterr().out
    assert "warning: a.eaf annotates side.mp4, not talk.mp4" in said
    assert all(region in said for region in regions)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            "00:00:01:15,00:00:02:00",
            "must be seconds, got '00:00:01:15'; frames in a time code are not read",
        ),  # a time code: 1 s and 15 frames
        ("0:75:01,1:00:00", "must be seconds, got '0:75:01'"),
        ('"1,368","1,500"', "1,368 may be 1.368 or 1368 seconds"),
        ("NA,2", "onset_s or offset_s is empty"),
    ],
)
def test_times_that_may_mean_two_things_are_refused(tmp_path: Path, cells: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(f"onset_s,offset_s\n{cells}\n")
    with pytest.raises(InputError, match=said):
        read_truth(tmp_path / "t.csv")


def test_times_with_minutes_and_cells_without_a_value_are_read(tmp_path: Path) -> None:
    rows = '00:01.5,,00:02.25\n1:00:00.5,NA,1:00:01\n"0,368",n/a,75:30\n'
    (tmp_path / "t.csv").write_text(f"onset_s,apex_s,offset_s\n{rows}")
    marks = [(i.onset_s, i.apex_s, i.offset_s) for i in read_truth(tmp_path / "t.csv")]
    assert marks == [(0.368, None, 4530), (1.5, None, 2.25), (3600.5, None, 3601)]


def test_a_formula_without_a_result_is_not_taken_for_an_empty_row(tmp_path: Path) -> None:
    """A script that writes a workbook stores no results: there would be nothing annotated, in silence."""
    sheet = pd.DataFrame({"onset_s": [1, "=41/29.97"], "offset_s": [2, "=45/29.97"]})
    sheet.to_excel(tmp_path / "t.xlsx", index=False)
    with pytest.raises(InputError, match=r"line 3: =41/29.97 has no result; open and save"):
        read_truth(tmp_path / "t.xlsx")


def test_events_of_several_subjects_are_told(tmp_path: Path) -> None:
    rows = "".join(f"o,{who},talk.mp4,smile,STATE,{at},{at + 1}\n" for who, at in (("mother", 1), ("child", 4)))
    header = "Observation id,Subject,Media file name,Behavior,Behavior type,Start (s),Stop (s)\n"
    (tmp_path / "e.csv").write_text(header + rows)
    truth = read_truth(tmp_path / "e.csv", video="talk.mp4")
    assert [i.onset_s for i in truth] == [1, 4]
    assert truth.provenance["warnings"] == [
        "e.csv has events of several subjects, child, mother, which are taken together"
    ]
