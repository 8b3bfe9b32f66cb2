"""SMIC with its three cameras."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from openmer.datasets.base import Dataset
from openmer.datasets.row import Row
from openmer.datasets.trees import Tree, find_trees, matching, tree_of

CLASSES = ("negative", "positive", "surprise")


class SMIC(Dataset):
    """SMIC, high-speed camera (Li, Pfister, Huang, Zhao, Pietikäinen, FG 2013).

    | | |
    |---|---|
    | what | spontaneous micro-expressions, onset to offset |
    | size | 164 clips of 16 subjects (s1 to s6, s8, s9, s11 to s15, s18 to s20) |
    | frames | 100 a second, 640x480 BMP; cropped about 170x140, another size for each clip |
    | files | `SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image559740.bmp`; `SMIC_all_cropped/...` with `reg_` |
    | annotation | none: the folder is the class, the first and last picture are onset and offset; no apex |
    | classes | negative 70, positive 51, surprise 43 |
    | how obtained | a signed release agreement with the University of Oulu (CMVS); no redistribution |

    Quirks: subjects are not padded on disk (`s1`) but are in other lists (`s01`); numbers have six to eight digits;
    there may be a folder `non_micro` beside `micro`; some frames may be missing within a clip.
    """

    name = "smic-hs"
    title = "SMIC (HS)"
    fps = Fraction(100)
    request = "https://www.oulu.fi (CMVS; release agreement to be signed by a permanent employee)"
    emotions = CLASSES
    expected: ClassVar[tuple[int, ...]] = (164,)
    in_folders = True
    camera: ClassVar[str] = "HS"
    layout = "SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image559740.bmp"

    def _rows(self) -> Iterable[Row]:
        """There is no table: folders are the annotation."""
        for subject, label, name, _ in _clips(self.tree.root):
            number, kind, _ = name[1:].split("_")
            if int(number) != int(subject[1:]) or not label.startswith(kind.lower()):
                self._note("person unclear", f"{subject}/{label}/{name}", "folders and name differ; using the folders")
            yield Row(subject=subject, name=name, label=label)

    def _trees(self) -> Iterable[Tree]:
        cameras = [folder for root in find_trees(self.root, self.camera) for _, folder in matching(root, self.camera)]
        # The given folder may be the camera's own.
        own = [self.root] if self.root.resolve().name.lower() == self.camera.lower() else []
        return [
            tree_of(folder, lambda r: ((s, n, p) for s, _, n, p in _clips(r)), called=folder.resolve().parent)
            for folder in (*cameras, *own)
        ]


def _clips(camera: Path) -> Iterator[tuple[str, str, str, Path]]:
    """(subject, class, name, folder), subjects in order of their numbers."""
    for subject, folder in sorted(matching(camera, r"s0*(\d+)"), key=lambda item: int(item[0][1])):
        inside = [p for _, p in matching(folder, "micro")] or [folder]
        for label, classes in matching(inside[0], "|".join(CLASSES)):
            for clip, path in matching(classes, r"s0*\d+_(ne|po|sur)_\d+"):
                yield f"s{int(subject[1])}", label[0].lower(), clip[0], path


class SMICVIS(SMIC):
    """SMIC, visible-light camera: 71 clips of 8 subjects, 25 frames a second, `VIS/.../01234.bmp`; else as `SMIC`.

    There are also 71 HS recordings of these eight subjects: 23 negative, 28 positive, 20 surprise; no public list of
    the VIS recordings confirms their classes.
    """

    name = "smic-vis"
    title = "SMIC (VIS)"
    fps = Fraction(25)
    expected: ClassVar[tuple[int, ...]] = (71,)
    camera: ClassVar[str] = "VIS"
    layout = "SMIC_all_raw/VIS/s11/micro/positive/s11_po_01/01234.bmp"


class SMICNIR(SMIC):
    """SMIC, near-infrared camera: 71 clips of 8 subjects, 25 frames a second, `NIR/.../01234.bmp`; else as `SMIC`."""

    name = "smic-nir"
    title = "SMIC (NIR)"
    fps = Fraction(25)
    expected: ClassVar[tuple[int, ...]] = (71,)
    camera: ClassVar[str] = "NIR"
    layout = "SMIC_all_raw/NIR/s11/micro/positive/s11_po_01/01234.bmp"
