"""SAMM: micro-movements, and the long videos they were cut from."""

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from openmer.datasets.base import Dataset, Tree, find_trees, matching, tree_of
from openmer.datasets.row import Row
from openmer.datasets.workbook import parse_int, text

_REQUEST = "https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php (release agreement to be signed)"


class SAMM(Dataset):
    """SAMM, micro-movements (Davison et al., IEEE TAC 2018; codes of the second version).

    | | |
    |---|---|
    | what | spontaneous micro-movements, onset to offset |
    | size | 159 clips, 29 subjects (008, 027, 029 absent) |
    | frames | 200 a second, 960x650 gray JPG; cropped trees vary |
    | files | `SAMM/006/006_1_2/006_05562.jpg` |
    | annotation | `SAMM_Micro_FACS_Codes_v2.xlsx`, sheet `MICRO_ONLY`, below a block of notes |
    | emotions | anger 57, other 26, happiness 26, surprise 15, contempt 12, disgust 9, fear 8, sadness 6 |
    | how obtained | a signed release agreement, https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php; no redistribution |

    Quirks: frame numbers are padded for some subjects and not for others; the header is in row 14 of the official
    workbook and in row 1 of another; `Duration` is a formula; an apex of -1 means missing; `Other` is singular.
    """

    name = "samm"
    title = "SAMM"
    fps = Fraction(200)
    request = _REQUEST
    emotions = ("anger", "others", "happiness", "surprise", "contempt", "disgust", "fear", "sadness")
    expected: ClassVar[tuple[int, ...]] = (159,)
    workbooks = (r"SAMM.*Micro.*FACS.*\.xlsx?",)
    workbook_called = "SAMM_Micro_FACS_Codes_v2.xlsx"
    layout = "SAMM/006/006_1_2/006_05562.jpg"

    def _rows(self) -> Iterable[Row]:
        table = self._table(
            sheets=("MICRO_ONLY",),
            columns={
                "subject": ("Subject",),
                "name": ("Filename",),
                "onset": ("Onset Frame", "Onset"),
                "apex": ("Apex Frame", "Apex"),
                "offset": ("Offset Frame", "Offset"),
                "units": ("Action Units",),
                "label": ("Estimated Emotion", "Emotion"),
            },
            needed=("subject", "name", "onset", "apex", "offset", "label"),
        )
        for row in table.rows:
            name = "" if row["name"] is None else text(row["name"])
            if not re.fullmatch(r"\d{3}_\d+_\d+", name):
                self._unread(row)
                continue
            yield Row(
                subject=name[:3],
                name=name,
                label=None if row["label"] is None else text(row["label"]),
                onset=parse_int(row["onset"], missing=(-1, 0)),
                apex=parse_int(row["apex"], missing=(-1, 0)),
                offset=parse_int(row["offset"], missing=(-1, 0)),
                units=row["units"],
            )

    def _trees(self) -> Iterable[Tree]:
        return [tree for root in find_trees(self.root, r"\d{3}") if (tree := tree_of(root, _clips)).folders]


def _clips(root: Path) -> Iterator[tuple[str, str, Path]]:
    for match, folder in matching(root, r"\d{3}"):
        for clip, path in matching(folder, rf"{match[0]}_\d+_\d+"):
            yield match[0], clip[0], path


class SAMMLong(Dataset):
    """SAMM Long Videos (Yap, Kendrick, Yap, FG 2020): micro- and macro-movements in whole videos, for spotting.

    | | |
    |---|---|
    | what | 147 long videos of 30 subjects; 502 movements: 343 macro, 159 micro |
    | frames | 200 a second, gray JPG |
    | files | `SAMM_longvideos/006_1/006_1_0001.jpg` |
    | annotation | `SAMM_LongVideos_V1_Release.xlsx` (V2, V3), sheet `FACS_Movement_Only`, below notes |
    | emotions | none; types `Macro` and `Micro - 1/2` |
    | how obtained | a signed release agreement, https://helward.mmu.ac.uk/STAFF/M.Yap/dataset.php; no redistribution |

    Quirks: numbers of macro rows can have fractions; an apex of -1 means missing; ten macro rows begin at 0, before the
    first frame; frames are numbered differently than in SAMM's clips.
    """

    name = "samm-long"
    title = "SAMM Long Videos"
    fps = Fraction(200)
    request = _REQUEST
    emotions = ()
    expected: ClassVar[tuple[int, ...]] = (502,)
    workbooks = (r"SAMM_?LongVideos.*\.xlsx?",)
    workbook_called = "SAMM_LongVideos_V1_Release.xlsx"
    layout = "SAMM_longvideos/006_1/006_1_0001.jpg"

    def _rows(self) -> Iterable[Row]:
        table = self._table(
            sheets=("FACS_Movement_Only",),
            columns={
                "name": ("Filename",),
                "onset": ("Onset", "Onset Frame"),
                "apex": ("Apex", "Apex Frame"),
                "offset": ("Offset", "Offset Frame"),
                "type": ("Type", "Micro"),
                "units": ("Action Units",),
                "subject": ("Subject",),
            },
            needed=("name", "onset", "apex", "offset", "type"),
        )
        for row in table.rows:
            name = "" if row["name"] is None else text(row["name"])
            match = re.fullmatch(r"((\d{3})_\d+)_\d+", name)
            if not match:
                self._unread(row)
                continue
            yield Row(
                subject=match[2],
                name=name,
                folder=match[1],
                onset=parse_int(row["onset"], missing=(-1,)),
                apex=parse_int(row["apex"], missing=(-1,)),
                offset=parse_int(row["offset"], missing=(-1,)),
                units=row["units"],
                kind="micro" if text(row["type"]).lower().startswith("micro") else "macro",
            )

    def _trees(self) -> Iterable[Tree]:
        return [tree_of(root, _videos) for root in find_trees(self.root, r"\d{3}_\d+")]


def _videos(root: Path) -> Iterator[tuple[str, str, Path]]:
    for match, folder in matching(root, r"(\d{3})_\d+"):
        yield match[1], match[0], folder
