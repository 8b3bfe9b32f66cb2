"""Results in other programs' formats, and people's annotations as timelines; every expected value is worked by hand."""

import csv
import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from openmer import InputError, Interval, OutputError, Timeline, read_elan
from openmer.cli import main
from openmer.exchange.boris import rows as boris_rows
from openmer.exchange.boris import to_boris
from openmer.exchange.elan import media_path, to_elan
from openmer.exchange.events import described, lanes, milliseconds, moments
from openmer.exchange.export import export
from openmer.exchange.media import is_of
from openmer.exchange.table import read_table
from openmer.exchange.truth import read_truth

SMIRK = Interval(
    onset_s=1.40049,
    apex_s=1.55,
    offset_s=1.7,
    label="candidate",
    score=1.6,
    peak_px=1.2345,
    regions=("mouth_right", "upper_lip"),
    onset_frame=42,
    apex_frame=46,
    offset_frame=51,
    probabilities={"happiness": 0.6, "none": 0.17, "surprise": 0.23},
)
# seconds        1.4   1.55  1.6  1.7       2.0       3.0  3.1
# candidate      [=====^==========)
# candidate 2               [=====^=========)
# blink                                     [=========)
# no_face                                             [===)
LATER = Interval(onset_s=1.6, apex_s=1.7, offset_s=2.0, label="candidate", regions=("chin",))
BLINK = Interval(onset_s=2.0, apex_s=2.5, offset_s=3.0, label="blink", regions=("eye_right", "eye_left"))
AWAY = Interval(onset_s=3.0, offset_s=3.1, label="no_face")
SAID = {"source": "talk & show.mp4", "engine": "mol-lite", "trained_on": "simulated faces", "caution": "not validated"}


def timeline() -> Timeline:
    return Timeline(intervals=(SMIRK, LATER, BLINK), start_s=0, end_s=4, gaps=(AWAY,), provenance=SAID)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A folder as analyze writes it, with three frames; in the second there is no face."""
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "timeline.json").write_text(timeline().to_json())
    (folder / "frames.csv").write_text(
        "frame,time_s,face_found,track,head_dx_px,head_roll_deg,head_growth_pct,eye_open_right\n"
        "0,0.000000,True,0,0.25,0,0,0.3\n1,0.033333,False,-1,,,,\n2,0.066667,True,1,-0.5,1.5,-0.75,0.31\n"
    )
    return folder


def times_of(path: Path, tier: str) -> list[tuple[float, float]]:
    return [(i.onset_s, i.offset_s) for i in read_elan(path, tier)]


def written(path: Path, **more: str | None) -> Path:
    path.write_bytes(to_elan(timeline(), **more))
    return path


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (SMIRK, "candidate: mouth_right+upper_lip, 1.2 px, p(expression)=0.83"),
        (LATER, "candidate: chin"),
        (AWAY, "no_face"),
        (
            Interval(onset_s=0, offset_s=1, label="x", peak_px=12.4, probabilities={"a": 0.3, "b": 0.7}),
            "x: 12 px, p(b)=0.70",
        ),
        (
            Interval(onset_s=0, offset_s=1, label="x", action_units={"AU4": 0.4, "AU6": 0.6, "AU12": 0.9}),
            "x: AU12+AU6",
        ),
    ],
)
def test_an_interval_is_said_in_a_line(interval: Interval, words: str) -> None:
    assert described(interval) == words


def test_a_table_has_the_units_that_a_network_names() -> None:
    named = Interval(onset_s=0, offset_s=1, label="x", action_units={"AU4": 0.4, "AU6": 0.6, "AU12": 0.9})
    rows = list(csv.DictReader(io.StringIO(Timeline(intervals=(named, LATER), start_s=0, end_s=9).to_csv())))
    assert [row["action_units"] for row in rows] == ["AU12+AU6", ""]
    assert "action_units" not in timeline().to_csv()


def test_milliseconds_are_rounded_and_never_empty() -> None:
    assert milliseconds(SMIRK) == (1400, 1700)
    assert milliseconds(Interval(onset_s=2.0001, offset_s=2.0002, label="x")) == (2000, 2001)
    assert milliseconds(Interval(onset_s=-0.5, offset_s=0.5, label="x")) == (0, 500)


def test_what_overlaps_goes_to_another_lane() -> None:
    assert lanes(timeline()) == {
        "candidate": (SMIRK,),
        "candidate 2": (LATER,),
        "set_aside": (),
        "blink": (BLINK,),
        "large_motion": (),
        "no_face": (AWAY,),
    }


def test_moments_are_numbered_and_joined_where_they_meet() -> None:
    assert moments(timeline()) == (
        (1400, "candidate 1 onset"),
        (1550, "candidate 1 apex"),
        (1600, "candidate 2 onset"),
        (1700, "candidate 1 offset; candidate 2 apex"),
        (2000, "candidate 2 offset"),
    )


def test_elan_has_tiers_media_and_slots_in_order(tmp_path: Path) -> None:
    root = ElementTree.parse(written(tmp_path / "talk.eaf", media="./talk & show.mp4")).getroot()
    assert root.attrib["FORMAT"] == "3.0"
    assert [child.tag for child in root] == ["HEADER", "TIME_ORDER", *["TIER"] * 7, *["LINGUISTIC_TYPE"] * 2]
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.attrib["RELATIVE_MEDIA_URL"] == "./talk & show.mp4" and media.attrib["MIME_TYPE"] == "video/mp4"
    said = {p.attrib["NAME"]: p.text for p in root.findall("HEADER/PROPERTY")}
    assert said["openmer trained_on"] == "simulated faces" and said["lastUsedAnnotationId"] == "9"
    tiers = [t.attrib["TIER_ID"] for t in root.findall("TIER")]
    assert tiers == ["candidate", "candidate 2", "set_aside", "blink", "large_motion", "no_face", "moments"]
    slots = [int(s.attrib["TIME_VALUE"]) for s in root.findall("TIME_ORDER/TIME_SLOT")]
    assert slots == sorted(slots) and len(slots) == 18, "each of 9 annotations has two of its own"
    value = root.find("TIER/ANNOTATION/ALIGNABLE_ANNOTATION/ANNOTATION_VALUE")
    assert value is not None and value.text == "candidate: mouth_right+upper_lip, 1.2 px, p(expression)=0.83"


def test_what_elan_gets_is_read_back_to_the_millisecond(tmp_path: Path) -> None:
    path = written(tmp_path / "talk.eaf")
    assert times_of(path, "candidate") == [(1.4, 1.7), (1.6, 2.0)], "with what overlaps it, on another tier"
    assert times_of(path, "candidate 2") == [(1.6, 2.0)]
    assert times_of(path, "blink") == [(2.0, 3.0)]
    assert times_of(path, "no_face") == [(3.0, 3.1)]
    assert times_of(path, "set_aside") == []
    assert times_of(path, "moments") == [(1.4, 1.44), (1.55, 1.59), (1.6, 1.64), (1.7, 1.74), (2.0, 2.04)]
    read = read_elan(path, "candidate")
    assert [i.label for i in read] == ["candidate", "candidate"]
    assert read.end_s == 3.1 and read.provenance == {"source": "talk.eaf", "tier": "candidate"}


def test_moments_closer_than_they_are_drawn_do_not_overlap(tmp_path: Path) -> None:
    quick = Interval(onset_s=1.0, apex_s=1.005, offset_s=1.03, label="candidate")
    path = tmp_path / "quick.eaf"
    path.write_bytes(to_elan(Timeline(intervals=(quick,), start_s=0, end_s=2)))
    assert times_of(path, "moments") == [(1.0, 1.005), (1.005, 1.03), (1.03, 1.07)]


def test_labels_that_clash_or_cannot_be_written_still_give_a_file(tmp_path: Path) -> None:
    odd = [
        Interval(onset_s=k, offset_s=k + 1.5, label=name)
        for k, name in enumerate(("moments", "a\x00<b>", "x", "x", "x 2"))
    ]
    path = tmp_path / "odd.eaf"
    path.write_bytes(to_elan(Timeline(intervals=tuple(odd), start_s=0, end_s=9)))
    for tier in ("moments", "moments'", "a?<b>", "x", "x 2", "x 2'"):
        read_elan(path, tier)


# What a person's own file looks like: no label on the second annotation, an unaligned one, a tier without times.
PERSONS = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-05-01T10:00:00+01:00" FORMAT="3.0" VERSION="3.0">
  <HEADER TIME_UNITS="{units}"><MEDIA_DESCRIPTOR MEDIA_URL="a.mp4" MIME_TYPE="video/mp4"{origin}/></HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="120"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="480"/>
    <TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="9000"/>
  </TIME_ORDER>
  <TIER TIER_ID="ME" LINGUISTIC_TYPE_REF="t">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>disgust</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="parts" LINGUISTIC_TYPE_REF="t">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="comment" LINGUISTIC_TYPE_REF="t" PARENT_REF="ME">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>sure</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="back" LINGUISTIC_TYPE_REF="t">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts1"/></ANNOTATION>
  </TIER>
  <TIER TIER_ID="lost" LINGUISTIC_TYPE_REF="t" PARENT_REF="parts">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a3"/></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""


def persons(folder: Path, units: str = "milliseconds", origin: str = "") -> Path:
    path = folder / "persons.eaf"
    path.write_text(PERSONS.format(units=units, origin=origin))
    return path


def test_a_persons_tier_is_a_timeline(tmp_path: Path) -> None:
    read = read_elan(persons(tmp_path), "ME")
    assert [(i.onset_s, i.offset_s, i.label) for i in read] == [(0.12, 0.48, "disgust"), (0.48, 9.0, "ME")]
    assert (read.start_s, read.end_s) == (0, 9)
    moved = read_elan(persons(tmp_path, origin=' TIME_ORIGIN="2000"'), "ME")
    assert [(i.onset_s, i.offset_s) for i in moved] == [(2.12, 2.48), (2.48, 11.0)]


@pytest.mark.parametrize(
    ("tier", "said"),
    [
        ("me", r"no tier 'me'; tiers: ME \(2\), parts \(1\), comment \(1\), back \(1\), lost \(1\)"),
        (None, r"several tiers .* tiers: ME \(2\)"),
        ("parts", "a3 of tier 'parts' .* lacks a time"),
        ("lost", "a6 of tier 'lost' .* lacks a time"),
        ("back", "a5 .* lasts from 9000 to 120 ms"),
    ],
)
def test_a_tier_that_cannot_be_read_is_explained(tmp_path: Path, tier: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_elan(persons(tmp_path), tier)


DIVIDED = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT FORMAT="3.0" VERSION="3.0">
  <HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="a.mp4" MIME_TYPE="video/mp4"/></HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="100"/><TIME_SLOT TIME_SLOT_ID="t2"/><TIME_SLOT TIME_SLOT_ID="t3"/>
    <TIME_SLOT TIME_SLOT_ID="t4" TIME_VALUE="700"/><TIME_SLOT TIME_SLOT_ID="t5" TIME_VALUE="900"/>
  </TIME_ORDER>
  <TIER TIER_ID="phases" LINGUISTIC_TYPE_REF="t" PARENT_REF="ME">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2">
      <ANNOTATION_VALUE>rise</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="t2" TIME_SLOT_REF2="t3">
      <ANNOTATION_VALUE>hold</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="t3" TIME_SLOT_REF2="t4">
      <ANNOTATION_VALUE>fall</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="t4" TIME_SLOT_REF2="t5">
      <ANNOTATION_VALUE>rest</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="units" LINGUISTIC_TYPE_REF="s" PARENT_REF="phases">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="b3" ANNOTATION_REF="a2" PREVIOUS_ANNOTATION="b2">
      <ANNOTATION_VALUE>12</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="b1" ANNOTATION_REF="a4">
      <ANNOTATION_VALUE>0</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="b2" ANNOTATION_REF="a2">
      <ANNOTATION_VALUE>6</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER TIER_ID="words" LINGUISTIC_TYPE_REF="s" PARENT_REF="units">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="c1" ANNOTATION_REF="b3">
      <ANNOTATION_VALUE>smile</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>
"""


@pytest.mark.parametrize(
    ("tier", "spans"),
    [
        # 100 to 700 ms are shared by three; the fourth has times of its own.
        ("phases", [("rise", 0.1, 0.3), ("hold", 0.3, 0.5), ("fall", 0.5, 0.7), ("rest", 0.7, 0.9)]),
        # Two share the hold, in the order that the second one states; one has all of the rest.
        ("units", [("6", 0.3, 0.4), ("12", 0.4, 0.5), ("0", 0.7, 0.9)]),
        ("words", [("smile", 0.4, 0.5)]),
    ],
)
def test_annotations_without_times_share_what_they_divide(
    tmp_path: Path, tier: str, spans: list[tuple[str, float, float]]
) -> None:
    path = tmp_path / "divided.eaf"
    path.write_text(DIVIDED)
    read = read_elan(path, tier)
    found = sorted((i.onset_s, i.offset_s, i.label) for i in read)
    assert found == [(pytest.approx(a), pytest.approx(b), label) for label, a, b in spans]
    count = 3 if tier != "words" else 1  # of the phases one end or both are missing in three
    assert f"{count} of {len(spans)} annotations" in read.provenance["warnings"][0]


def test_other_units_of_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PAL-frames"):
        read_elan(persons(tmp_path, units="PAL-frames"), "ME")


BOMB = (
    '<!DOCTYPE a [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10))
    + "]><ANNOTATION_DOCUMENT>&a9;</ANNOTATION_DOCUMENT>"
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ANNOTATION_DOCUMENT>&x;</ANNOTATION_DOCUMENT>',
        '<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd"><ANNOTATION_DOCUMENT/>',
    ],
    ids=["billion laughs", "external entity", "external document type"],
)
def test_a_file_with_a_document_type_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.eaf"
    path.write_text(text)
    with pytest.raises(InputError, match="document type"):
        read_elan(path, "x")


@pytest.mark.parametrize(
    "content", [b"", b"<a", b"<a/>", b"\x00\xff", b"<a>&b;</a>", b'<?xml version="1.0" encoding="no"?><a/>']
)
def test_what_is_no_elan_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.eaf"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not an ELAN file"):
        read_elan(path)
    with pytest.raises(InputError, match="nowhere"):
        read_elan(tmp_path / "nowhere.eaf")


def test_the_video_is_named_from_the_files_own_folder(tmp_path: Path) -> None:
    assert media_path(tmp_path / "talk.mp4", tmp_path / "talk.eaf") == "./talk.mp4"
    assert media_path(tmp_path / "talk.mp4", tmp_path / "elan" / "talk.eaf") == "../talk.mp4"


def test_boris_gets_starts_stops_and_points_in_order() -> None:
    first, second = described(SMIRK), described(LATER)
    assert boris_rows(timeline()) == [
        (1.4, "", "candidate", "", first),
        (1.55, "", "apex", "", first),
        (1.6, "", "candidate 2", "", second),
        (1.7, "", "candidate", "", ""),
        (1.7, "", "apex", "", second),
        (2.0, "", "candidate 2", "", ""),
        (2.0, "", "blink", "", "blink: eye_right+eye_left"),
        (3.0, "", "blink", "", ""),
        (3.0, "", "no_face", "", "no_face"),
        (3.1, "", "no_face", "", ""),
    ]


def test_boris_workbook_has_the_columns_that_it_asks_for(result: Path, tmp_path: Path) -> None:
    export(result, "boris", tmp_path / "talk.xlsx")
    export(result, "boris", tmp_path / "talk.csv")
    book = pd.read_excel(tmp_path / "talk.xlsx", sheet_name=0)
    assert list(book.columns) == ["time", "subject", "code", "modifier", "comment"]
    assert book["time"].tolist() == [1.4, 1.55, 1.6, 1.7, 1.7, 2.0, 2.0, 3.0, 3.0, 3.1]
    assert pd.read_csv(tmp_path / "talk.csv")["code"].tolist() == book["code"].tolist()


def test_the_plain_table_by_hand() -> None:
    rows = list(csv.DictReader(io.StringIO(timeline().to_csv())))
    assert rows[0] == {
        "schema": "openmer.timeline/1",
        "label": "candidate",
        "onset_s": "1.400490",
        "apex_s": "1.550000",
        "offset_s": "1.700000",
        "duration_s": "0.299510",
        "onset_frame": "42",
        "apex_frame": "46",
        "offset_frame": "51",
        "score": "1.6",
        "regions": "mouth_right+upper_lip",
        "peak_px": "1.2345",
        "expression": "happiness",
        "p_happiness": "0.6",
        "p_none": "0.17",
        "p_surprise": "0.23",
    }
    assert rows[1]["peak_px"] == rows[1]["p_none"] == "" and len(rows) == 3


def test_tables_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "timeline.csv").write_text(timeline().to_csv())
    assert [(i.onset_s, i.apex_s, i.offset_s, i.label) for i in read_table(tmp_path / "timeline.csv")] == [
        (i.onset_s, i.apex_s, i.offset_s, i.label) for i in timeline()
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks the column onset_s, offset_s; its columns are: none"),
        ("onset_s,end\n1,2\n", "lacks the column offset_s; its columns are: onset_s, end"),
        ("onset_s,offset_s\n1,2\n\n3,x\n", "line 4: offset_s must be seconds, got 'x'"),
        ("onset_s,offset_s\n1,\n", "line 2: onset_s or offset_s is empty"),
        ("onset_s,offset_s\n2,1\n", "line 2: an interval must end after it begins"),
        ("onset_s,offset_s\n1,inf\n", "line 2: offset_s must be seconds"),
    ],
)
def test_a_wrong_table_is_explained(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_table(path)


def test_a_truth_with_several_labels_needs_one_named(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(timeline().to_json())
    with pytest.raises(InputError, match=r"labels: candidate \(2\), blink \(1\)"):
        read_truth(path)
    with pytest.raises(InputError, match="nothing labelled 'micro'"):
        read_truth(path, "micro")
    assert read_truth(path, "blink").intervals == (BLINK,)
    (tmp_path / "one.csv").write_text("\ufeffOnset_s, offset_s\n1,2\n")
    assert [i.label for i in read_truth(tmp_path / "one.csv")] == ["annotated"]
    with pytest.raises(InputError, match=r"an ELAN \.eaf"):
        read_truth(tmp_path / "truth.txt")


def test_parquet_has_types_units_and_provenance(result: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(result, "parquet", tmp_path / "talk.parquet")
    table = parquet.read_table(tmp_path / "talk.parquet")
    assert table.to_pydict() == {
        "frame": [0, 1, 2],
        "time_s": [0.0, 0.033333, 0.066667],
        "face_found": [True, False, True],
        "track": [0, -1, 1],
        "head_dx_px": [0.25, None, -0.5],
        "head_roll_deg": [0.0, None, 1.5],
        "head_growth_pct": [0.0, None, -0.75],
        "eye_open_right": [0.3, None, 0.31],
    }
    kinds = [str(f.type) for f in table.schema]
    assert kinds == ["int64", "double", "bool", "int64", "double", "double", "double", "double"]
    units = [f.metadata[b"unit"].decode() for f in table.schema]
    assert units == ["1", "s", "1", "1", "px", "degrees", "percent", "1"]
    assert json.loads(table.schema.metadata[b"openmer"])["provenance"] == SAID


def test_without_pyarrow_the_extra_is_named(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"install the extra `parquet`.*pip install pyarrow"):
        export(result, "parquet", tmp_path / "talk.parquet")
    assert not (tmp_path / "talk.parquet").exists()


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "frame,time_s\nx,y\n"])
def test_damaged_frames_are_explained(result: Path, tmp_path: Path, content: str) -> None:
    pytest.importorskip("pyarrow")
    (result / "frames.csv").write_text(content)
    with pytest.raises(InputError, match=r"frames\.csv"):
        export(result, "parquet", tmp_path / "talk.parquet")


def test_an_edited_file_is_not_replaced_unasked(result: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "talk.eaf"
    export(result, "elan", out)
    out.write_text("edited")
    with pytest.raises(OutputError, match="--overwrite"):
        export(result, "elan", out)
    (result / "timeline.json").write_text("{}")
    with pytest.raises(InputError):
        export(result, "elan", out, overwrite=True)
    assert out.read_text() == "edited", "a failed export leaves the older file"
    (result / "timeline.json").write_text(timeline().to_json())
    export(result, "elan", out, overwrite=True)
    assert times_of(out, "candidate") == [(1.4, 1.7), (1.6, 2.0)]
    assert [p.name for p in out.parent.iterdir()] == ["talk.eaf"]


def test_a_wrong_request_is_explained(result: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in \.eaf for elan"):
        export(result, "elan", tmp_path / "talk.xml")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no timeline\.json"):
        export(tmp_path / "none", "elan", tmp_path / "talk.eaf")
    with pytest.raises(InputError, match=r"holds the results of several videos; give one of them, such as .*result"):
        export(tmp_path, "elan", tmp_path / "talk.eaf")
    with pytest.raises(InputError, match="there is no video"):
        export(result, "elan", tmp_path / "talk.eaf", video=tmp_path / "none.mp4")
    with pytest.raises(InputError, match="leave out --video"):
        export(result, "csv", tmp_path / "talk.csv", video=tmp_path / "none.mp4")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["openmer", *map(str, arguments)])
    main()


def test_export_from_the_command_line(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moved.mp4").touch()
    run(monkeypatch, "export", result, "--to", "elan", "--out", tmp_path / "a.eaf", "--video", tmp_path / "moved.mp4")
    run(monkeypatch, "export", result / "timeline.json", "--to", "elan", "--out", tmp_path / "b.eaf")
    found = []
    for name in ("a.eaf", "b.eaf"):
        media = ElementTree.parse(tmp_path / name).find("HEADER/MEDIA_DESCRIPTOR")
        assert media is not None
        found.append(media.attrib["RELATIVE_MEDIA_URL"])
    assert found == ["./moved.mp4", "./talk & show.mp4"]


def test_words_that_begin_like_a_formula_stay_words(tmp_path: Path) -> None:
    timeline = Timeline(intervals=(Interval(label="=joy", onset_s=1, offset_s=2),), start_s=0, end_s=3, provenance={})
    (tmp_path / "a.xlsx").write_bytes(to_boris(timeline))
    assert pd.read_excel(tmp_path / "a.xlsx")["code"].tolist() == ["=joy", "=joy"]


def test_a_percent_sign_in_a_videos_name_is_its_own() -> None:
    assert is_of("take%201.mp4", ["file:///videos/take%25201.mp4"]) and is_of("take%201.mp4", ["./take%201.mp4"])
    assert is_of("take 1.mp4", ["file:///videos/take%201.mp4"]) and not is_of("take 1.mp4", ["take 2.mp4"])
