"""MMEW."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, ClassVar

from openmer.datasets.base import Dataset, Names
from openmer.datasets.trees import Tree, by_recording
from openmer.datasets.workbook import text

CLIP = r"(?P<subject>S\d\d)-\d\d-\d\d\d"


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

    folders = (rf"(?P<name>{CLIP})",)
    optional = ("units", "subject")
    recording = CLIP

    def _names(self, cells: Mapping[str, Any]) -> Names | None:
        return super()._names({**cells, "name": text(cells["name"]).upper()})

    def _trees(self) -> Iterable[Tree]:
        """All clip folders make one tree: they are inside folders of emotions, or of people and emotions."""
        trees = list(super()._trees())
        first = [(key, path) for tree in trees for key, path in tree.folders.items()]
        others = [(key, path) for tree in trees for key, paths in tree.more.items() for path in paths]
        folders, more = by_recording(first + others)
        return [Tree(self.root, "cropped", folders, more)] if folders else []
