"""Damaged samples.csv, through `openmer prepare folder`, and damaged workbooks, through `openmer data check`."""

import io
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from openpyxl import Workbook

from corpus import damage, whole
from corpus.case import Case
from fakes.clips import CASME2_HEADER
from openmer.datasets.folder import FolderDataset
from openmer.datasets.prepare import prepare
from openmer.datasets.settings import PrepareSettings

HEADER = "subject,sample,source,fps,label,onset,apex,offset,action_units"
ROW = "a,x,frames,30,surprise,1,6,12,1+2"
BOOK_ROWS = tuple((k + 1, f"EP{k + 1:02d}_01", None, 9, 10, 12, None, "4+L12", "disgust") for k in range(4))
SHEET = "xl/worksheets/sheet1.xml"


def cases(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Tables, then workbooks."""
    yield from samples_csv(root / "csv", rng)
    yield from workbooks(root / "xlsx", rng)


def samples_csv(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Tables of recordings, through `openmer prepare folder`."""
    dataset = root / "whole" / "dataset"
    whole.images(dataset / "frames", whole.face())
    whole.images(dataset / "huge", whole.face(), first=10**25)
    (dataset / "samples.csv").write_text(f"{HEADER}\n{ROW}\n")
    outside = whole.images(root / "outside", whole.face())[0].parent
    older = root / "older"
    prepare(FolderDataset(dataset).samples, older, PrepareSettings(flow="dis"))
    for number, (name, data) in enumerate(_csv(rng, outside)):
        folder = root / str(number) / "dataset"
        shutil.copytree(dataset, folder)
        (folder / "link").symlink_to(outside)
        (folder / "loop").symlink_to("loop")
        (folder / "samples.csv").write_bytes(data)
        out = root / f"{number}-store"
        if number % 2:  # what others have put there stays
            shutil.copytree(older, out)
        command = ("prepare", "folder", str(folder), "--out", str(out), "--flow", "dis", "--processes", "1")
        yield Case(f"tables/samples.csv {name}", command, (folder, *([out] if number % 2 else [])))


def _csv(rng: np.random.Generator, outside: Path) -> Iterator[tuple[str, bytes]]:
    yield from damage.of_bytes(f"{HEADER}\n{ROW}\n".encode(), rng, many=2)
    yield from damage.of_table(HEADER, ROW)
    sources = (
        *("../outside", "..", ".", "/etc/passwd", str(outside), "link", "link/img001.png", "loop", "huge", "nothing"),
        *("frames/../../outside", "frames/img001.png", "samples.csv", "~", "C:\\frames", "file:///etc/passwd", "*"),
        *("http://localhost/video.mp4", "frames\0", "x" * 300, "x/" * 3000, "\udcff"),
    )
    columns = {"source": sources, "fps": (*damage.NUMBERS, "1/3", "30000/1001")}
    columns |= dict.fromkeys(("onset", "offset"), damage.CELLS)
    for column in ("subject", "sample", "label", "apex", "action_units"):
        columns[column] = [damage.CELLS[k] for k in rng.choice(len(damage.CELLS), 8, replace=False)]
    yield from damage.of_cells(HEADER, ROW, columns)


def workbooks(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Workbooks of CASME II, through `openmer data check`."""
    tree = root / "CASME2_RAW_selected"
    picture = cv2.imencode(".jpg", np.full((8, 8), 128, np.uint8))[1].tobytes()
    for row in BOOK_ROWS:
        folder = tree / f"sub{row[0]:02d}" / str(row[1])
        folder.mkdir(parents=True)
        for number in range(9, 13):
            (folder / f"img{number}.jpg").write_bytes(picture)
    for number, (name, data) in enumerate(_books(rng)):
        path = root / f"{number}.xlsx"
        path.write_bytes(data)
        command = ("data", "check", "casme2", str(root), "--workbook", str(path))
        yield Case(f"tables/workbook {name}", command, (path,))


def _book(rows: Sequence[Sequence[object]] = (CASME2_HEADER, *BOOK_ROWS), **cells: object) -> bytes:
    made = Workbook()
    for row in rows:
        made.active.append(list(row))
    for place, value in cells.items():
        made.active[place] = value
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def _books(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    good = _book()
    yield "as it should be", good
    yield from damage.of_bytes(good, rng, many=4)
    yield from damage.of_archive(good)
    with zipfile.ZipFile(io.BytesIO(good)) as book:
        members = {name: book.read(name) for name in book.namelist()}
    sheet = members[SHEET]
    values = (b"", b"2A", b"9" * 400)
    texts = dict(damage.of_xml(sheet, b"9", values=values))
    for what, more in {
        "two million rows": b"<row/>" * 2_000_000,
        "a cell far away": b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        "a cell beyond": b'<row r="99999999999"><c r="ZZZZZ1"><v>1</v></c></row>',
        "a cell far to the right": b'<row r="20000"><c r="XFD20000"><v>1</v></c></row>',
    }.items():
        texts[what] = sheet.replace(b"</sheetData>", more + b"</sheetData>", 1)
    texts["numbers that are none"] = sheet.replace(b"<v>9</v>", b"<v>nine</v>")
    for what, text in texts.items():
        yield what, damage.repacked(good, {SHEET: text})
    dates = members["xl/styles.xml"].replace(b'numFmtId="0"', b'numFmtId="14"')
    yield "numbers as dates", damage.repacked(good, {"xl/styles.xml": dates})
    cells = (
        1e300,
        -1e300,
        10**20,
        -9,
        9.5,
        True,
        "=1/0",
        '=HYPERLINK("http://localhost")',
        *(c for c in damage.CELLS if "\0" not in c),
    )
    for column, name in zip("ABDEFHI", ("subject", "name", "onset", "apex", "offset", "units", "label"), strict=True):
        for k in rng.choice(len(cells), 5, replace=False):
            yield f"{name} is {str(cells[k])[:8]!r}", _book(**{f"{column}2": cells[k]})
    yield "huge numbers", _book(D2=1e300, E2=-1e300, F2=10**20, A3=1e300)
    for what, rows in (
        ("an empty sheet", []),
        ("header alone", [CASME2_HEADER]),
        ("another sheet", [["nothing here"]]),
    ):
        yield what, _book(rows)
