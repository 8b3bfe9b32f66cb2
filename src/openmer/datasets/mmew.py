"""MMEW."""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from openmer.datasets.base import Dataset, Tree, find_trees, matching, tree_of
from openmer.datasets.row import Row
from openmer.datasets.workbook import parse_int, text

CLIP = r"(S\d\d)-\d\d-\d\d\d"


class MMEW(Dataset):
    """MMEW, micro-expressions (Ben et al., IEEE TPAMI 2021).

    | | |
    |---|---|
    | what | 300 micro-expressions of 36 people; macro-expressions of the same people are not read |
    | frames | 90 a second, faces cut out already, 231x231 colour JPG, numbered from 1 and not padded |
    | files | `MMEW_Final/Micro_Expression/happiness/S03-01-002/1.jpg`, or `S03/happiness/S03-01-002/1.jpg` |
    | annotation | `MMEW_Micro_Exp.xlsx` |
    | emotions | surprise 89, disgust 72, others 66 (their folder is called repression), happiness 36, fear 16, sadness 13, anger 8; not confirmed by a public list |
    | how obtained | a signed licence by mail, http://www.dpailab.com/database.html; no redistribution |
    """  # noqa: E501

    name = "mmew"
    title = "MMEW"
    fps = Fraction(90)
    request = "http://www.dpailab.com/database.html (licence to be signed)"
    emotions = ("happiness", "surprise", "anger", "disgust", "fear", "sadness", "others")
    expected: ClassVar[tuple[int, ...]] = (300,)
    workbooks = (r"MMEW_Micro_Exp.*\.xlsx?",)
    workbook_called = "MMEW_Micro_Exp.xlsx"
    layout = "Micro_Expression/happiness/S03-01-002/1.jpg"

    def _rows(self) -> Iterable[Row]:
        table = self._table(
            sheets=("Sheet1",),
            columns={
                "subject": ("Subject",),
                "name": ("Filename",),
                "onset": ("OnsetFrame", "Onset"),
                "apex": ("ApexFrame", "Apex"),
                "offset": ("OffsetFrame", "Offset"),
                "units": ("Action Units", "AU"),
                "label": ("Estimated Emotion", "Emotion"),
            },
            needed=("name", "onset", "apex", "offset", "label"),
        )
        for row in table.rows:
            name = "" if row["name"] is None else text(row["name"]).upper()
            if not re.fullmatch(CLIP, name):
                self._unread(row)
                continue
            yield Row(
                subject=name[:3],
                name=name,
                label=None if row["label"] is None else text(row["label"]),
                onset=parse_int(row["onset"]),
                apex=parse_int(row["apex"], missing=(-1, 0)),
                offset=parse_int(row["offset"]),
                units=row["units"],
            )

    def _trees(self) -> Iterable[Tree]:
        """All clip folders make one tree: they are inside folders of emotions, or of people and emotions."""
        trees = [tree_of(root, _clips) for root in find_trees(self.root, CLIP)]
        joined = {key: path for tree in trees for key, path in tree.folders.items()}
        return [Tree(self.root, "cropped", joined)] if joined else []


def _clips(root: Path) -> Iterator[tuple[str, str, Path]]:
    for match, folder in matching(root, CLIP):
        yield match[1].upper(), match[0].upper(), folder
