"""Damaged inputs, made from whole ones by a seed: a generator a family, each case the command that has to meet it.

damage.py    what is done to bytes and to JSON
whole.py     small whole inputs that are damaged: faces, a store, a result
videos.py    video files
folders.py   folders of numbered images
tables.py    samples.csv and workbooks
networks.py  weights, records, checkpoints, ONNX
results.py   timelines, ELAN files, tables of truth, stores, runs, evaluations
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from corpus.case import Case

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))  # their small whole inputs are damaged here

FAMILIES = ("videos", "folders", "tables", "networks", "results")


def every_case(root: Path, seed: int, only: str = "") -> Iterator[Case]:
    """All cases, written below `root`; each family draws by itself, so that adding to one changes no other.

    Args:
        root: a new folder.
        seed: of the damage.
        only: how the names of cases begin; other families are not made.
    """
    from corpus import folders, networks, results, tables, videos

    modules = {"videos": videos, "folders": folders, "tables": tables, "networks": networks, "results": results}
    for number, family in enumerate(FAMILIES):
        if only and family != only.partition("/")[0]:
            continue
        folder = root / family
        folder.mkdir(parents=True)
        made = modules[family].cases(folder, np.random.default_rng([seed, number]))
        yield from (case for case in made if case.name.startswith(only))
