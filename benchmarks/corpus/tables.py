"""Damaged samples.csv, through `openmer prepare folder`, and damaged workbooks, through `openmer data check`."""

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
    good = f"{HEADER}\n{ROW}\n"
    for what, bad in damage.of_bytes(good.encode(), rng, many=2):
        yield what, bad
    yield from damage.of_text(good)
    yield "as it should be", good.encode()
    for encoding in ("latin-1", "utf-32", "utf-7", "cp037"):
        yield encoding, good.replace("a,x", "ä,x").encode(encoding, "replace")
    for what, text in _texts(good).items():
        yield what, text.encode()
    columns = HEADER.split(",")
    for column in columns:
        without = [k for k, name in enumerate(columns) if name != column]
        lines = [",".join(line.split(",")[k] for k in without) for line in (HEADER, ROW)]
        yield f"without {column}", "\n".join(lines).encode()
    for column, values in _values(outside).items():
        for value in values:
            cells = dict(zip(columns, ROW.split(","), strict=True)) | {column: value}
            quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells.values())
            yield f"{column} is {value[:40]!r}", f"{HEADER}\n{quoted}\n".encode("utf-8", "surrogatepass")


def _texts(good: str) -> dict[str, str]:
    return {
        "semicolons": good.replace(",", ";"),
        "tabs": good.replace(",", "\t"),
        "header alone": HEADER + "\n",
        "no header": ROW + "\n",
        "header twice": f"{HEADER}\n{HEADER}\n{ROW}\n",
        "columns twice": f"{HEADER},subject\n{ROW},b\n",
        "all columns twice": f"{HEADER},{HEADER}\n{ROW},{ROW}\n",
        "one cell more": f"{HEADER}\n{ROW},more\n",
        "two cells more": f"{HEADER}\n{ROW},more,and more\n",
        "a cell less": f"{HEADER}\n{ROW.rpartition(',')[0]}\n",
        "rows of other lengths": f"{HEADER}\n{ROW}\n{ROW},1,2,3\nb\n",
        "an open quote": f'{HEADER}\n"{ROW}\n',
        "quotes in cells": good.replace("a,x", '"a""b",x'),
        "a line break in a cell": good.replace("surprise", '"sur\nprise"'),
        "comments": f"# made by hand\n{good}",
        "blank lines": f"\n\n{HEADER}\n\n{ROW}\n\n",
        "the same row twice": good + ROW + "\n",
        "ten thousand wrong rows": HEADER + "\n" + "a,,,,,,,,\n" * 10_000,
        "a cell of a million letters": good.replace("surprise", "s" * 1_000_000),
        "ten thousand columns": HEADER + "," + ",".join(f"c{k}" for k in range(10_000)) + "\n" + ROW + "\n",
        "upper case": f"{HEADER.upper()}\n{ROW}\n",
        "markup": good.replace("surprise", "[red]</script>{{x}}"),
    }


def _values(outside: Path) -> dict[str, tuple[str, ...]]:
    marks = (
        "nan",
        "-1",
        "1e300",
        "inf",
        "99999999999999999999",
        "3.5",
        "0x10",
        "1,5",
        "==A1",
        "١",
        "1e-5",
        "9" * 400,
        " ",
    )
    return {
        "source": (
            "../outside",
            "..",
            ".",
            "/etc/passwd",
            str(outside),
            "link",
            "link/img001.png",
            "loop",
            "frames/../../outside",
            "frames/img001.png",
            "huge",
            "samples.csv",
            "~",
            "C:\\frames",
            "file:///etc/passwd",
            "http://localhost/video.mp4",
            "frames\0",
            "x" * 300,
            "x/" * 3000,
            "nothing",
            "\udcff",
            "*",
        ),
        "fps": (
            "nan",
            "-30",
            "0",
            "inf",
            "1e999999999",
            "1e400",
            "1e-400",
            "30/0",
            "1/3",
            "30000/1001",
            "9" * 5000,
            "1_0",
            "٣٠",
        ),
        "onset": marks,
        "offset": marks,
        "apex": ("nan", "0", "13", "1e300"),
        "subject": ("nan", "../..", "a/b", "x" * 5000, "\0", "[bold]", "🙂", "="),
        "sample": ("CON", "/", "\n", "x" * 5000),
        "label": ("nan", "None", "\0", "x" * 5000),
        "action_units": ("++", "x" * 5000, "L12+R"),
    }


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


def _book(change: Callable[[Any], None] = lambda sheet: None) -> bytes:
    made = Workbook()
    sheet = made.active
    for row in (CASME2_HEADER, *BOOK_ROWS):
        sheet.append(list(row))
    change(sheet)
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def _cells(**values: object) -> Callable[[Any], None]:
    def change(sheet: Any) -> None:
        for place, value in values.items():
            sheet[place] = value

    return change


def _repacked(data: bytes, changes: dict[str, bytes | None], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The workbook with members exchanged, or left out where there is None."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return buffer.getvalue()


def _books(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    good = _book()
    yield "as it should be", good
    yield from damage.of_bytes(good, rng, many=4)
    with zipfile.ZipFile(io.BytesIO(good)) as book:
        members = {name: book.read(name) for name in book.namelist()}
    for name, content in members.items():
        yield f"without {Path(name).name}", _repacked(good, {name: None})
        yield f"cut {Path(name).name}", _repacked(good, {name: content[: len(content) // 2]})
    yield "stored with lzma", _repacked(good, {}, method=zipfile.ZIP_LZMA)
    sheet = members[SHEET]
    doctype = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    doctype += b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(9)) + b"]>"
    for what, text in {
        "entities that multiply": doctype + sheet.replace(b"<v>9</v>", b"<v>&j;</v>", 1),
        "an entity from outside": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        + sheet.replace(b"<v>9</v>", b"<v>&e;</v>", 1),
        "deep elements": sheet.replace(b"<sheetData>", b"<sheetData>" + b"<row>" * 100_000, 1),
        "zeros of 300 MB": sheet.replace(b"<sheetData>", b"<sheetData>" + b" " * 300_000_000, 1),
        "two million rows": sheet.replace(b"</sheetData>", b"<row/>" * 2_000_000 + b"</sheetData>", 1),
        "a cell far away": sheet.replace(
            b"</sheetData>", b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>', 1
        ),
        "a cell beyond": sheet.replace(
            b"</sheetData>", b'<row r="99999999999"><c r="ZZZZZ1"><v>1</v></c></row></sheetData>', 1
        ),
        "a cell far to the right": sheet.replace(
            b"</sheetData>", b'<row r="20000"><c r="XFD20000"><v>1</v></c></row></sheetData>', 1
        ),
        "a wrong reference": sheet.replace(b'r="A2"', b'r="2A"', 1),
        "a wrong type": sheet.replace(b't="n"', b't="q"'),
        "numbers that are none": sheet.replace(b"<v>9</v>", b"<v>nine</v>"),
        "strings that are not there": sheet.replace(b't="n"', b't="s"'),
        "booleans": sheet.replace(b't="n"', b't="b"'),
        "errors": sheet.replace(b't="n"', b't="e"'),
    }.items():
        yield what, _repacked(good, {SHEET: text})
    dates = members["xl/styles.xml"].replace(b'numFmtId="0"', b'numFmtId="14"')
    yield "numbers as dates", _repacked(good, {"xl/styles.xml": dates})
    for what, change in _changes().items():
        yield what, _book(change)


def _changes() -> dict[str, Callable[[Any], None]]:
    def others(sheet: Any) -> None:
        sheet.title = "notes"
        sheet.delete_rows(1, 10)
        sheet["A1"] = "nothing here"

    def empty(sheet: Any) -> None:
        sheet.delete_rows(1, 10)

    def header_alone(sheet: Any) -> None:
        sheet.delete_rows(2, 10)

    return {
        "formulas": _cells(D2="=A2+8", E2="=1/0", F3="=SUM(D2:D4)", I4='=HYPERLINK("http://localhost")'),
        "text for numbers": _cells(D2="nine", D3="9,5", D4="9 ", F5="12 frames"),
        "all text": _cells(**{f"{c}{r}": "x" for c in "DEF" for r in range(2, 6)}),
        "huge numbers": _cells(D2=1e300, E2=-1e300, F2=10**20, A3=1e300),
        "negative numbers": _cells(D2=-9, E2=-1, F2=-12, A2=-1),
        "fractions": _cells(D2=9.5, E2=10.25, A2=1.5),
        "booleans in cells": _cells(D2=True, A3=False, I2=True),
        "subjects as words": _cells(A2="one", A3="../..", A4="x" * 5000, A5=" "),
        "names that are paths": _cells(B2="../../..", B3="/etc", B4="EP04_01/../..", B5="."),
        "empty cells": _cells(A2=None, B3=None, I4=None, D5=None),
        "labels as numbers": _cells(I2=4, I3=1.5, I4="[bold]</script>", I5="x" * 5000),
        "odd units": _cells(H2="++", H3=4, H4="L", H5="?" * 500),
        "another sheet": others,
        "an empty sheet": empty,
        "header alone": header_alone,
    }
