"""Folders of the true shape of the licensed datasets, with invented values and gray pictures.

Names, layouts and quirks are those that the readers' data cards state; subjects and their classes are those of the
official list of MEGC 2019. Run `python tests/fakes.py OUT` to look at them.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from openpyxl import Workbook

from openmer.labels import PROTOCOLS, THREE
from openmer.simulator.generate import SimulateSettings, draw_sample

EMOTION = {
    "casme2": {"negative": "disgust", "positive": "happiness", "surprise": "surprise"},
    "samm": {"negative": "Anger", "positive": "Happiness", "surprise": "Surprise"},
}
SHORT = {"negative": "ne", "positive": "po", "surprise": "sur"}
CASME2_HEADER = ("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units", None)
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


def subjects(dataset: str) -> dict[str, tuple[int, ...]]:
    """Subject -> (negative, positive, surprise), as MEGC's list has them."""
    return {s: counts for (d, s), counts in PROTOCOLS["composite"].per_subject.items() if d == dataset}


def pictures(folder: Path, names: Iterable[str]) -> None:
    """Small gray pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, bytes] = {}
    for name in names:
        suffix = Path(name).suffix
        if suffix not in data:
            data[suffix] = cv2.imencode(suffix, np.full((8, 8), 128, np.uint8))[1].tobytes()
        (folder / name).write_bytes(data[suffix])


def clips(dataset: str) -> Iterator[tuple[str, int, str]]:
    """(subject, running number, class)."""
    for subject, counts in subjects(dataset).items():
        for number, label in enumerate(c for c, n in zip(THREE, counts, strict=True) for _ in range(n)):
            yield subject, number + 1, label


def sheet(path: Path, title: str, rows: Sequence[Sequence[Any]], *, notes: int = 0) -> None:
    """A workbook with one sheet, below a block of notes."""
    book = Workbook()
    page = book.active
    assert page is not None
    page.title = title
    for k in range(notes):
        page.append([f"note {k}"] if k % 2 else [])
    for row in rows:
        page.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def casme2_rows() -> list[tuple[Any, ...]]:
    """All that MEGC counts, the two that it leaves out, and one other; frames 9 to 12."""
    rows: list[tuple[Any, ...]] = []
    for subject, number, label in clips("casme2"):
        rows.append(
            (int(subject), f"EP{number:02d}_01", None, 9, 10, 12, None, "4+L12", None, EMOTION["casme2"][label])
        )
    rows.append((4, "EP12_01f", None, 9, "/", 12, None, "4", None, "disgust"))
    rows.append((5, "EP09_05f", None, 9, 10, 12, None, "?", None, "disgust"))
    rows.append((10, "EP01_01", None, 9, 10, 12, None, 4, None, "others"))
    return rows


def casme2(
    root: Path, *, frames: str = "raw", doubled: bool = False, rows: list[tuple[Any, ...]] | None = None
) -> Path:
    """CASME II: frames not padded, workbook beside them."""
    rows = casme2_rows() if rows is None else rows
    top = "CASME2_RAW_selected" if frames == "raw" else "Cropped"
    tree = root / top / top if doubled else root / top
    prefix = "img" if frames == "raw" else "reg_img"
    for row in rows:
        folder = tree / f"sub{int(row[0]):02d}" / str(row[1])
        pictures(folder, [f"{prefix}{n}.jpg" for n in range(8, 21 if row[5] == 20 else 14)])
    sheet(root / "CASME2-coding-20140508.xlsx", "Sheet1", [(*CASME2_HEADER, "Estimated Emotion"), *rows])
    return root


def samm(root: Path) -> Path:
    """SAMM: a block of notes above the header, some subjects' frames padded, some not."""
    rows: list[tuple[Any, ...]] = []
    for k, (subject, number, label) in enumerate(clips("samm")):
        name = f"{subject}_1_{number}"
        apex = -1 if k == 0 else 9
        values = (name, 1, 8, apex, 11, "=F2-D2+1", "Micro - 1/2", "R4+7", EMOTION["samm"][label], "I", None)
        rows.append((subject if k % 2 else int(subject), *values))
        padded = int(subject) % 2 == 0
        pictures(
            root / "SAMM" / subject / name,
            [f"{subject}_{n:05d}.jpg" if padded else f"{subject}_{n}.jpg" for n in range(8, 13)],
        )
    sheet(root / "SAMM_Micro_FACS_Codes_v2.xlsx", "MICRO_ONLY", [SAMM_HEADER, *rows], notes=13)
    return root


def smic(root: Path, *, camera: str = "HS") -> Path:
    """SMIC: folders are the annotation; `non_micro` beside `micro`."""
    tree = root / "SMIC_all_raw" / camera
    for k, (subject, number, label) in enumerate(clips("smic-hs")):
        name = f"{subject}_{SHORT[label]}_{number:02d}"
        first = 999_998 if k % 2 else 59_740  # the number of digits changes within a clip
        pictures(tree / subject / "micro" / label / name, [f"image{first + n}.bmp" for n in range(4)])
    pictures(tree / "s1" / "non_micro" / "s1_non_01", ["image1.bmp", "image2.bmp"])
    return root


def render(folder: Path, person: int, sample: int) -> None:
    """Put a simulated expression in the place of a folder's gray pictures."""
    settings = SimulateSettings(subjects=person + 1, samples=sample + 1, fps=200, seed=3)
    recording, _, _ = draw_sample(settings, person, sample)
    paths = sorted(folder.iterdir())
    for path, k in zip(paths, np.linspace(0, len(recording) - 1, len(paths)).astype(int), strict=True):
        image = cv2.copyMakeBorder(recording.image(int(k)), 30, 30, 30, 30, cv2.BORDER_REPLICATE)
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def main(out: Path) -> None:
    """All of them below one folder, as the composite wants it."""
    casme2(out / "CASME2")
    samm(out / "SAMM_release")
    smic(out / "SMIC")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
