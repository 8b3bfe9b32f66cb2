"""CASME II."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from openmer.datasets.base import Dataset, Tree, find_trees, matching, tree_of
from openmer.datasets.row import Row
from openmer.datasets.workbook import parse_int, text

SUBJECT = r"sub(\d\d)"


class CASME2(Dataset):
    """CASME II (Yan et al., PLoS ONE 2014).

    | | |
    |---|---|
    | what | spontaneous micro-expressions, onset to offset, some also with the frames around them |
    | size | 255 rows (256 in the later workbook, which adds 24/EP02_07), 26 subjects |
    | frames | 200 a second, 640x480 colour JPG; cropped about 280x340, another size for each clip |
    | files | `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg`; `Cropped/sub01/EP02_01f/reg_img46.jpg` |
    | annotation | `CASME2-coding-20140508.xlsx` or a later one |
    | emotions | others 99, disgust 63 (64), happiness 32, repression 27, surprise 25, sadness 7, fear 2 |
    | how obtained | a signed licence, see http://casme.psych.ac.cn/casme/e2; no redistribution |

    Quirks: the number in a picture's name is the frame's number in the annotation, not padded; an apex may be `/`;
    several subjects have clips of the same name; two numberings circulate for 07/EP06_01 and 12/EP09_02; the action
    units of five clips are `?`.
    """

    name = "casme2"
    title = "CASME II"
    fps = Fraction(200)
    request = "http://casme.psych.ac.cn/casme/e2 (licence to be signed)"
    emotions = ("others", "disgust", "happiness", "repression", "surprise", "sadness", "fear")
    expected: ClassVar[tuple[int, ...]] = (255, 256)
    workbooks = (r"CASME2-coding.*\.xlsx?", r"CASME2.*label.*\.xlsx?")
    workbook_called = "CASME2-coding-20140508.xlsx"
    layout = "CASME2_RAW_selected/sub01/EP02_01f/img46.jpg"

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
            needed=("subject", "name", "onset", "apex", "offset", "label"),
        )
        for row in table.rows:
            subject = parse_int(row["subject"])
            if subject is None or row["name"] is None:
                self._unread(row)
                continue
            yield Row(
                subject=f"{subject:02d}",
                name=text(row["name"]),
                label=text(row["label"]) if row["label"] is not None else None,
                onset=parse_int(row["onset"]),
                apex=parse_int(row["apex"], missing=(-1, 0)),
                offset=parse_int(row["offset"]),
                units=row["units"],
            )

    def _trees(self) -> Iterable[Tree]:
        return [tree_of(root, _clips) for root in find_trees(self.root, SUBJECT)]


def _clips(root: Path) -> Iterator[tuple[str, str, Path]]:
    for match, folder in matching(root, SUBJECT):
        for clip, path in matching(folder, r"EP\d\d.*"):
            yield match[1], clip[0], path
