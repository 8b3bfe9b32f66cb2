"""CAS(ME)^2."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from openmer.datasets.base import Dataset, Names
from openmer.datasets.row import Row
from openmer.datasets.workbook import DOCS, cell, open_workbook, parse_int, text
from openmer.errors import InputError

Cells = tuple[Any, ...]
CODES = ("participant", "name", "onset", "apex", "offset", "units", "label", "type")  # columns, in this order
_HOLDS = {
    "codes": "expressions (participant, name, onset, apex, offset, units, emotion, type)",
    "people": "people (number of the folder, its name, participant)",
    "stimuli": "videos (four digits, name)",
}


class CASMESquared(Dataset):
    """CAS(ME)^2 (Qu, Wang, Yan, Li, Wu, Fu, IEEE TAC 2018): micro- and macro-expressions in whole videos.

    | | |
    |---|---|
    | what | 98 long videos of 22 subjects; 357 expressions: 57 micro, 300 macro |
    | frames | 30 a second, 640x480 colour JPG |
    | files | `rawpic/s15/15_0101disgustingteeth/img001.jpg` |
    | annotation | `CAS(ME)^2code_final.xlsx`: three sheets without headers |
    | classes | micro: negative 21, others 19, surprise 9, positive 8 |
    | how obtained | a signed licence, see http://casme.psych.ac.cn/casme/e3; no redistribution |

    Quirks: participants are numbered 1 to 22, folders `s15` to `s40`; the sheet `naming rule1` maps one to the other.
    Videos are found by the four digits of their stimulus, from `naming rule2`. An offset of 0 means not annotated (44
    macro rows): the apex is used instead, as SOFTNet and MDMD do.
    """

    name = "casme-sq"
    title = "CAS(ME)^2"
    fps = Fraction(30)
    request = "http://casme.psych.ac.cn/casme/e3 (licence to be signed)"
    emotions = ("negative", "positive", "surprise", "others")
    expected: ClassVar[tuple[int, ...]] = (357,)
    workbooks = (r"CAS\(ME\)\^?2code_final.*\.xlsx?", r"code_final.*\.xlsx?")
    workbook_called = "CAS(ME)^2code_final.xlsx"
    layout = "rawpic/s15/15_0101disgustingteeth/img001.jpg"

    folders = (r"(?P<subject>s\d\d)", r"\d+_(?P<name>\d{4}).*")
    missing: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(("onset", "apex", "offset"), (-1, 0))

    def _rows(self) -> Iterable[Row]:
        """Its sheets have no header; people and videos are numbered otherwise on disk."""
        path = self._path
        codes, people, stimuli = _sheets(path)
        subjects = {parse_int(row[2]): f"s{parse_int(row[0]):02d}" for row in people if parse_int(row[0]) is not None}
        videos = {text(row[1]).lower(): text(row[0]).zfill(4) for row in stimuli if parse_int(row[0]) is not None}
        for values in codes:
            cells = dict(zip(CODES, values, strict=False))
            participant = parse_int(cells["participant"])
            match = re.fullmatch(r"(.+?)_(\d+)", text(cells["name"]))
            if participant is None or match is None:
                self._unread(cells)
                continue
            subject, code = subjects.get(participant), videos.get(match[1].lower())
            if subject is None or code is None:
                missing = f"participant {participant}" if subject is None else f"video {match[1]}"
                self._note(
                    "impossible annotation", match[0], f"{missing} is in no naming rule of {path.name}; left out"
                )
                continue
            row = self._row(Names(subject, match[0], code), cells)
            if row is None:
                continue
            if row.offset is None and row.apex is not None:
                what = f"the offset; using the apex, {row.apex}"
                self._note("interval not annotated", f"{subject}/{row.name}", what)
                row = replace(row, offset=row.apex)
            yield row


def _sheets(path: Path) -> tuple[list[Cells], list[Cells], list[Cells]]:
    """Rows of the codes and of the two naming rules; sheets are recognised by content, since none has a header.

    If two match, the first counts: people append sheets of their own.
    """
    book = open_workbook(path)
    sheets: dict[str, list[Cells]] = {}
    for cells in book.values():
        rows = [tuple(map(cell, row)) for row in cells.itertuples(index=False, name=None)]
        width = cells.shape[1]
        if width >= 8 and any("expression" in str(row[7]) for row in rows):
            sheets.setdefault("codes", rows)
        elif width >= 2 and any(re.fullmatch(r"\d{3,4}", text(row[0])) for row in rows):
            sheets.setdefault("stimuli", rows)
        elif width >= 3 and any(parse_int(row[2]) is not None for row in rows):
            sheets.setdefault("people", rows)
    missing = [_HOLDS[name] for name in _HOLDS if name not in sheets]
    if missing:
        raise InputError(
            f"{path} lacks the sheet of {' and of '.join(missing)}; it has {', '.join(book)}. Give the workbook that "
            f"came with the dataset with --workbook; {DOCS} says what its three sheets hold"
        )
    return sheets["codes"], sheets["people"], sheets["stimuli"]
