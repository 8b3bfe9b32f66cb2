"""A plain table of intervals: for spreadsheets and scripts, and for annotation written by hand."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from openmer.errors import InputError
from openmer.timeline import Interval, Timeline, one_line

COLUMNS = ("onset_s", "apex_s", "offset_s", "label", "regions", "peak_px", "expression")
NEEDED = ("onset_s", "offset_s")
LABEL = "annotated"  # if a table has no label column


def to_csv(timeline: Timeline) -> bytes:
    """One row per interval; regions joined by `+`, `p_CLASS` for each class of a network, empty if unknown.

    A network that names action units adds the column `action_units`: those more likely shown than not, joined by `+`.
    """
    units = any(i.action_units for i in timeline)
    classes = dict.fromkeys(name for i in timeline for name in i.probabilities or ())
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"p_{name}" for name in classes), *(["action_units"] if units else [])])
    for i in timeline:
        shares = [(i.probabilities or {}).get(name) for name in classes]
        times = [_seconds(i.onset_s), _seconds(i.apex_s), _seconds(i.offset_s)]
        plain = [*times, one_line(i.label), one_line("+".join(i.regions))]
        named = [one_line("+".join(i.shown_units))] if units else []
        writer.writerow([*plain, i.peak_px, i.expression, *shares, *named])
    return buffer.getvalue().encode()


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def read_csv(path: Path | str) -> Timeline:
    """Read a table with the columns onset_s and offset_s, optionally apex_s and label; other columns are ignored.

    Tables written by `to_csv` and `Timeline.to_csv` can be read too. The timeline ends with its last interval.

    Raises:
        InputError: the file cannot be read, lacks a column, or a row is wrong; the message names the row.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8: save it as CSV UTF-8, with commas") from error
    except OSError as error:
        raise InputError(f"cannot read the table {path}: {error}") from error
    intervals = tuple(_intervals(text, path))
    return Timeline(
        intervals=intervals,
        start_s=0.0,
        end_s=max((i.offset_s for i in intervals), default=0.0),
        provenance={"source": path.name},
    )


def _intervals(text: str, path: Path) -> Iterator[Interval]:
    reader = csv.DictReader(io.StringIO(text))
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    missing = [c for c in NEEDED if c not in reader.fieldnames]
    if missing:
        commas = "; separate the columns by commas" if any(";" in c or "\t" in c for c in reader.fieldnames) else ""
        raise InputError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(reader.fieldnames) or 'none'}{commas}"
        )
    try:
        for row in reader:
            if any(str(v or "").strip() for v in row.values()):
                yield _interval(row)
    except (InputError, csv.Error, ValueError) as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from error


def _interval(row: Mapping[str, str | None]) -> Interval:
    onset, apex, offset = (_number(row, column) for column in ("onset_s", "apex_s", "offset_s"))
    if onset is None or offset is None:
        raise InputError("onset_s or offset_s is empty")
    label = (row.get("label") or "").strip() or LABEL
    return Interval(onset_s=onset, apex_s=apex, offset_s=offset, label=label)


def _number(row: Mapping[str, str | None], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    try:
        value = float(text) if text else None
    except ValueError as error:
        raise InputError(f"{column} must be seconds, got {text!r}") from error
    if value is not None and not math.isfinite(value):
        raise InputError(f"{column} must be seconds, got {text!r}")
    return value
