"""SAMM: micro-movements, and the long videos they were cut from."""

from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar

from openmer.datasets.base import COLUMNS, Dataset

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

    folders = (r"\d{3}", r"(?P<name>(?P<subject>\d{3})_\d+_\d+)")
    sheets = ("MICRO_ONLY",)
    recording = r"(?P<subject>\d{3})_\d+_\d+"
    missing: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(("onset", "apex", "offset"), (-1, 0))


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

    folders = (r"(?P<name>(?P<subject>\d{3})_\d+)",)
    sheets = ("FACS_Movement_Only",)
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{column: COLUMNS[column] for column in ("name", "onset", "apex", "offset", "units", "subject")},
        "type": ("Type", "Micro"),
    }
    optional = ("units", "subject")
    recording = r"(?P<folder>(?P<subject>\d{3})_\d+)_\d+"
    missing: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(("onset", "apex", "offset"), (-1,))
