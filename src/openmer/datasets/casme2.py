"""CASME II."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar

from openmer.datasets.base import Dataset, Names
from openmer.datasets.workbook import parse_int, text


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

    folders = (r"sub(?P<subject>\d\d)", r"(?P<name>EP\d\d.*)")

    def _names(self, cells: Mapping[str, Any]) -> Names | None:
        subject, name = parse_int(cells["subject"]), text(cells["name"])
        return Names(f"{subject:02d}", name) if subject is not None and name else None
