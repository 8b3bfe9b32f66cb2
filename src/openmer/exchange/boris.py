"""Events for BORIS (Friard and Gamba, Methods in Ecology and Evolution 7, 2016), which imports them from a spreadsheet.

The columns are those that BORIS 8 to 10 expects in the first sheet of an .xlsx file: time, subject, code, modifier,
comment. A state begins with one row and ends with another of the same code; an apex is a point event, one row.
"""

import io

import pandas as pd

from openmer.exchange.events import described, lanes, milliseconds, printable
from openmer.files import table_text
from openmer.timeline import BLINK, Timeline

COLUMNS = ("time", "subject", "code", "modifier", "comment")
APEX = "apex"
_STOP, _POINT, _START = range(3)  # at the same moment one state ends before the next begins

Row = tuple[float, str, str, str, str]


def rows(timeline: Timeline) -> list[Row]:
    """Events in order of time: two per interval, and one more for its apex, except for blinks."""
    events: list[tuple[int, int, str, str]] = []
    for code, lane in lanes(timeline).items():
        for interval in lane:
            begin, end = milliseconds(interval)
            words = described(interval)
            events += [(begin, _START, code, words), (end, _STOP, code, "")]
            if interval.apex_s is not None and interval.label != BLINK:
                events.append((round(1000 * interval.apex_s), _POINT, APEX, words))
    return [(at / 1000, "", code, "", words) for at, _, code, words in sorted(events)]


def to_boris(timeline: Timeline) -> bytes:
    """The .xlsx file that BORIS imports."""
    plain = [
        (at, subject, printable(code), modifier, printable(words))
        for at, subject, code, modifier, words in rows(timeline)
    ]
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as book:
        pd.DataFrame(plain, columns=list(COLUMNS)).to_excel(book, index=False, sheet_name="events")
        for cell in (cell for row in book.sheets["events"].iter_rows() for cell in row if cell.data_type == "f"):
            cell.data_type = "s"  # words that begin with = are no formula
    return buffer.getvalue()


def to_boris_csv(timeline: Timeline) -> bytes:
    """The same rows as text, for scripts; BORIS itself does not import text."""
    return table_text([dict(zip(COLUMNS, row, strict=True)) for row in rows(timeline)], COLUMNS).encode()
