"""Datasets whose recordings are cut out: CASME II, SAMM, SMIC, MMEW."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fakes.files import pictures, sheet
from openmer.datasets.protocols import THREE, protocol

Row = tuple[Any, ...]
EMOTION = {
    "casme2": {"negative": "disgust", "positive": "happiness", "surprise": "surprise"},
    "samm": {"negative": "Anger", "positive": "Happiness", "surprise": "Surprise"},
}
SHORT = {"negative": "ne", "positive": "po", "surprise": "sur"}
CASME2_HEADER = (
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
)
SAMM_HEADER = (
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Duration",
    "Micro",
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
    "Notes",
)
MMEW_HEADER = (
    "Subject",
    "Filename",
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    "Action Units",
    "Estimated Emotion",
    "remarks",
)


def subjects(dataset: str) -> dict[str, tuple[int, ...]]:
    """Subject -> (negative, positive, surprise), as MEGC's list has them."""
    return {s: counts for (d, s), counts in protocol("composite").per_subject.items() if d == dataset}


def clips(dataset: str) -> Iterator[tuple[str, int, str]]:
    """(subject, running number, class)."""
    for subject, counts in subjects(dataset).items():
        for number, label in enumerate(c for c, n in zip(THREE, counts, strict=True) for _ in range(n)):
            yield subject, number + 1, label


def casme2_rows() -> list[Row]:
    """All that MEGC counts, the two that it leaves out, and one other; frames 9 to 12."""
    rows: list[Row] = []
    for subject, number, label in clips("casme2"):
        rows.append((int(subject), f"EP{number:02d}_01", None, 9, 10, 12, None, "4+L12", EMOTION["casme2"][label]))
    rows.append((4, "EP12_01f", None, 9, "/", 12, None, "4", "disgust"))
    rows.append((5, "EP09_05f", None, 9, 10, 12, None, "?", "disgust"))
    rows.append((10, "EP01_01", None, 9, 10, 12, None, 4, "others"))
    return rows


def casme2(
    root: Path,
    *,
    frames: str = "raw",
    doubled: bool = False,
    rows: Sequence[Row] | None = None,
    blanks: bool = True,
) -> Path:
    """CASME II: frames not padded, workbook beside them, two columns of it blank unless somebody took them out."""
    rows = casme2_rows() if rows is None else rows
    assert all(len(row) == len(CASME2_HEADER) for row in rows), "a row as long as the header"
    top = "CASME2_RAW_selected" if frames == "raw" else "Cropped"
    tree = root / top / top if doubled else root / top
    prefix = "img" if frames == "raw" else "reg_img"
    for row in rows:
        folder = tree / f"sub{int(row[0]):02d}" / str(row[1])
        pictures(folder, [f"{prefix}{n}.jpg" for n in range(8, 21 if row[5] == 20 else 14)])
    kept = [k for k in range(9) if blanks or k not in (2, 6)]
    table = [[row[k] for k in kept] for row in (CASME2_HEADER, *rows)]
    sheet(root / "CASME2-coding-20140508.xlsx", "Sheet1", table, empty=("Sheet2", "Sheet3"))
    return root


def _samm(subject: Any, name: str, onset: Any, apex: Any, offset: Any, units: Any, emotion: str) -> Row:
    return (subject, name, 1, onset, apex, offset, "=F2-D2+1", "Micro - 1/2", units, emotion, 1, None)


def samm_rows() -> list[Row]:
    """All that MEGC counts, the first without an apex; frames 8 to 11."""
    rows: list[Row] = []
    for k, (subject, number, label) in enumerate(clips("samm")):
        name, apex = f"{subject}_1_{number}", -1 if k == 0 else 9
        of_subject = subject if k % 2 else int(subject)
        rows.append(_samm(of_subject, name, 8, apex, 11, "R4+7", EMOTION["samm"][label]))
    return rows


# What is odd in SAMM's workbook, a row each.
SAMM_ROWS: tuple[Row, ...] = (
    _samm("006", "006_1_2", 98, -1, 103, 12, "Anger"),
    _samm(7, "007_3_1", 98, 0, 103, "(R6 or R12)+R15 ", "Other"),
    _samm("009", "009_2_1", "98", "101", "103", "4D+ref(6)+7C", " Happiness "),
    _samm("010", "010_1_1", 98, 240, 103, "A12", "Others"),
    _samm("011", "011_1_1", 90, 100, 200, None, "Contempt"),
)


def samm(
    root: Path,
    *,
    rows: Sequence[Row] | None = None,
    top: str = "SAMM",
    notes: int = 13,
    numbers: Sequence[int] = range(8, 13),
    book: str = "SAMM_Micro_FACS_Codes_v2.xlsx",
) -> Path:
    """SAMM: a block of notes above the header, some subjects' frames padded, some not."""
    rows = samm_rows() if rows is None else rows
    for row in rows:
        subject = f"{int(row[0]):03d}"
        padded = int(subject) % 2 == 0
        names = [f"{subject}_{n:05d}.jpg" if padded else f"{subject}_{n}.jpg" for n in numbers]
        pictures(root / top / subject / row[1], names)
    sheet(root / book, "MICRO_ONLY", [SAMM_HEADER, *rows], notes=notes)
    return root


def smic(
    root: Path,
    *,
    camera: str = "HS",
    frames: str = "raw",
    doubled: bool = False,
    of: Sequence[tuple[str, int, str]] | None = None,
    length: int | Sequence[int] = 4,
) -> Path:
    """SMIC: folders are the annotation; `non_micro` beside `micro`; VIS and NIR are of the last ten people only.

    Args:
        root: where.
        camera: HS, VIS or NIR.
        frames: raw or cropped.
        doubled: the top folder within one of its own name, as unzipping makes it.
        of: (subject, running number, class) of each recording.
        length: frames of each, or of one after another in turn.
    """
    everybody = [c for c in clips("smic-hs") if camera == "HS" or int(c[0][1:]) > 10]
    top = "SMIC_all_raw" if frames == "raw" else "SMIC_all_cropped"
    tree = (root / top / top if doubled else root / top) / camera
    prefix = ("" if frames == "raw" else "reg_") + ("image" if camera == "HS" else "")
    width = 6 if camera == "HS" else 5
    for k, (subject, number, label) in enumerate(everybody if of is None else of):
        # The number of digits changes within a clip.
        first = (10**width - 2) if k % 2 else 9_740
        frames_of = length if isinstance(length, int) else length[k % len(length)]
        names = [f"{prefix}{first + n:0{width}d}.bmp" for n in range(frames_of)]
        pictures(tree / subject / "micro" / label / f"{subject}_{SHORT[label]}_{number:02d}", names)
    pictures(tree / "s11" / "non_micro" / "s11_non_01", ["image1.bmp", "image2.bmp"])
    return root


# (subject, clip, onset, apex, offset, units, emotion, remark)
MMEW_ROWS: tuple[Row, ...] = (
    (3, "S03-01-002", 1, 9, 11, "6+12", "happiness", None),
    (3, "S03-02-001", 2, "10", 12, 4, "Surprise ", None),
    (13, "S13-07-001", 2, "/", 12, "?", "others", "looks away"),
    (14, "s14-04-001", 2, 0, 90, "4", "disgust", None),
)
MMEW_FOLDERS = {"others": "repression"}


def mmew(root: Path, *, by_person: bool = False, rows: Sequence[Row] = MMEW_ROWS) -> Path:
    """MMEW: faces cut out already, numbered from 1 and not padded; the folder of `others` is called otherwise."""
    for row in rows:
        clip, emotion = row[1].upper(), row[6].strip().lower()
        emotion = MMEW_FOLDERS.get(emotion, emotion)
        tree = root / "MMEW_Final" / (Path(clip[:3]) / emotion if by_person else Path("Micro_Expression") / emotion)
        pictures(tree / clip, [f"{n}.jpg" for n in range(1, 13)])
        if by_person:
            pictures(tree, [f"{clip[:3]}-09-001.jpg"])  # a macro-expression is a single picture
    sheet(root / "MMEW_Micro_Exp.xlsx", "Sheet1", [MMEW_HEADER, *rows])
    return root
