"""Pictures, workbooks and faces that the fakes are made of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from openpyxl import Workbook

from openmer.simulator.generate import draw_sample
from openmer.simulator.settings import SimulateSettings

Rows = Sequence[Sequence[Any]]


def pictures(folder: Path, names: Iterable[str]) -> None:
    """Small gray pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    data: dict[str, bytes] = {}
    for name in names:
        suffix = Path(name).suffix
        if suffix not in data:
            data[suffix] = cv2.imencode(suffix, np.full((8, 8), 128, np.uint8))[1].tobytes()
        (folder / name).write_bytes(data[suffix])


def numbered(folder: Path) -> list[Path]:
    """The pictures in order of time: by the last number in their names."""
    return sorted(folder.iterdir(), key=lambda p: int(re.findall(r"\d+", p.stem)[-1]))


def render(folder: Path, person: int, sample: int) -> None:
    """Put a simulated expression in the place of a folder's gray pictures."""
    settings = SimulateSettings(subjects=person + 1, samples=sample + 1, fps=200, seed=3, size=200)
    recording, _, _ = draw_sample(settings, person, sample)
    paths = numbered(folder)
    for path, k in zip(paths, np.linspace(0, len(recording) - 1, len(paths)).astype(int), strict=True):
        image = cv2.copyMakeBorder(recording.image(int(k)), 30, 30, 30, 30, cv2.BORDER_REPLICATE)
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def book(path: Path, sheets: Mapping[str, Rows]) -> None:
    """A workbook."""
    made = Workbook()
    for k, (title, rows) in enumerate(sheets.items()):
        page = made.active if k == 0 else made.create_sheet()
        assert page is not None
        page.title = title
        for row in rows:
            page.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(path)


def sheet(path: Path, title: str, rows: Rows, *, notes: int = 0, empty: Sequence[str] = ()) -> None:
    """A workbook with one sheet below a block of notes, and empty ones after it."""
    above = [[f"note {k}"] if k % 2 else [] for k in range(notes)]
    book(path, {title: [*above, *rows], **{name: [] for name in empty}})
