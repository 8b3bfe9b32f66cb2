"""Folders of the true shape of the licensed datasets, with invented values and gray pictures.

Names, layouts and quirks are those that the readers' data cards state; subjects and their classes are those of the
official list of MEGC 2019, and all else is invented. `python -m fakes OUT` in this folder's parent writes all of them.

    files.py    pictures, workbooks, faces
    clips.py    recordings cut out: CASME II, SAMM, SMIC, MMEW
    videos.py   expressions in whole videos: CAS(ME)^2, CAS(ME)^3, SAMM Long Videos
"""

from pathlib import Path

from fakes.clips import MMEW_ROWS, SAMM_ROWS, casme2, casme2_rows, mmew, samm, samm_rows, smic
from fakes.files import book, numbered, pictures, render, sheet
from fakes.videos import CASME3_ROWS, CASME_SQ_ROWS, SAMM_LONG_ROWS, casme3, casme_sq, samm_long

__all__ = [
    "CASME3_ROWS",
    "CASME_SQ_ROWS",
    "MMEW_ROWS",
    "SAMM_LONG_ROWS",
    "SAMM_ROWS",
    "book",
    "casme2",
    "casme2_rows",
    "casme3",
    "casme_sq",
    "composite",
    "everything",
    "mmew",
    "numbered",
    "pictures",
    "render",
    "samm",
    "samm_long",
    "samm_rows",
    "sheet",
    "smic",
]


def composite(out: Path) -> None:
    """SMIC, CASME II and SAMM below one folder, with all that MEGC counts."""
    casme2(out / "CASME2")
    samm(out / "SAMM_release")
    smic(out / "SMIC")


def everything(out: Path) -> None:
    """Each dataset in a folder of its own."""
    composite(out / "composite")
    for camera in ("VIS", "NIR"):
        smic(out / "SMIC", camera=camera)
    mmew(out / "MMEW")
    casme_sq(out / "CASME_SQ")
    casme3(out / "CASME3")
    samm_long(out / "SAMM_LV")
