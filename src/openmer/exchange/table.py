"""Annotation in a table as a timeline: a plain one, by hand or from a script, or events that BORIS exported."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from openmer.errors import InputError
from openmer.exchange.media import is_of, other_media
from openmer.files import decimal, table_rows, text_separator
from openmer.timeline import Interval, Timeline

NEEDED = ("onset_s", "offset_s")
BORIS_NEEDED = ("behavior",)  # every table that BORIS exports has it
LABEL = "annotated"  # if a table has no label column
ABSENT = frozenset({"", "na", "n/a", "nan", "none"})  # cells that hold nothing, as BORIS and scripts write them
_TIMES = ("onset_s", "apex_s", "offset_s", "start (s)", "stop (s)", "time", "time offset (s)")
_CLOCK = re.compile(r"(?:\d+:[0-5]?\d:|\d+:)?[^:]+")  # seconds, or h:mm:ss with a fraction
_QUEUE = re.compile(r";(?=\s*\S)(?!\s*player\s*#)", re.IGNORECASE)  # another file of one player, not another player
_MEDIA = ("media file name", "media file path", "media file")

Row = tuple[int, Mapping[str, str]]


def read_table(path: Path | str, video: str | None = None) -> Timeline:
    """Read a table of intervals: .csv, .tsv or .xlsx.

    A plain table has the columns onset_s and offset_s, optionally apex_s and label; other columns are ignored. Numbers
    have a decimal point or comma; `1,368` between commas, which may be a thousand, is refused. Tables written by
    `Timeline.to_csv` can be read too.

    BORIS exports aggregated events, a row for each state, and tabular events, a row for each start and stop. Their
    behavior is the label; point events last no time and are left out. Where the observation has a time offset, it is
    taken off, so that times are those of the media file.

    Args:
        path: path of the file.
        video: name of the file that was analysed: only its events count; if BORIS names other media only, `provenance`
            has a warning.

    Raises:
        InputError: the file cannot be read, lacks a column, or a row is wrong; the message names the row.
    """
    path = Path(path)
    rows: list[Row] = []
    warnings: list[str] = []
    commas = path.suffix.lower() == ".csv" and text_separator(path) == ","
    for number, row in table_rows(path, NEEDED, BORIS_NEEDED):
        if isinstance(row, str):
            raise InputError(f"{path}, line {number}: {row}")
        doubtful = [row[name] for name in _TIMES if commas and re.fullmatch(r"[1-9]\d{0,2},\d{3}", row.get(name, ""))]
        if doubtful:
            raise InputError(
                f"{path}, line {number}: {doubtful[0]} may be {doubtful[0].replace(',', '.')} or "
                f"{doubtful[0].replace(',', '')} seconds; write it with a decimal point"
            )
        rows.append((number, row))
    try:
        if rows and NEEDED[0] not in rows[0][1]:
            rows, warnings = _of_one_file(rows, video, path.name)
            intervals, told = _without_lanes(_states(rows))
            warnings = [*warnings, *told]
        else:
            intervals = tuple(_each(rows, plain_interval))
    except InputError as error:
        raise InputError(f"{path}, {error}") from error
    return Timeline(
        intervals=intervals,
        start_s=0.0,
        end_s=max((i.offset_s for i in intervals), default=0.0),
        provenance={"source": path.name} | ({"warnings": warnings} if warnings else {}),
    )


def _each(rows: Iterable[Row], read: Callable[[Mapping[str, str]], Interval]) -> Iterator[Interval]:
    for number, row in rows:
        try:
            yield read(row)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from error


def plain_interval(row: Mapping[str, str]) -> Interval:
    """The interval of a row of a plain table.

    Raises:
        InputError: a cell is wrong, or the interval is impossible.
    """
    onset, apex, offset = (_seconds(row, column) for column in ("onset_s", "apex_s", "offset_s"))
    if onset is None or offset is None:
        raise InputError("onset_s or offset_s is empty")
    return Interval(onset_s=onset, apex_s=apex, offset_s=offset, label=row.get("label") or LABEL)


def _of_one_file(rows: Sequence[Row], video: str | None, name: str) -> tuple[list[Row], list[str]]:
    """The events of the video, and what to warn of."""
    media = {_media(row) for _, row in rows} - {""}  # an event at 0 s may have none
    own = {link for link in media if video is not None and is_of(video, [link])}
    warnings = []
    if video is not None and media and not own and Path(video).suffix:
        warnings.append(other_media(name, sorted(media), video))
    kept = [(n, row) for n, row in rows if not own or _media(row) in own | {""}]
    queued = next((link for _, row in kept if _QUEUE.search(link := row.get("source", ""))), "")
    if queued:
        raise InputError(
            f"its times count through several files played one after the other ({queued[:200]}); make an observation "
            f"of {video or 'one file'} alone in BORIS"
        )
    people = sorted({row.get("subject", "") for _, row in kept})
    if len(people) > 1:
        warnings.append(f"{name} has events of several subjects, {', '.join(people)[:200]}, which are taken together")
    if len({_media(row) for _, row in kept} - {""}) > 1 or len({row.get("observation id", "") for _, row in kept}) > 1:
        raise InputError("it holds events of several observations or media files; export those of one video from BORIS")
    return kept, warnings


def _media(row: Mapping[str, str]) -> str:
    """The event's media file; BORIS names none for some events at the very beginning."""
    return next((row[column] for column in _MEDIA if row.get(column, "").lower() not in ("", "na", "not found")), "")


def _states(rows: Sequence[Row]) -> tuple[Interval, ...]:
    """The state events of BORIS as intervals.

    Raises:
        InputError: there are none, or one has no end.
    """
    if "start (s)" in rows[0][1]:
        intervals = tuple(_each([r for r in rows if _kind(r[1]) != "POINT"], _aggregated))
    else:
        intervals = tuple(_paired(rows))
    if not intervals:
        raise InputError("it holds point events only, which last no time; code states in BORIS")
    return intervals


def _without_lanes(intervals: Sequence[Interval]) -> tuple[tuple[Interval, ...], list[str]]:
    """States `NAME 2`, `NAME 3` and so on, onto which `events.lanes` put what overlaps, as those of NAME again."""
    labels = {i.label for i in intervals}
    lanes = {label: base for label in labels if (base := re.sub(r" \d+$", "", label)) != label and base in labels}
    told = [f"States {lane!r} were read as {lanes[lane]!r} that overlap others." for lane in sorted(lanes)]
    return tuple(replace(i, label=lanes.get(i.label, i.label)) for i in intervals), told


def _kind(row: Mapping[str, str]) -> str:
    return (row.get("behavior type") or row.get("status") or "").upper()


def _aggregated(row: Mapping[str, str]) -> Interval:
    onset, offset = _seconds(row, "start (s)"), _seconds(row, "stop (s)")
    if onset is None or offset is None:
        raise InputError("Start (s) or Stop (s) is empty; fix unpaired events in BORIS")
    shift = _seconds(row, "time offset (s)") or 0.0
    return Interval(onset_s=onset - shift, offset_s=offset - shift, label=row["behavior"] or LABEL)


def _paired(rows: Iterable[Row]) -> Iterator[Interval]:
    """A state begins with a row and ends with the next one of the same subject and behavior."""
    open_states: dict[tuple[str, str], tuple[int, float]] = {}
    for number, row in rows:
        kind, key = _kind(row), (row.get("subject", ""), row["behavior"])
        if kind == "POINT":
            continue
        try:
            at, shift = _seconds(row, "time"), _seconds(row, "time offset (s)") or 0.0
            if at is None or kind not in ("START", "STOP") or (kind == "STOP") != (key in open_states):
                raise InputError(f"a start and a stop of {row['behavior']!r} with their times are needed, in turn")
            if kind == "START":
                open_states[key] = number, at - shift
            else:
                yield Interval(onset_s=open_states.pop(key)[1], offset_s=at - shift, label=row["behavior"] or LABEL)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from error
    for (_, behavior), (number, _) in open_states.items():
        raise InputError(f"line {number}: the state {behavior!r} does not stop; fix unpaired events in BORIS")


def _seconds(row: Mapping[str, str], column: str) -> float | None:
    """A cell in seconds, also as h:mm:ss; None if it is empty.

    Raises:
        InputError: it holds something else.
    """
    text = row.get(column, "")
    if text.lower() in ABSENT:
        return None
    value = 0.0
    try:
        if not _CLOCK.fullmatch(text):
            raise ValueError(text)
        for part in text.split(":"):
            value = 60 * value + float(decimal(part))
    except ValueError as error:
        code = "; frames in a time code are not read" if text.count(":") > 2 else ""
        raise InputError(f"{column} must be seconds, got {text[:60]!r}{code}") from error
    if not math.isfinite(value):
        raise InputError(f"{column} must be seconds, got {text[:60]!r}")
    return value
