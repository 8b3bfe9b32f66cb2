"""Datasets by their names on the command line."""

from pathlib import Path

from openmer.clip import Sample
from openmer.datasets.base import Dataset
from openmer.datasets.casme2 import CASME2
from openmer.datasets.casme3 import CASME3
from openmer.datasets.casme_sq import CASMESquared
from openmer.datasets.mmew import MMEW
from openmer.datasets.samm import SAMM, SAMMLong
from openmer.datasets.smic import SMIC, SMICNIR, SMICVIS
from openmer.datasets.trees import Frames
from openmer.errors import InputError

READERS: dict[str, type[Dataset]] = {
    reader.name: reader for reader in (CASME2, SAMM, SMIC, SMICVIS, SMICNIR, CASME3, CASMESquared, MMEW, SAMMLong)
}
# The MEGC 2019 composite is three datasets in one folder.
COMPOSITE = "composite"
COMPOSITE_OF = ("smic-hs", "casme2", "samm")
NAMES = (*READERS, COMPOSITE)


def open_datasets(
    name: str,
    root: Path | str,
    *,
    frames: Frames | None = None,
    workbook: Path | None = None,
    corrections: bool = True,
) -> tuple[Dataset, ...]:
    """The dataset of that name, or the three of the composite.

    Raises:
        InputError: there is none of that name, or it cannot be read.
    """
    if name == "folder":
        raise InputError("a folder of your own is checked by openmer prepare folder ROOT, which names every wrong row")
    if name not in NAMES:
        raise InputError(f"there is no dataset {name!r}; choose {', '.join(NAMES)}, or folder for your own")
    if name == COMPOSITE and workbook is not None:
        raise InputError(
            "the composite has two workbooks, so --workbook cannot say which; put each below the folder, and "
            "no second one of its kind. docs/data.md has their names"
        )
    names = COMPOSITE_OF if name == COMPOSITE else (name,)
    return tuple(READERS[n](root, frames=frames, workbook=workbook, corrections=corrections) for n in names)


def samples_of(datasets: tuple[Dataset, ...]) -> tuple[Sample, ...]:
    """All recordings of several datasets."""
    return tuple(sample for dataset in datasets for sample in dataset.samples)
