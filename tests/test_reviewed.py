"""Reviewed annotations out to other programs and in again; every expected value is worked by hand."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from footage import write_video
from openmer.datasets.folder import FolderDataset
from openmer.errors import InputError
from openmer.exchange.truth import read_truth
from openmer.facs import ActionUnit
from openmer.media.identity import source_digest
from openmer.review.annotations import Annotation, read_annotations, review_from, understood, worded
from openmer.review.document import Add, Set, apply_change, new_review, read_review, review_path
from openmer.review.export import export_reviewed
from openmer.review.frames import FrameTimes
from openmer.review.samples import check_one_video_a_name, read_subjects, subject_of
from openmer.review.saving import write_review
from openmer.timeline import Clock, Interval, Timeline, read_timeline
from terminal import run

FPS = 30
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="Kim" DATE="2026-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/videos/talk.mp4"
MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./talk.mp4"/></HEADER>"""


def candidate(onset_frame: int) -> Interval:
    """Twelve frames, its apex in the middle."""
    first, apex, last = onset_frame, onset_frame + 6, onset_frame + 12
    return Interval(
        label="candidate",
        onset_s=round(first / FPS, 6),
        apex_s=round(apex / FPS, 6),
        offset_s=round(last / FPS, 6),
        onset_frame=first,
        apex_frame=apex,
        offset_frame=last,
    )


def write_result(folder: Path, video: str = "talk.mp4") -> Path:
    """Candidates e1 to e3 at 1, 3 and 5 s (frames 30, 90, 150) in 240 frames."""
    folder.mkdir(parents=True)
    timeline = Timeline(
        intervals=tuple(candidate(k) for k in (30, 90, 150)),
        start_s=0,
        end_s=8,
        clock=Clock(fps=FPS),
        provenance={"source": video, "settings": {"fps": None}},
    )
    (folder / "timeline.json").write_text(timeline.to_json())
    frames = np.arange(240)
    pd.DataFrame({"frame": frames, "time_s": np.round(frames / FPS, 6)}).to_csv(folder / "frames.csv", index=False)
    return folder


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return write_result(tmp_path / "talk")


def units(*written: str) -> list[dict[str, Any]]:
    return [{"number": int(w[1:-1]), "side": w[0].strip(), "intensity": w[-1]} for w in written]


def reviewed(result: Path, coder: str = "ada") -> Path:
    """e1 accepted as happiness from 1.1 s (frame 33), e2 rejected, e3 accepted without a name, e4 added at 6 s."""
    review = new_review(result, coder)
    happy = {"verdict": "accepted", "expression": "happiness", "onset_s": 1.1, "onset_frame": 33}
    changes = [
        Set(entry="e1", values={**happy, "action_units": units("L12C", " 6B"), "note": "after the question"}),
        Set(entry="e2", values={"verdict": "rejected"}),
        Set(entry="e3", values={"verdict": "accepted"}),
        Add(values={"onset_s": 6.0, "offset_s": 6.3, "onset_frame": 180, "offset_frame": 189, "expression": "Fear"}),
    ]
    for change in changes:
        review = apply_change(review, change)
    path = review_path(result, coder)
    write_review(path, review, replaces=None)
    return path


def foreign(path: Path, spans: list[tuple[int, int, str]], tier: str = "micro") -> Path:
    """An .eaf as a person would have it."""
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="t{2 * k + side}" TIME_VALUE="{span[side]}"/>'
        for k, span in enumerate(spans)
        for side in (0, 1)
    )
    marks = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{k}" TIME_SLOT_REF1="t{2 * k}" '
        f'TIME_SLOT_REF2="t{2 * k + 1}">'
        f"<ANNOTATION_VALUE>{words}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for k, (_, _, words) in enumerate(spans)
    )
    path.write_text(
        f'{HEAD}<TIME_ORDER>{slots}</TIME_ORDER><TIER TIER_ID="{tier}" LINGUISTIC_TYPE_REF="x">{marks}</TIER>'
        '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="x" TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>'
    )
    return path


def spans_of(path: Path, tier: str) -> list[tuple[int, int, str]]:
    """What a tier holds, read by nothing of ours."""
    root = ElementTree.parse(path).getroot()
    times = {s.attrib["TIME_SLOT_ID"]: int(s.attrib["TIME_VALUE"]) for s in root.iter("TIME_SLOT")}
    (element,) = (t for t in root.iter("TIER") if t.attrib["TIER_ID"] == tier)
    return [
        (times[a.attrib["TIME_SLOT_REF1"]], times[a.attrib["TIME_SLOT_REF2"]], a.findtext("ANNOTATION_VALUE") or "")
        for a in element.iter("ALIGNABLE_ANNOTATION")
    ]


SPANS = [
    (437, 702, "Happiness"),
    (1013, 1391, "surprise: R1B+2C; before the answer"),
    (2001, 2002, ""),
    (3333, 3777, "?: says so: twice"),
    (5550, 5999, ": 4+7"),
    (6100, 6400, "12"),
]


def test_elan_to_a_review_to_elan_changes_nothing(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = foreign(tmp_path / "kim.eaf", SPANS)
    assert run(monkeypatch, "review", result, "--coder", "micro", "--import", given) == 0
    out = tmp_path / "out.eaf"
    assert run(monkeypatch, "export", result, "--reviewed", "--coder", "micro", "--to", "elan", "--out", out) == 0
    assert spans_of(out, "micro") == SPANS
    again = read_annotations(out, "micro", "talk.mp4")
    assert [a.interval for a in again.rows] == [a.interval for a in read_annotations(given, "micro", "talk.mp4").rows]


def test_a_review_to_elan_to_a_review_keeps_all_that_was_accepted(result: Path, tmp_path: Path) -> None:
    before = read_review(reviewed(result))
    export_reviewed(result, before, "elan", tmp_path / "ada.eaf")
    assert spans_of(tmp_path / "ada.eaf", "ada") == [
        (1100, 1400, "happiness: L12C+6B; after the question"),
        (5000, 5400, ""),
        (6000, 6300, "Fear"),
    ]
    after = review_from(result, read_annotations(tmp_path / "ada.eaf", None, "talk.mp4").rows, "again", complete=True)
    kept = ("origin", "onset_s", "apex_s", "offset_s", "onset_frame", "apex_frame", "offset_frame", "expression")
    for old, new in zip(before.entries, after.entries, strict=True):
        assert (old.id, old.verdict, old.note, old.action_units) == (new.id, new.verdict, new.note, new.action_units)
        assert [getattr(old, name) for name in kept] == [getattr(new, name) for name in kept]


def test_what_meets_a_candidate_is_that_candidate(result: Path) -> None:
    """
    seconds      1.0      1.4      3.0       3.4      5.0 5.4
    candidates   e1       |        e2        |        e3  |
    annotated      1.1    1.5                  3.3    3.7           IoU .3 / .5 and .1 / .7
    """
    near = Annotation(interval=Interval(label="", onset_s=1.1, apex_s=1.21, offset_s=1.5), expression="joy")
    far = Annotation(interval=Interval(label="", onset_s=3.3, offset_s=3.7))
    review = review_from(result, [near, far], "kim")
    assert [(e.id, e.origin, e.verdict, e.onset_s, e.onset_frame, e.apex_frame) for e in review.entries] == [
        ("e1", "candidate", "accepted", 1.1, 33, 36),
        ("e2", "candidate", "none", 3.0, 90, 96),
        ("e4", "added", "accepted", 3.3, 99, None),
        ("e3", "candidate", "none", 5.0, 150, 156),
    ]
    assert review.entry("e1").machine == new_review(result).entry("e1").machine
    whole = review_from(result, [near, far], "kim", complete=True)
    assert [whole.entry(e).verdict for e in ("e1", "e2", "e3", "e4")] == [
        "accepted",
        "rejected",
        "rejected",
        "accepted",
    ]
    assert len(whole.history) == 4, "each can be undone"
    outside = Annotation(interval=Interval(label="", onset_s=8.5, offset_s=9))
    with pytest.raises(InputError, match=r"from 8\.5 to 9 s lies outside .* is it of another video"):
        review_from(result, [outside])


def test_the_nearest_frame() -> None:
    late = FrameTimes(np.array([7, 8, 12], np.int64), np.array([0.7, 0.8, 1.2]))
    assert [late.frame(t) for t in (0.0, 0.74, 0.76, 1.01, 9.0, None)] == [7, 7, 8, 12, 12, None]


@pytest.mark.parametrize(
    ("words", "name", "numbers", "note"),
    [
        ("happiness: L12C+6B; a note", "happiness", (ActionUnit(12, "L", "C"), ActionUnit(6, "", "B")), "a note"),
        ("happiness: 6?", "happiness", (ActionUnit(6, certain=False),), ""),
        ("happiness: left 12", "happiness", (), "left 12"),
        ("happiness: ; 12", "happiness", (), "12"),
        ("happiness: ; L12; see 2", "happiness", (), "L12; see 2"),
        ("happiness", "happiness", (), ""),
        ("", "", (), ""),
    ],
)
def test_words(words: str, name: str, numbers: tuple[ActionUnit, ...], note: str) -> None:
    read = understood(words, Interval(label="", onset_s=0, offset_s=1))
    assert (read.expression, read.action_units, read.note) == (name, numbers, note)
    assert worded(read) == words


def test_what_is_called_none_was_rejected(result: Path, tmp_path: Path) -> None:
    """A rejected state of BORIS, or a row of a table, must not come back as an expression of that name."""
    export_reviewed(result, read_review(reviewed(result)), "elan", tmp_path / "a.eaf", rejected=True)
    (row,) = read_annotations(tmp_path / "a.eaf", "rejected").rows
    assert (row.verdict, row.expression) == ("rejected", "")
    table = tmp_path / "mine.csv"
    table.write_text("onset_s,offset_s,label\n1,1.4,joy\n3,3.4,None\n")
    assert [(r.verdict, r.expression) for r in read_annotations(table).rows] == [("accepted", "joy"), ("rejected", "")]
    table.write_text("onset_s,offset_s,label,verdict\n3,3.4,none,unsure\n")
    assert [r.verdict for r in read_annotations(table).rows] == ["unsure"]
    with pytest.raises(InputError, match="no expression is called none; reject the entry instead"):
        apply_change(new_review(result), Set(entry="e1", values={"verdict": "accepted", "expression": "None"}))
    table.write_text("Behavior,Behavior type,Start (s),Stop (s)\nnone,STATE,3,3.4\n")
    assert [r.verdict for r in read_annotations(table).rows] == ["rejected"]


def test_a_colon_does_not_cut_an_expression(result: Path, tmp_path: Path) -> None:
    values = {"onset_s": 2.0, "offset_s": 2.4, "expression": "smile: felt", "note": "n"}
    review = apply_change(new_review(result, "ada"), Add(values=values))
    export_reviewed(result, review, "elan", tmp_path / "ada.eaf")
    (row,) = read_annotations(tmp_path / "ada.eaf", "ada").rows
    assert (row.expression, row.action_units, row.note) == ("smile, felt", (), "n")


def test_times_of_boris_over_several_files_are_refused(tmp_path: Path) -> None:
    """Those of the second file count from the beginning of the first."""
    table = tmp_path / "events.csv"
    columns = "Source,Behavior,Behavior type,Start (s),Stop (s)"
    table.write_text(f"{columns}\nplayer #1:first.mp4;talk.mp4,joy,STATE,11.0,11.4\n")
    with pytest.raises(InputError, match=r"through several files played one after the other \(player #1:first\.mp4;"):
        read_annotations(table, video="talk.mp4")
    table.write_text(f"{columns}\nplayer #1:talk.mp4;player #2:side.mp4,joy,STATE,1.0,1.4\n")
    assert len(read_annotations(table, video="talk.mp4").rows) == 1, "two at once have one clock"
    table.write_text(f"{columns}\nplayer #1:talk.mp4,joy,STATE,1.0,1.4\n")
    assert [r.interval.onset_s for r in read_annotations(table, video="talk.mp4").rows] == [1.0]


def test_what_overlaps_in_elan_is_read_again(result: Path, tmp_path: Path) -> None:
    review = new_review(result, "ada")
    for onset in (2.0, 2.1, 2.6):
        review = apply_change(review, Add(values={"onset_s": onset, "offset_s": onset + 0.4, "expression": "fear"}))
    export_reviewed(result, review, "elan", tmp_path / "ada.eaf")
    assert spans_of(tmp_path / "ada.eaf", "ada") == [(2000, 2400, "fear"), (2600, 3000, "fear")]
    assert spans_of(tmp_path / "ada.eaf", "ada 2") == [(2100, 2500, "fear")]
    assert len(read_annotations(tmp_path / "ada.eaf", "ada").rows) == 3
    assert [i.onset_s for i in read_truth(tmp_path / "ada.eaf", "ada")] == [2.0, 2.1, 2.6]


def test_an_apex_in_elan_stays_with_its_own_annotation(result: Path, tmp_path: Path) -> None:
    """Two of one name that overlap, and one without an apex around another's."""
    review = new_review(result, "ada")
    given = ((1.0, 1.3, 1.5, "joy"), (1.2, 1.4, 1.8, "joy"), (2.0, None, 2.6, "fear"), (2.3, 2.5, 2.9, "joy"))
    for onset, apex, offset, name in given:
        values = {"onset_s": onset, "apex_s": apex, "offset_s": offset, "expression": name}
        review = apply_change(review, Add(values=values))
    export_reviewed(result, review, "elan", tmp_path / "ada.eaf")
    rows = read_annotations(tmp_path / "ada.eaf", "ada").rows
    read = {(r.interval.onset_s, r.interval.apex_s, r.interval.offset_s, r.expression) for r in rows}
    assert read == set(given)


def test_overlapping_states_of_boris_are_read_under_their_name(tmp_path: Path) -> None:
    table = tmp_path / "events.csv"
    rows = ("fear,STATE,2.0,2.4", "fear 2,STATE,2.1,2.5", "joy 2,STATE,3.0,3.5")
    table.write_text("\n".join(("Behavior,Behavior type,Start (s),Stop (s)", *rows)) + "\n")
    read = read_annotations(table)
    assert [(r.interval.onset_s, r.expression) for r in read.rows] == [(2.0, "fear"), (2.1, "fear"), (3.0, "joy 2")]
    assert read.warnings == ("States 'fear 2' were read as 'fear' that overlap others.",)


def test_a_coder_may_be_called_like_a_tier_of_ours(result: Path, tmp_path: Path) -> None:
    for name in ("rejected", "moments"):
        out = tmp_path / f"{name}.eaf"
        export_reviewed(result, read_review(reviewed(result, name)), "elan", out, rejected=True)
        assert [words for *_, words in spans_of(out, name)][1:] == ["", "Fear"]
    assert spans_of(tmp_path / "rejected.eaf", "rejected'") == [(3000, 3400, "none")]


def test_a_table_by_hand(result: Path, tmp_path: Path) -> None:
    review = read_review(reviewed(result))
    export_reviewed(result, review, "csv", tmp_path / "a.csv", rejected=True)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines == [
        "video,coder,id,origin,verdict,label,onset_s,apex_s,offset_s,duration_s,onset_frame,apex_frame,offset_frame,"
        "expression,action_units,note",
        "talk.mp4,ada,e1,candidate,accepted,happiness,1.1,1.2,1.4,0.3,33,36,42,happiness,L12C+6B,after the question",
        "talk.mp4,ada,e2,candidate,rejected,none,3.0,3.2,3.4,0.4,90,96,102,,,",
        "talk.mp4,ada,e3,candidate,accepted,expression,5.0,5.2,5.4,0.4,150,156,162,,,",
        "talk.mp4,ada,e4,added,accepted,Fear,6.0,,6.3,0.3,180,,189,Fear,,",
    ]
    after = review_from(result, read_annotations(tmp_path / "a.csv").rows, "again")
    assert after.entries == review.entries


def test_tables_of_others(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("onset_s;offset_s;label;action_units\n1,5;1,9;joy;12\n3;3,5;blink;\n")
    assert [(a.expression, a.action_units) for a in read_annotations(path, "joy").rows] == [("joy", (ActionUnit(12),))]
    assert len(read_annotations(path).rows) == 2
    path.write_text("Observation id,Behavior,Behavior type,Start (s),Stop (s)\no,joy,STATE,1.5,1.9\n")
    (read,) = read_annotations(path).rows
    assert (read.expression, read.interval.onset_s, read.interval.offset_s) == ("joy", 1.5, 1.9)
    with pytest.raises(InputError, match="no annotation labelled 'micro'; labels: joy"):
        read_annotations(path, "micro")
    path.write_text("onset_s,offset_s,verdict\n1,2,perhaps\n")
    with pytest.raises(InputError, match="line 2: 'perhaps' is not a verdict"):
        read_annotations(path)
    path.write_text("onset_s,offset_s,action_units\n1,2,4-7-2026\n")
    with pytest.raises(InputError, match="line 2:"):
        read_annotations(path)
    with pytest.raises(InputError, match=r"an ELAN \.eaf or a table"):
        read_annotations(tmp_path / "x.txt")


def test_boris_by_hand(result: Path, tmp_path: Path) -> None:
    export_reviewed(result, read_review(reviewed(result)), "boris", tmp_path / "a.csv")
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert rows[:4] == [
        "time,subject,code,modifier,comment",
        "1.1,,happiness,,happiness: L12C+6B",
        "1.2,,apex,,happiness: L12C+6B",
        "1.4,,happiness,,",
    ]
    assert [row.split(",")[2] for row in rows[4:]] == ["expression", "apex", "expression", "Fear", "Fear"]


def test_parquet_has_types_and_says_whose_it_is(result: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_reviewed(result, read_review(reviewed(result)), "parquet", tmp_path / "a.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table["onset_s"].to_pylist() == [1.1, 5.0, 6.0] and table["apex_frame"].to_pylist() == [36, 156, None]
    assert str(table.schema.field("onset_frame").type) == "int64"
    assert table.schema.field("apex_s").metadata == {b"unit": b"s"}
    said = json.loads(table.schema.metadata[b"openmer"])
    assert (said["coder"], said["video"]) == ("ada", "talk.mp4")


def test_nothing_accepted_is_told(result: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing accepted: 0 of 3 entries are judged"):
        export_reviewed(result, new_review(result), "csv", tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Two videos of 240 frames with their reviewed results; the first is in a folder of its own."""
    (tmp_path / "videos" / "one").mkdir(parents=True)
    picture = np.full((48, 64, 3), 128, np.uint8)
    write_video(tmp_path / "videos" / "one" / "talk.mp4", (picture for _ in range(240)), Fraction(FPS))
    write_video(tmp_path / "videos" / "walk.mp4", (picture for _ in range(240)), Fraction(FPS))
    for name in ("talk", "walk"):
        reviewed(write_result(tmp_path / "results" / name, f"{name}.mp4"), "")
    return tmp_path


def test_samples_that_a_dataset_reads(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no name is left out beside named ones; the added one has no apex; rejected ones are none."""
    out, talk = shelf / "videos" / "samples.csv", shelf / "results" / "talk"
    options = ("--to", "samples", "--out", out, "--subject", "7", "--rejected")
    assert run(monkeypatch, "export", talk, *options) == 0
    data = FolderDataset(shelf / "videos")
    assert [(s.subject, s.name, s.label, s.onset, s.apex, s.offset, s.action_units) for s in data] == [
        ("7", "talk-e1", "happiness", 33, 36, 42, ("L12C", "6B")),
        ("7", "talk-e2", "none", 90, 96, 102, ()),
        ("7", "talk-e4", "fear", 180, None, 189, ()),
    ]
    assert {(s.source, s.fps) for s in data} == {((shelf / "videos/one/talk.mp4").resolve(), Fraction(30))}


def test_which_video_of_the_same_name(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one whose content was analysed, wherever it is below; without a digest, one has to say."""
    talk, out = shelf / "results" / "talk", shelf / "videos" / "samples.csv"
    other = shelf / "videos" / "another"
    other.mkdir()
    (other / "talk.mp4").write_bytes((shelf / "videos" / "walk.mp4").read_bytes() + b"more")
    words = ("export", talk, "--to", "samples", "--out", out, "--subject", "7")
    assert run(monkeypatch, *words) == 1 and not out.exists()
    timeline = read_timeline(talk / "timeline.json")
    digest = source_digest(shelf / "videos" / "one" / "talk.mp4")
    known = replace(timeline, provenance={**timeline.provenance, "source_digest": digest})
    (talk / "timeline.json").write_text(known.to_json())
    (talk / "review.json").unlink()
    reviewed(talk, "")
    assert run(monkeypatch, *words, "--video", other) == 1 and not out.exists()
    assert run(monkeypatch, *words) == 0
    assert {s.source.parent.name for s in FolderDataset(shelf / "videos")} == {"one"}


def test_an_eaf_links_the_video_that_was_analysed(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two videos of one name, each result links its own; another recording is refused."""
    other = shelf / "videos" / "talk.mp4"
    other.write_bytes((shelf / "videos" / "walk.mp4").read_bytes() + b"more")
    talk = shelf / "results" / "talk"
    timeline = read_timeline(talk / "timeline.json")
    digest = source_digest(shelf / "videos" / "one" / "talk.mp4")
    known = replace(timeline, provenance={**timeline.provenance, "source_digest": digest})
    (talk / "timeline.json").write_text(known.to_json())
    words = ("export", talk, "--to", "elan", "--out", shelf / "talk.eaf")
    assert run(monkeypatch, *words, "--video", other) == 1 and not (shelf / "talk.eaf").exists()
    assert run(monkeypatch, *words, "--video", shelf / "videos") == 0
    assert "videos/one/talk.mp4" in (shelf / "talk.eaf").read_text()
    converted = other.rename(shelf / "videos" / "talk.webm")
    assert run(monkeypatch, *words, "--video", converted, "--overwrite") == 0, "as for a program that cannot play mp4"


def test_a_results_own_name_goes_before_its_videos(shelf: Path) -> None:
    """Two videos of one name: one person would be two, on both sides of a split."""
    reviews = []
    for name, digest in (("talk", "a"), ("b__talk", "b")):
        folder = shelf / "results" / name
        if name != "talk":
            write_result(folder, "talk.mp4")
        timeline = read_timeline(folder / "timeline.json")
        known = replace(timeline, provenance={**timeline.provenance, "source_digest": digest})
        (folder / "timeline.json").write_text(known.to_json())
        (folder / "review.json").unlink(missing_ok=True)
        reviews.append((folder, read_review(reviewed(folder, ""))))
    people = {"talk.mp4": "P1", "b__talk": "P2"}
    assert [subject_of(people, *pair) for pair in reviews] == ["P1", "P2"]
    check_one_video_a_name(people, reviews)
    with pytest.raises(InputError, match=r"by the name talk\.mp4; give names that differ there: talk and b__talk"):
        check_one_video_a_name({"talk.mp4": "P1"}, reviews)
    (shelf / "people.csv").write_text("video,subject\na.mp4,01\nb.mp4,1\n")
    with pytest.raises(InputError, match="line 3: '01' and '1' look like one person"):
        read_subjects(shelf / "people.csv")


def test_samples_of_another_stream_are_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, out = shelf / "results" / "talk", shelf / "videos" / "samples.csv"
    timeline = read_timeline(talk / "timeline.json")
    other = replace(timeline, provenance={**timeline.provenance, "settings": {"stream": 1}})
    (talk / "timeline.json").write_text(other.to_json())
    (talk / "review.json").unlink()
    reviewed(talk, "")
    words = ("export", talk, "--to", "samples", "--out", out, "--subject", "7", "--video", shelf / "videos" / "one")
    assert run(monkeypatch, *words) == 1 and not out.exists()


def test_samples_of_several_people(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shelf / "videos" / "one" / "talk.mp4").rename(shelf / "videos" / "talk.mp4")
    people, out = shelf / "people.csv", shelf / "videos" / "samples.csv"
    results = (shelf / "results" / "talk", shelf / "results" / "walk")
    options = ("--to", "samples", "--out", out, "--subjects", people, "--video", shelf / "videos")
    people.write_text("video,subject\ntalk.mp4,P1\n")

    def refused(*words: object) -> str:
        assert run(monkeypatch, "export", *words) == 1
        return " ".join(capsys.readouterr().err.split())

    assert "neither walk.mp4 nor walk" in refused(*results, *options)
    people.write_text("video,subject\ntalk.mp4,P1\nwalk,P2\n")
    assert run(monkeypatch, "export", *results, *options) == 0
    assert "left out: 2 accepted without" in capsys.readouterr().err
    write_result(shelf / "results" / "new" / "sit", "sit.mp4")
    (shelf / "results" / "index.html").write_text("a page over all, as analyze writes it")
    by_star = sorted((shelf / "results").iterdir())
    assert run(monkeypatch, "export", *by_star, *options, "--overwrite") == 0
    assert "left out: 1 results without a review" in capsys.readouterr().err
    assert "no such file" in refused(*results, shelf / "results" / "wlak", *options).lower()
    assert run(monkeypatch, "export", shelf / "results", *options, "--overwrite") == 0
    assert "left out: 1 results without a review" in capsys.readouterr().err
    assert sorted({(s.subject, s.name) for s in FolderDataset(shelf / "videos")}) == [
        ("P1", "talk-e1"),
        ("P1", "talk-e4"),
        ("P2", "walk-e1"),
        ("P2", "walk-e4"),
    ]
    assert "--subject NAME" in refused(*results, *options[:4])
    assert "is not below" in refused(*results, "--to", "samples", "--out", shelf / "results/samples.csv", *options[4:])
    assert "called samples.csv" in refused(*results, "--to", "samples", "--out", shelf / "videos/x.csv", *options[4:])
    assert "--out is a folder" in refused(*results, "--reviewed", "--to", "csv", "--out", shelf / "x.csv")
    assert "--coder and --rejected are for" in refused(
        results[0], "--rejected", "--to", "csv", "--out", shelf / "x.csv"
    )
    assert "no review-eve.json; its reviews: review.json" in refused(
        results[0], "--reviewed", "--coder", "eve", "--to", "csv", "--out", shelf / "x.csv"
    )


def test_samples_without_any_name_are_expressions(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_result(shelf / "videos" / "plain", "walk.mp4")
    review = apply_change(new_review(folder), Set(entry="e2", values={"verdict": "accepted", "onset_frame": None}))
    write_review(review_path(folder), review, replaces=None)
    out = shelf / "videos" / "samples.csv"
    assert run(monkeypatch, "export", folder, "--to", "samples", "--out", out, "--subject", "1") == 0
    (sample,) = FolderDataset(shelf / "videos")
    assert (sample.label, sample.onset, sample.offset) == ("expression", 90, 102), "frame 90 is nearest to 3 s"


def test_an_import_never_replaces_a_review(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reviewed(result)
    before, given = path.read_bytes(), foreign(tmp_path / "kim.eaf", SPANS)
    assert run(monkeypatch, "review", result, "--coder", "ada", "--import", given) == 1
    assert "left as it is" in " ".join(capsys.readouterr().err.split()) and path.read_bytes() == before
    assert run(monkeypatch, "review", result, "--coder", "kim", "--tier", "micro") == 1
    assert "--tier and --complete are for --import" in capsys.readouterr().err
    other = tmp_path / "other.eaf"
    other.write_text(given.read_text().replace("talk.mp4", "walk.mp4"))
    assert run(monkeypatch, "review", result, "--coder", "kim", "--import", other) == 0
    assert "is it the annotation of another video?" in " ".join(capsys.readouterr().err.split())


def test_a_file_for_each_of_several_results(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder or a shell's *; results without a review are named, and the .eaf has its own video."""
    write_result(shelf / "results" / "panel" / "person-1", "sit.mp4")
    (shelf / "results" / "summary.csv").write_text("a table over all, as analyze writes it")
    videos = ("--video", shelf / "videos")
    for number, given in enumerate(([shelf / "results"], sorted((shelf / "results").iterdir()))):
        out = shelf / f"out{number}"
        assert run(monkeypatch, "export", *given, "--reviewed", "--to", "elan", "--out", out, *videos) == 0
        assert "left out: panel__person-1: " in capsys.readouterr().err
        assert sorted(path.name for path in out.iterdir()) == ["talk.eaf", "walk.eaf"]
        assert "../videos/one/talk.mp4" in (out / "talk.eaf").read_text()
        assert spans_of(out / "walk.eaf", "reviewed")[0][2].startswith("happiness")
    for name in ("a__b/c", "a/b__c"):
        write_result(shelf / "alike" / name)
    assert run(monkeypatch, "export", shelf / "alike", "--to", "csv", "--out", shelf / "one", "--overwrite") == 1
    assert "two of the results would be written as a__b__c.csv" in " ".join(capsys.readouterr().err.split())
    out = shelf / "all"
    assert run(monkeypatch, "export", shelf / "results", "--to", "csv", "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["panel__person-1.csv", "talk.csv", "walk.csv"]
    assert (
        run(monkeypatch, "export", shelf / "results", "--reviewed", "--coder", "eve", "--to", "csv", "--out", out) == 1
    )
    assert "nothing was written of 3 results" in capsys.readouterr().err
