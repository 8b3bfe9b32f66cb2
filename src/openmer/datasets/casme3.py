"""CAS(ME)^3, part A."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from openmer.datasets.base import Dataset, Names
from openmer.datasets.trees import Tree, find_trees, matching, nested, tree_of
from openmer.datasets.workbook import parse_int, text


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

    folders = (r"(?P<subject>spNO\.\d+)", r"(?P<name>[a-z])")
    clips = (r"(?P<subject>spNO\.\d+)_(?P<name>[a-z]_\d+)",)
    sheets = ("label", "Sheet1")
    missing: ClassVar[Mapping[str, tuple[int, ...]]] = {"apex": (0,), "offset": (0,)}

    def _names(self, cells: Mapping[str, Any]) -> Names | None:
        subject, video, onset = text(cells["subject"]), text(cells["name"]).lower(), parse_int(cells["onset"])
        if not subject or not video or onset is None:
            return None  # the onset is part of the name
        name = f"{video}_{onset}"
        return Names(f"spNO.{subject.split('.')[-1]}", name, name if self._has_clips else video)

    @cached_property
    def _has_clips(self) -> bool:
        """Whether each expression has a folder of its own."""
        return any("_" in name for _, name in self.tree.folders)

    def _trees(self) -> Iterable[Tree]:
        whole_videos = (tree_of(root, self._videos) for root in find_trees(self.root, self.folders[0]))
        clips = find_trees(self.root, self.clips[0])
        short = (tree_of(root, nested(self.clips)) for root in clips if root.name.lower() != "depth")
        return (*whole_videos, *short)

    def _videos(self, root: Path) -> Iterable[tuple[str, str, Path]]:
        """Whole videos, of which the color pictures may have a folder of their own."""
        for subject, letter, video in nested(self.folders)(root):
            color = [path for _, path in matching(video, "color")]
            yield subject, letter, color[0] if color else video
