"""Annotation workbooks: found by name, their columns by header, cells as numbers or text."""

import datetime
import math
import os
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl  # type: ignore[import-untyped]
import pandas as pd
from openpyxl.utils.datetime import CALENDAR_WINDOWS_1900, to_excel  # type: ignore[import-untyped]

from openmer.errors import InputError

DOCS = "docs/data.md"
MAX_BYTES = 500_000_000  # unpacked; the annotations of all datasets together are far smaller
MAX_CELLS = 5_000_000
HEADER_ROWS = 40  # among which the header is looked for
MAX_ROWS = 2**20  # of a sheet, by the format
DEPTH = 5  # how many levels below the given folder trees and workbooks are searched for


_Places = dict[tuple[str, int, int], str]  # sheet, row and column from 0 -> a formula's text
_SUM = re.compile(r"=[+ ]*(\d{1,2}(?: *[-+/] *\d{1,2})+) *")  # what a program makes of a cell typed as +4+7


@dataclass(frozen=True)
class Converted:
    """A cell that a spreadsheet program has made into a date or a result.

    Attributes:
        number: of a date, its day of the calendar, which is the number that was stored; of a sum, the result, or None
            if no program has computed it.
        typed: the date, or the sum as it was typed, such as `4+7`.
    """

    number: float | None
    typed: datetime.date | datetime.time | datetime.timedelta | str

    def __str__(self) -> str:
        return str(self.typed).removesuffix(" 00:00:00")


@dataclass(frozen=True)
class Table:
    """A sheet's rows, keyed by our names of its columns.

    Attributes:
        path: of the workbook.
        rows: cells as they are, or `Converted`.
        unread: headers of columns that were not used.
    """

    path: Path
    rows: tuple[Mapping[str, Any], ...]
    unread: tuple[str, ...] = field(default=())


def find_workbook(root: Path, patterns: Sequence[str], *, title: str, called: str) -> Path:
    """Find the annotation under `root` by its known names.

    Args:
        root: where to look.
        patterns: of its name; the first that matches any file decides.
        title: of the dataset, for messages.
        called: one of its names, for messages.

    Raises:
        InputError: there is none, or several match the same pattern.
    """
    books = [p for p in _files(root, DEPTH) if p.suffix.lower() in (".xlsx", ".xls") and not p.name.startswith("~$")]
    for pattern in patterns:
        matching = [p for p in books if re.fullmatch(pattern, p.name, re.IGNORECASE)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise InputError(
                f"several workbooks of {title}: {', '.join(str(p) for p in matching)}; choose one with --workbook, or "
                f"move the others away. {DOCS} says what each holds"
            )
    instead = ", ".join(str(p.relative_to(root)) for p in books[:10]) or "no workbook at all"
    raise InputError(
        f"the annotation of {title} was not found in {root} or up to {DEPTH - 1} folders below ({instead}); it comes "
        f"with the dataset and is called, for example, {called}. Put it there or give it with --workbook. {DOCS} has "
        "the names that are known"
    )


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files and sub-folders, sorted, without hidden ones; none if the folder cannot be read.

    One scan per folder and no look at each file: a whole video has thousands of frames.
    """
    try:
        with os.scandir(folder) as scan:
            visible = sorted((entry.name, entry.is_dir()) for entry in scan if not entry.name.startswith("."))
    except OSError:
        return [], []
    files = [folder / name for name, is_dir in visible if not is_dir]
    return files, [folder / name for name, is_dir in visible if is_dir]


def _files(root: Path, depth: int) -> Iterator[Path]:
    """Files, nearest to the root first."""
    level = [root]
    for _ in range(depth):
        following: list[Path] = []
        for folder in level:
            files, folders = entries(folder)
            yield from files
            following += folders
        level = following[:2000]


def open_workbook(path: Path) -> dict[str, pd.DataFrame]:
    """All sheets, cells as they are; dates and typed sums are `Converted`.

    Raises:
        InputError: it cannot be opened, or holds more than an annotation can.
    """
    if not path.is_file():
        raise InputError(f"there is no workbook {path}; give the one that came with the dataset, {DOCS} has its name")
    try:
        sums, epoch = _typed_sums(path)
        book: dict[str, pd.DataFrame] = pd.read_excel(path, sheet_name=None, header=None, dtype=object)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{path} is an old Excel file; open it, save it as .xlsx and give that with --workbook; see {DOCS}"
        ) from error
    except Exception as error:  # pandas and openpyxl raise many kinds
        reason = "it is not an Excel file" if "format cannot be determined" in str(error) else error
        raise InputError(
            f"cannot read the workbook {path}: {reason}; unpack it again, or give another with --workbook. {DOCS} has "
            "the names that are known"
        ) from error
    for name, cells in book.items():
        places = [(row, column) for sheet, row, column in sums if sheet == name]
        height = max([len(cells), *(row + 1 for row, _ in places)])  # a formula without a result may end a sheet
        width = max([cells.shape[1], *(column + 1 for _, column in places)])
        plain = cells.map(lambda value: _without_date(value, epoch)).astype(object)
        book[name] = plain.reindex(index=range(height), columns=range(width))
    for (name, row, column), typed in sums.items():
        result = parse_float(book[name].iat[row, column])
        book[name].iat[row, column] = Converted(result, typed)  # type: ignore[assignment]  # a cell holds any object
    return book


def _without_date(value: Any, epoch: datetime.datetime) -> Any:
    """A date as the number that was stored: of a column of frame numbers, only the format is wrong."""
    dated = isinstance(value, datetime.date | datetime.time | datetime.timedelta) and value is not pd.NaT
    return Converted(float(to_excel(value, epoch)), value) if dated else value


def _typed_sums(path: Path) -> tuple[_Places, datetime.datetime]:
    """Formulas such as `=4+7`, which is what becomes of units typed with a sign before them; and day 0 of dates.

    Raises:
        InputError: a single far-away cell, or a few bytes that unpack endlessly, would fill the memory on reading.
    """
    if not zipfile.is_zipfile(path):
        return {}, CALENDAR_WINDOWS_1900
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_BYTES:
        raise InputError(f"the workbook {path} unpacks to {unpacked / 1e6:.0f} MB, too much for an annotation")
    with path.open("rb") as file:  # openpyxl 3.1.0 does not close a damaged file it opened itself
        book = openpyxl.load_workbook(file, read_only=True)
        sums: _Places = {}
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # the size that the sheet states cannot be trusted
            width = 0
            for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
                if number > MAX_ROWS:
                    raise InputError(f"the sheet {sheet.title} of {path} has more rows than a sheet can have")
                for k, value in enumerate(row):
                    if isinstance(value, str) and (match := _SUM.fullmatch(value)):
                        sums[sheet.title, number - 1, k] = match[1]
                used = max((k for k, value in enumerate(row, start=1) if value is not None), default=0)
                width = max(width, used)
                if used and number * width > MAX_CELLS:
                    raise InputError(
                        f"the sheet {sheet.title} of {path} has a value in row {number} and one in column {width}, "
                        "too far for an annotation; delete the cells far away"
                    )
        return sums, book.epoch


def read_table(
    path: Path, *, sheets: Sequence[str], columns: Mapping[str, Sequence[str]], needed: Sequence[str]
) -> Table:
    """Read a sheet of a workbook, its header found by content among the first rows.

    Args:
        path: .xlsx or .xls.
        sheets: preferred names, where several sheets have the columns.
        columns: our name -> names in the workbook, ignoring spaces and case; of several, the first one present.
        needed: our names of the columns that must be there.

    Raises:
        InputError: it cannot be opened, no sheet has the columns, or several have and none has a preferred name.
    """
    book = open_workbook(path)
    fitting = {name: place for name, cells in book.items() if (place := _header(cells, columns, needed)) is not None}
    known = [name for wanted in sheets for name in fitting if name.strip().lower() == wanted.lower()]
    if len(fitting) > 1 and not known:
        raise InputError(
            f"{path} has several sheets with the columns of an annotation: {', '.join(fitting)}; keep one of them, or "
            f"call it {sheets[0]}"
        )
    for name in known or fitting:
        return _table(path, book[name], *fitting[name])
    # The fullest row is the likeliest header; notes above it are short.
    fullest = {
        name: max((cells.iloc[k].dropna() for k in range(min(HEADER_ROWS, len(cells)))), key=len)
        for name, cells in book.items()
        if len(cells)
    }
    headers = [f"{name}: {', '.join(map(str, row))[:200]}" for name, row in fullest.items()]
    wanted = ", ".join(columns[name][0] for name in needed)
    raise InputError(
        f"{path} has no sheet with the columns {wanted}; found were {'; '.join(headers) or 'empty sheets'}. Give the "
        f"workbook that came with the dataset with --workbook; {DOCS} has its name and columns"
    )


_Header = tuple[int, list[str], Mapping[str, int | None]]  # its row, the names in it, and where ours are


def _header(cells: pd.DataFrame, columns: Mapping[str, Sequence[str]], needed: Sequence[str]) -> _Header | None:
    """The first row that has the needed columns."""
    for number in range(min(HEADER_ROWS, len(cells))):
        header = [_plain(value) for value in cells.iloc[number]]
        places = {
            ours: next((header.index(_plain(name)) for name in names if _plain(name) in header), None)
            for ours, names in columns.items()
        }
        if all(places[name] is not None for name in needed):
            return number, header, places
    return None


def _table(path: Path, cells: pd.DataFrame, number: int, header: list[str], places: Mapping[str, int | None]) -> Table:
    used = {place for place in places.values() if place is not None}
    body = cells.iloc[number + 1 :]
    rows = [
        {ours: None if place is None else cell(values[place]) for ours, place in places.items()}
        for values in body.itertuples(index=False, name=None)
    ]
    unread = [name for k, name in enumerate(header) if name and k not in used]
    return Table(path, tuple(r for r in rows if any(v is not None for v in r.values())), tuple(unread))


def _plain(value: Any) -> str:
    """A header in lower case, without quotes and surplus spaces."""
    return "" if cell(value) is None else " ".join(_visible(value).replace("'", " ").split()).lower()


def cell(value: Any) -> Any:
    """The value as it is, or None if empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT:
        return None
    return None if isinstance(value, str) and not value.strip() else value


def parse_float(value: Any) -> float | None:
    """The number in a cell, also as text, in full-width digits, or made into a date; else None."""
    if isinstance(value, Converted):
        return value.number
    if "_" in str(value):
        return None  # Python alone takes 1_046 for a number
    try:
        number = float(_visible(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_int(value: Any, *, missing: Iterable[int] = ()) -> int | None:
    """The frame number in a cell, rounded; None for `/`, blanks, words, and the values in `missing`."""
    # `1.046` may be another country's 1046.
    grouped = isinstance(value, str) and re.fullmatch(r"\d{1,3}\.\d{3}", _visible(value))
    number = None if grouped else parse_float(value)
    rounded = None if number is None else round(number)
    return None if rounded in tuple(missing) else rounded


def text(value: Any) -> str:
    """A cell as text, full-width characters as plain ones; a number without a fraction as an integer; empty if None."""
    if isinstance(value, Converted):
        value = value.typed if value.number is None else value.number
    if value is None:
        return ""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return _visible(value)


def _visible(value: Any) -> str:
    """A cell as it looks: full-width characters as plain ones, without marks that have no width."""
    return re.sub("[\u200b-\u200f\u2060\ufeff]", "", unicodedata.normalize("NFKC", str(value))).strip()
