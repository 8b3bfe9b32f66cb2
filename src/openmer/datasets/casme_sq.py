"""CAS(ME)^2."""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from openmer.datasets.base import DOCS, Dataset, Tree, find_trees, find_workbook, matching, text, tree_of, whole
from openmer.datasets.row import Row
from openmer.errors import InputError

SUBJECT = r"s(\d\d)"


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

    Quirks: participants are numbered 1 to 22, folders `s15` to `s40`, joined by the sheet `naming rule1`; videos by the
    four digits of their stimulus through `naming rule2`; an offset of 0 is not annotated (44 macro rows): the apex is
    taken, as SOFTNet and MDMD do.
    """

    name = "casme-sq"
    title = "CAS(ME)^2"
    fps = Fraction(30)
    request = "http://casme.psych.ac.cn/casme/e3 (licence to be signed)"
    emotions = ("negative", "positive", "surprise", "others")
    expected: ClassVar[tuple[int, ...]] = (357,)
    workbooks = (r"CAS\(ME\)\^?2code_final.*\.xlsx?", r"code_final.*\.xlsx?")
    layout = "rawpic/s15/15_0101disgustingteeth/img001.jpg"

    def _rows(self) -> Iterable[Row]:
        path = self._workbook or find_workbook(self.root, self.workbooks, self.title)
        codes, people, stimuli = self._sheets(path)
        subjects = {whole(row[2]): f"s{whole(row[0]):02d}" for row in people if whole(row[0]) is not None}
        videos = {text(row[1]): text(row[0]).zfill(4) for row in stimuli}
        for row in codes:
            participant, name = whole(row[0]), text(row[1])
            match = re.fullmatch(r"(.+?)_(\d+)", name)
            if participant is None or match is None:
                continue
            subject, code = subjects.get(participant), videos.get(match[1])
            if subject is None or code is None:
                missing = f"participant {participant}" if subject is None else f"video {match[1]}"
                self._note("impossible annotation", name, f"{missing} is in no naming rule; left out")
                continue
            apex, offset = whole(row[3], missing=(0,)), whole(row[4], missing=(0,))
            kind: Literal["micro", "macro"] = "micro" if text(row[7]).lower().startswith("micro") else "macro"
            yield Row(
                subject=subject,
                name=name,
                folder=code,
                label=text(row[6]),
                onset=whole(row[2], missing=(0,)),
                apex=apex,
                offset=apex if offset is None else offset,
                units=row[5],
                kind=kind,
            )

    def _sheets(self, path: Path) -> tuple[list[Any], list[Any], list[Any]]:
        """Rows of the codes and of the two naming rules; sheets are known by what they hold."""
        try:
            book: dict[str, pd.DataFrame] = pd.read_excel(path, sheet_name=None, header=None, dtype=object)
        except Exception as error:  # pandas and openpyxl raise many kinds
            raise InputError(f"cannot read the workbook {path}: {error}") from error
        found: dict[str, list[Any]] = {}
        for cells in book.values():
            rows = list(cells.itertuples(index=False, name=None))
            width = cells.shape[1]
            if width >= 8 and any("expression" in str(row[7]) for row in rows):
                found["codes"] = rows
            elif width >= 3 and any(whole(row[2]) is not None for row in rows):
                found["people"] = rows
            elif width >= 2 and any(re.fullmatch(r"\d{3,4}", text(row[0])) for row in rows):
                found["stimuli"] = rows
        missing = {"codes", "people", "stimuli"} - set(found)
        if missing:
            raise InputError(
                f"{path} lacks the sheet of {', '.join(sorted(missing))}; it has {', '.join(book)}. {DOCS} says what "
                "the three sheets hold"
            )
        return found["codes"], found["people"], found["stimuli"]

    def _trees(self) -> Iterable[Tree]:
        return [tree for root in find_trees(self.root, SUBJECT) if (tree := tree_of(root, _videos)).folders]


def _videos(root: Path) -> Iterator[tuple[str, str, Path]]:
    for match, folder in matching(root, SUBJECT):
        for video, path in matching(folder, r"\d+_(\d{4}).*"):
            yield f"s{match[1]}", video[1], path
