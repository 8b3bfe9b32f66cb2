"""Files: JSON and tables that are checked as they are read, and writing that never loses an older, good result."""

import csv
import io
import math
import os
import re
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from openmer.errors import InputError, OutputError

T = TypeVar("T")
SEPARATORS = (",", ";", "\t")
_STATED = re.compile(r"sep=(.)\s*")  # as spreadsheet programs write it above the header


@contextmanager
def new_directory(target: Path, *, overwrite: bool, marker: str, own: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place when the block ends without an error.

    On any error or interrupt, the new folder is removed and `target` is left as it was.

    Args:
        target: where the result will be.
        overwrite: whether an existing result there may be replaced.
        marker: the file that distinguishes an older result from an unrelated folder; a folder that holds
            files but not this one is never replaced.
        own: names of everything that a result may hold; a folder that holds anything else is never replaced.

    Raises:
        OutputError: `target` exists and may not be replaced, or its parent cannot be written.
    """
    target = target.absolute()
    try:
        _refuse_if_taken(target, overwrite=overwrite, marker=marker, own=own)
    except OSError as error:
        raise OutputError(f"cannot write to {target}: {error.strerror or error}; choose another --out") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        staging.mkdir()  # with permissions by the user's umask, unlike tempfile's
    except OSError as error:
        raise OutputError(
            f"cannot write to {target.parent}: {error.strerror or error}; choose another --out"
        ) from error
    try:
        yield staging
        _swap(staging, target)
    except BrokenPipeError:  # whoever is told of the progress went away; the disk is well
        raise
    except OSError as error:
        raise OutputError(f"could not write the result: {error.strerror or error} ({target})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_if_taken(target: Path, *, overwrite: bool, marker: str, own: Collection[str]) -> None:
    if not (target.exists() or target.is_symlink()):
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(f"{target} exists and is not a folder; choose another --out")
    if not any(target.iterdir()):
        return
    if not (target / marker).exists():
        raise OutputError(
            f"{target} holds files but no {marker}, so it is not a result of this command and is left "
            "alone; choose another --out"
        )
    foreign = sorted({p.name for p in target.iterdir()} - set(own))
    if foreign:
        raise OutputError(
            f"{target} also holds {', '.join(foreign[:5])}, which this command did not write and would delete; "
            "move it away or choose another --out"
        )
    if not overwrite:
        raise OutputError(f"{target} already holds a result; add --overwrite (in Python overwrite=True) to replace it")


def _swap(staging: Path, target: Path) -> None:
    """Replace `target` with `staging`; an older folder is moved aside first and removed last."""
    if not target.exists():
        staging.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    target.rename(aside / target.name)
    try:
        staging.rename(target)
    except BaseException:  # also on an interrupt: the older result is restored before anything is removed
        (aside / target.name).rename(target)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def write_atomic(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write one file beside `path` and rename it into place; `durable` waits until the disk has it."""
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_new_file(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write one file, and its folder if missing; an existing file, which somebody may have edited, is not replaced.

    Raises:
        OutputError: `path` already exists or cannot be written.
    """
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; choose another --out")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists; add --overwrite (in Python overwrite=True) to replace it")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another --out") from error


def without_nan(content: Any) -> Any:
    """The same content with None in place of non-finite numbers, which JSON cannot express."""
    if isinstance(content, dict):
        return {k: without_nan(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(v) for v in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path may hold a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {path}: {reason}") from error


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file as a value of this type; every type in it is checked, and unknown names are left out.

    Args:
        path: the file.
        kind: a dataclass, or whatever else msgspec understands.

    Raises:
        InputError: the file cannot be read, or something in it is not of its type; names the file and the place.
    """
    content = read_bytes(path)
    try:
        return decode_json(content, kind)
    except InputError as error:
        raise InputError(f"cannot read {path}: {error}") from error


def decode_json(content: str | bytes, kind: type[T]) -> T:
    """The value that a JSON text holds, checked as in `read_json`.

    Raises:
        InputError: it is no JSON, or something in it is not of its type; names the place.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(str(error)) from error


def table_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A table as CSV: the columns in this order, empty cells for None, no line breaks within a cell."""
    import pandas as pd  # only where a table is written: the command line starts sooner

    table = pd.DataFrame(
        [[_cell(row.get(name)) for name in columns] for row in rows],
        columns=[_cell(name) for name in columns],
        dtype=object,
    )
    return str(table.to_csv(index=False, lineterminator="\n"))


def _cell(value: Any) -> Any:
    """A lone carriage return would end a row, since writers do not quote it."""
    return value.replace("\r", " ").replace("\n", " ") if isinstance(value, str) else value


def table_rows(path: Path, *needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Rows of a table that are not empty: the line's number, and the cells by column, or what is wrong with the row.

    A text table's columns are separated by commas, semicolons or tabs, as spreadsheet programs save them in different
    countries, in UTF-8 or UTF-16; of an .xlsx the first sheet is read. Lines above the header are skipped.

    Args:
        path: the file.
        needed: the columns that a table needs; several such lists for several kinds of table.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    rows = list(_sheet_rows(path) if path.suffix.lower() == ".xlsx" else _text_rows(path))
    headers = [(k, [" ".join(name.split()).lower() for name in cells]) for k, (_, cells) in enumerate(rows)]
    kinds = [set(names) for names in needed]
    fitting = [(k, names) for k, names in headers if any(kind <= set(names) for kind in kinds)]
    first, header = (fitting or headers or [(0, [])])[0]
    _check_header(header, path, [] if fitting else needed[0])
    for number, cells in rows[first + 1 :]:
        if any(cells[len(header) :]):
            yield number, f"it has {len(cells)} cells, the header {len(header)}; put a cell with a separator in quotes"
        elif any(cells):
            yield number, dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))


def text_separator(path: Path) -> str:
    """What separates the columns of a text table.

    Raises:
        InputError: it cannot be read.
    """
    first = _decoded(path).partition("\n")[0]
    stated = _STATED.fullmatch(first)
    return stated[1] if stated else max(SEPARATORS, key=first.count)


def _text_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    content = _decoded(path)
    separator = text_separator(path)
    first, _, rest = content.partition("\n")
    stated = _STATED.fullmatch(first)
    lines = io.StringIO(rest if stated else content, newline="")
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for row in reader:
            yield reader.line_num + bool(stated), [cell.strip() for cell in row]
    except csv.Error as error:
        raise InputError(f"cannot read {path}, line {reader.line_num}: {error}") from error


def _sheet_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    import openpyxl  # type: ignore[import-untyped]
    import pandas as pd

    try:
        sheet = pd.read_excel(path, header=None, dtype=str, keep_default_na=False, engine="openpyxl")
        written = openpyxl.load_workbook(path).worksheets[0].values  # formulas as such, not their results
    except Exception as error:  # whatever openpyxl meets in a damaged workbook
        raise InputError(f"cannot read {path} as a workbook: {error}") from error
    read = sheet.to_numpy().tolist()
    for number, cells in enumerate(written, start=1):
        results = [str(cell).strip() for cell in read[number - 1]] if number <= len(read) else []
        for place, cell in enumerate(cells):
            if isinstance(cell, str) and cell.startswith("=") and not "".join(results[place : place + 1]):
                raise InputError(
                    f"{path}, line {number}: {cell[:60]} has no result; open and save the table in a spreadsheet "
                    "program"
                )
        yield number, results


def _decoded(path: Path) -> str:
    data = read_bytes(path)
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        content = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8: save it as CSV UTF-8") from error
    if content.count("\0") > len(content) // 4:  # UTF-16 without a mark
        raise InputError(f"{path} is not in UTF-8, or not a text: save it as CSV UTF-8")
    return content


def _check_header(header: Sequence[str], path: Path, needed: Sequence[str]) -> None:
    missing = [c for c in needed if c not in header]
    if missing:
        instead = ", ".join(name for name in header if name) or "none"
        raise InputError(f"{path} lacks the column {', '.join(missing)}; its columns are: {instead[:300]}")
    # The probabilities of classes whose names differ in nothing but case or space: written, never read.
    read = [name for name in header if name and not name.startswith("p_")]
    twice = sorted({name for name in read if read.count(name) > 1})
    if twice:
        raise InputError(f"{path} has more than one column {', '.join(twice)}; rename or remove one")


def decimal(written: str) -> str:
    """A number with a decimal point, also if it was written with a comma or full-width digits."""
    plain = unicodedata.normalize("NFKC", written)
    return re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", plain)
