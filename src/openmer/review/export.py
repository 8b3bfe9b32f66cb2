"""A coder's annotations for other programs: ELAN, BORIS, a table, Parquet.

What a coder accepted, relabelled or added is exported, with the coder's times; if asked for, also what was rejected.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openmer.choices import ExportFormat
from openmer.clip import NONE
from openmer.errors import InputError, to_install
from openmer.exchange.boris import to_boris, to_boris_csv
from openmer.exchange.elan import elan_document
from openmer.exchange.events import apart, milliseconds
from openmer.exchange.export import ENDINGS, media_of, read_result
from openmer.files import table_text, write_new_file
from openmer.review.annotations import ADDED, worded
from openmer.review.document import UNNAMED, Entry, Review
from openmer.timeline import Interval, Timeline
from openmer.version import __version__

SCHEMA = "openmer.reviewed/1"
REVIEWED = "reviewed"  # the tier of a coder without a name
REJECTED = "rejected"
_TEXT = ("video", "coder", "id", "origin", "verdict", "label", "expression", "action_units", "note")
_TIMES = ("onset_s", "apex_s", "offset_s", "duration_s")
_FRAMES = ("onset_frame", "apex_frame", "offset_frame")
COLUMNS = (*_TEXT[:6], *_TIMES, *_FRAMES, *_TEXT[6:])


def chosen(review: Review, *, rejected: bool = False) -> tuple[Entry, ...]:
    """What was accepted, and with `rejected` also what was rejected; by time.

    Raises:
        InputError: there is nothing.
    """
    verdicts = ("accepted", "rejected") if rejected else ("accepted",)
    entries = [e for e in review.entries if e.verdict in verdicts]
    if not entries:
        judged = sum(e.verdict != "none" for e in review.entries)
        raise InputError(
            f"the review of {review.source.video} has nothing accepted{' or rejected' if rejected else ''}: "
            f"{judged} of {len(review.entries)} entries are judged"
        )
    return tuple(sorted(entries, key=lambda e: (e.onset_s, e.offset_s)))


def name_of(entry: Entry) -> str:
    """The expression's name as the coder wrote it, `expression` without a name, or `none` if it was rejected."""
    return NONE if entry.verdict == "rejected" else entry.expression or UNNAMED


def export_reviewed(
    result: Path,
    review: Review,
    to: ExportFormat,
    out: Path,
    *,
    video: Path | None = None,
    rejected: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a coder's annotations of a result.

    Args:
        result: the folder that `openmer analyze` wrote.
        review: of this result.
        to: the target program or format.
        out: the file to write.
        video: where the video is, for ELAN; by default beside `out`.
        rejected: whether to include what was rejected.
        overwrite: whether a file at `out` may be replaced.

    Raises:
        InputError: nothing was accepted, or `out` does not have the ending that the program needs.
        OutputError: `out` already exists or cannot be written.
    """
    if out.suffix.lower() not in ENDINGS[to]:
        raise InputError(f"--out must end in {' or '.join(ENDINGS[to])} for {to}, got {out.name}")
    if video is not None and to != "elan":
        raise InputError(f"only an ELAN file names its video; leave out --video for {to}")
    entries, timeline = chosen(review, rejected=rejected), read_result(result).timeline
    if to == "elan":
        content = to_elan(entries, review, media_of(timeline, out, video))
    elif to == "boris":
        events = _timeline(entries, review)
        content = to_boris(events) if out.suffix.lower() == ".xlsx" else to_boris_csv(events)
    else:
        rows = [row_of(entry, review) for entry in entries]
        content = table_text(rows, COLUMNS).encode() if to == "csv" else _parquet(rows, review)
    write_new_file(out, content, overwrite=overwrite)


def _timeline(entries: Sequence[Entry], review: Review) -> Timeline:
    """The entries as intervals whose label is the expression and whose regions, which are said after it, the units."""
    intervals = tuple(
        Interval(
            label=name_of(e),
            onset_s=e.onset_s,
            apex_s=e.apex_s,
            offset_s=e.offset_s,
            regions=tuple(map(str, e.action_units)),
        )
        for e in entries
    )
    return Timeline(intervals=intervals, start_s=review.source.start_s, end_s=review.source.end_s)


def to_elan(entries: Sequence[Entry], review: Review, media: str | None) -> bytes:
    """A tier with the coder's name, one for what was rejected if there is any, and one for key moments."""
    tiers: dict[str, list[tuple[int, int, str]]] = {}
    for name, verdict in ((review.coder or REVIEWED, "accepted"), (REJECTED, "rejected")):
        words = [(e.interval, worded(e)) for e in entries if e.verdict == verdict]
        text_of = {id(interval): text for interval, text in words}
        for number, lane in enumerate(apart(interval for interval, _ in words), start=1):
            tier = name if number == 1 else f"{name} {number}"
            while tier in tiers:  # a coder may be called so
                tier += "'"
            tiers[tier] = [(*milliseconds(i), text_of[id(i)]) for i in lane]
    return elan_document(tiers, _timeline([e for e in entries if e.verdict == "accepted"], review), media)


def row_of(entry: Entry, review: Review) -> dict[str, Any]:
    """A row of the table; None where a value is unknown."""
    return {
        "video": review.source.video,
        "coder": review.coder,
        "id": entry.id,
        "origin": entry.origin,
        "verdict": entry.verdict,
        "label": name_of(entry),
        "expression": entry.expression,
        "action_units": ADDED.join(map(str, entry.action_units)),
        "note": entry.note,
        "onset_s": entry.onset_s,
        "apex_s": entry.apex_s,
        "offset_s": entry.offset_s,
        "duration_s": round(entry.interval.duration_s, 6),
        "onset_frame": entry.onset_frame,
        "apex_frame": entry.apex_frame,
        "offset_frame": entry.offset_frame,
    }


def _parquet(rows: Sequence[dict[str, Any]], review: Review) -> bytes:
    """The same rows with types; units of columns, and what is reviewed, in the metadata."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(f"Parquet needs pyarrow; {to_install('parquet', 'pyarrow')}") from error
    fields = [pa.field(name, pa.string()) for name in _TEXT]
    fields += [pa.field(name, pa.float64(), metadata={"unit": "s"}) for name in _TIMES]
    fields += [pa.field(name, pa.int64()) for name in _FRAMES]
    source = {"video": review.source.video, "timeline_sha256": review.source.timeline_sha256}
    metadata = {"schema": SCHEMA, "openmer": __version__, "coder": review.coder, **source}
    places = {field.name: field for field in fields}
    schema = pa.schema([places[name] for name in COLUMNS], metadata={"openmer": json.dumps(metadata)})
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
    return buffer.getvalue()
