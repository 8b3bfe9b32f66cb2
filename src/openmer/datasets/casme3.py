"""CAS(ME)^3, part A."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from openmer.datasets.base import Dataset, Tree, find_trees, matching, tree_of
from openmer.datasets.row import Row
from openmer.datasets.workbook import parse_int, text

SUBJECT = r"spNO\.(\d+)"
CLIP = SUBJECT + r"_([a-z]_\d+)"


class CASME3(Dataset):
    """CAS(ME)^3, part A (Li et al., IEEE TPAMI 2022): micro-expressions in whole videos with depth.

    | | |
    |---|---|
    | what | 860 micro-expressions in the second release of the workbook; 94 subjects |
    | frames | 30 a second, 1280x720 colour JPG (depth is not read); some frames are missing |
    | files | `part_A/data/part_A_split/part_A/spNO.1/a/color/355.jpg`; or `Part_A_ME_clip/frame/spNO.1_a_355/355.jpg` |
    | annotation | `cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx`, sheet `label`; all cells are text |
    | emotions | disgust 250, surprise 187, others 161, fear 86, anger 64, sad 57, happy 55 |
    | how obtained | a signed licence, see http://casme.psych.ac.cn/casme/e4; no redistribution |

    Quirks: a video has up to 17 expressions, so a recording is named by video and onset (`a_355`); the case of folders
    does not always match the workbook; an apex may equal the onset; many expressions last longer than half a second.
    """

    name = "casme3"
    title = "CAS(ME)^3 part A"
    fps = Fraction(30)
    request = "http://casme.psych.ac.cn/casme/e4 (licence to be signed)"
    emotions = ("disgust", "surprise", "others", "fear", "anger", "sadness", "happiness")
    expected: ClassVar[tuple[int, ...]] = (860,)
    workbooks = (r"cas\(me\)3_part_A_ME_label.*\.xlsx?",)
    workbook_called = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    layout = "part_A/spNO.1/a/color/355.jpg"

    def _rows(self) -> Iterable[Row]:
        table = self._table(
            sheets=("label", "Sheet1"),
            columns={
                "subject": ("Subject",),
                "video": ("Filename",),
                "onset": ("Onset",),
                "apex": ("Apex",),
                "offset": ("Offset",),
                "units": ("AU", "Action Units"),
                "label": ("emotion",),
            },
            needed=("subject", "video", "onset", "apex", "offset", "label"),
        )
        clips = any("_" in name for _, name in self.tree.folders)
        for row in table.rows:
            if row["subject"] is None or row["video"] is None or parse_int(row["onset"]) is None:
                self._unread(row)  # the onset is part of the name
                continue
            video = text(row["video"]).lower()
            onset = parse_int(row["onset"])
            name = f"{video}_{onset}"
            yield Row(
                subject=f"spNO.{text(row['subject']).split('.')[-1]}",
                name=name,
                folder=name if clips else video,
                label=None if row["label"] is None else text(row["label"]),
                onset=onset,
                apex=parse_int(row["apex"], missing=(0,)),
                offset=parse_int(row["offset"], missing=(0,)),
                units=row["units"],
            )

    def _trees(self) -> Iterable[Tree]:
        whole_videos = (tree_of(root, _videos) for root in find_trees(self.root, SUBJECT))
        short = (tree_of(root, _clips) for root in find_trees(self.root, CLIP) if root.name.lower() != "depth")
        return [tree for tree in (*whole_videos, *short) if tree.folders]


def _videos(root: Path) -> Iterator[tuple[str, str, Path]]:
    for match, folder in matching(root, SUBJECT):
        for letter, video in matching(folder, r"[a-z]"):
            colour = [p for _, p in matching(video, "color")]
            yield f"spNO.{match[1]}", letter[0], colour[0] if colour else video


def _clips(root: Path) -> Iterator[tuple[str, str, Path]]:
    for match, folder in matching(root, CLIP):
        yield f"spNO.{match[1]}", match[2], folder
