"""Datasets whose expressions lie in whole videos: CAS(ME)^2, CAS(ME)^3 part A, SAMM Long Videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakes.files import book, pictures, sheet

Row = tuple[Any, ...]

# (participant, name, onset, apex, offset, units, emotion, type, self-reported); videos of frames 995 to 1006.
CASME_SQ_ROWS: tuple[Row, ...] = (
    (1, "disgust1_1", 998, 1001, 1004, "4+10", "negative", "macro-expression", "disgust"),
    (1, "disgust1_2", 999, 1000, 1002, 4, "negative", "micro-expression", "disgust"),
    (1, "happy4_1", 996, 1000, 0, 12, "positive", "macro-expression", "happiness"),
    (2, "disgust1_1", 997, 0, 0, "7", "others", "macro-expression", "helpless"),
    (2, "happy4_1", 997, 1003, 1001, "6+12", "positive", "micro-expression", "happiness"),
    (2, "anger2_1", 990, 1000, 1100, "1", "surprise", "micro-expression", "surprise"),
)
CASME_SQ_PEOPLE: tuple[Row, ...] = ((15, "s15", 1), (15, "s15", 1), (15, "s15", 1), (40, "s40", 2), (40, "s40", 2))
CASME_SQ_VIDEOS: tuple[Row, ...] = (
    ("0101", "disgust1"),
    ("0102", "disgust2"),
    ("0401", "anger1"),
    ("0402", "anger2"),
    ("0502", "happy1"),
    ("0503", "happy2"),
    ("0505", "happy3"),
    ("0507", "happy4"),
    ("0508", "happy5"),
)


def casme_sq(
    root: Path, *, top: str = "rawpic", rows: Sequence[Row] = CASME_SQ_ROWS, without: Sequence[str] = ()
) -> Path:
    """CAS(ME)^2: three sheets without headers; people and videos are numbered otherwise on disk."""
    people = {row[2]: row[0] for row in CASME_SQ_PEOPLE}
    codes = {name: code for code, name in CASME_SQ_VIDEOS}
    for row in rows:
        if row[0] in people:
            folder = people[row[0]]
            video = f"{folder}_{codes[row[1].rpartition('_')[0]]}{row[8]}teeth"
            pictures(root / top / f"s{folder}" / video, [f"img{n:03d}.jpg" for n in range(995, 1007)])
    sheets = {"CASFEcode_final": rows, "naming rule1": CASME_SQ_PEOPLE, "naming rule2": CASME_SQ_VIDEOS}
    book(root / "CAS(ME)^2code_final.xlsx", {k: v for k, v in sheets.items() if k not in without})
    return root


CASME3_HEADER = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
# All cells are text but a few; videos of frames 7 to 12.
CASME3_ROWS: tuple[Row, ...] = (
    ("spNO.1", "a", "8", "9", "11", "4+7", "III", "disgust"),
    ("spNO.1", "a", "9", "9", "12", "12", "I", "happy"),
    ("spNo.2", "J", 7, "0", "12", "1+2", "II", "Others "),
    ("spNO.3", "b", "8", "9", "0", "4", "VII", "sad"),
    ("spNO.216", "e", "0", "0", "11", "4", "VII", "fear"),
)


def casme3(root: Path, *, short: bool = False, rows: Sequence[Row] = CASME3_ROWS) -> Path:
    """CAS(ME)^3 part A: colour beside depth; whole videos, or the short release with a folder a clip."""
    for row in rows:
        subject = row[0].replace("spNo", "spNO")
        if short:
            top = root / "Part_A_ME_clip"
            clip = f"{subject}_{row[1].lower()}_{row[2]}"
            pictures(top / "frame" / clip, [f"{n}.jpg" for n in range(7, 13)])
            pictures(top / "depth" / clip, [f"{n}.png" for n in range(7, 13)])
            (top / "video").mkdir(exist_ok=True)
            (top / "video" / f"{clip}.mp4").write_bytes(b"")
        else:
            video = root / "part_A" / "data" / "part_A_split" / "part_A" / subject / row[1].lower()
            pictures(video / "color", [f"{n}.jpg" for n in range(7, 13)])
            pictures(video / "depth", [f"{n}.png" for n in range(7, 13)])
    path = root / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    sheet(path, "label", [CASME3_HEADER, *rows], empty=("Sheet1", "Sheet3"))
    return root


SAMM_LONG_HEADER = (
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset",
    "Apex",
    "Offset",
    "Duration",
    "Type",
    "Action Units",
    "Notes",
)


def _long(name: str, onset: Any, apex: Any, offset: Any, kind: str, units: Any) -> Row:
    return (name[:3], name, 1, onset, apex, offset, None, kind, units, None)


# Videos of frames 1 to 24.
SAMM_LONG_ROWS: tuple[Row, ...] = (
    _long("006_1_1", 0, 4, 9, "Macro", "4"),
    _long("006_1_2", 9, -1, 12, "Micro - 1/2", "A12"),
    _long("006_2_1", 8.4000000001, 10.6, 14.2, "Macro", "10A/B"),
    _long("007_5_3", 11, 13, 16, "Micro - 1/2", 43),
)


def samm_long(root: Path, *, rows: Sequence[Row] = SAMM_LONG_ROWS) -> Path:
    """SAMM Long Videos: nine rows of notes, then the header; several expressions a video."""
    for row in rows:
        video = row[1].rpartition("_")[0]
        pictures(root / "SAMM_longvideos" / video, [f"{video}_{n:04d}.jpg" for n in range(1, 25)])
    table = [SAMM_LONG_HEADER, *rows]
    sheet(root / "SAMM_LongVideos_V1_Release.xlsx", "FACS_Movement_Only", table, notes=9)
    return root
