"""Annotation in a plain table, by hand or from another program, as a timeline."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from openmer.errors import InputError
from openmer.files import decimal, table_rows
from openmer.timeline import Interval, Timeline

NEEDED = ("onset_s", "offset_s")
LABEL = "annotated"  # if a table has no label column


def read_csv(path: Path | str) -> Timeline:
    """Read a table with the columns onset_s and offset_s, optionally apex_s and label; other columns are ignored.

    Columns may be separated by commas, semicolons or tabs, and numbers have a decimal point or comma. Tables written by
    `Timeline.to_csv` can be read too. The timeline ends with its last interval.

    Raises:
        InputError: the file cannot be read, lacks a column, or a row is wrong; the message names the row.
    """
    path = Path(path)
    intervals = tuple(_intervals(path))
    return Timeline(
        intervals=intervals,
        start_s=0.0,
        end_s=max((i.offset_s for i in intervals), default=0.0),
        provenance={"source": path.name},
    )


def _intervals(path: Path) -> Iterator[Interval]:
    for number, row in table_rows(path, NEEDED):
        try:
            if isinstance(row, str):
                raise InputError(row)
            yield _interval(row)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error


def _interval(row: Mapping[str, str]) -> Interval:
    onset, apex, offset = (seconds(row, column) for column in ("onset_s", "apex_s", "offset_s"))
    if onset is None or offset is None:
        raise InputError("onset_s or offset_s is empty")
    return Interval(onset_s=onset, apex_s=apex, offset_s=offset, label=row.get("label") or LABEL)


def seconds(row: Mapping[str, str], column: str) -> float | None:
    """A cell in seconds, None if it is empty.

    Raises:
        InputError: it holds something else.
    """
    text = decimal(row.get(column, ""))
    try:
        value = float(text) if text else None
    except ValueError as error:
        raise InputError(f"{column} must be seconds, got {text[:60]!r}") from error
    if value is not None and not math.isfinite(value):
        raise InputError(f"{column} must be seconds, got {text[:60]!r}")
    return value
