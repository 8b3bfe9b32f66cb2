"""Known errors of released annotations: a table of the published value, the correct one, and the source.

A correction is applied only if the bad value is there, so a corrected copy of a workbook is left as it is. All applied
corrections are listed in a reader's findings, and `corrections=False` (`--no-corrections`) switches them off. Entries
use a recording's name, never a row number, since those differ between versions of a workbook.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from openmer.datasets.row import Row

Field = Literal["onset", "apex", "offset"]
MEB = "MEB, Varanka et al."


@dataclass(frozen=True)
class Correction:
    """One corrected value.

    Attributes:
        dataset: name.
        subject: canonical.
        clip: name of the recording.
        field: which number.
        bad: the published value; None if it is missing.
        good: the correct value.
        source: who found it.
    """

    dataset: str
    subject: str
    clip: str
    field: Field
    bad: int | None
    good: int
    source: str


def _apexes(dataset: str, table: str) -> tuple[Correction, ...]:
    """`04/EP12_01f 279, ...`: apexes missing in the release."""
    entries = []
    for part in table.split(","):
        name, apex = part.split()
        subject, clip = name.split("/")
        entries.append(Correction(dataset, subject, clip, "apex", None, int(apex), MEB))
    return tuple(entries)


CORRECTIONS: tuple[Correction, ...] = (
    *_apexes(
        "casme2",
        "04/EP12_01f 279, 05/EP03_01 68, 05/EP07_01 77, 05/EP09_05f 81, 05/EP16_04f 166, 06/EP01_01 100, "
        "07/EP06_01 78, 12/EP09_02 187, 12/EP09_06 89, 13/EP09_10 80, 16/EP01_08 88, 17/EP03_09 134, 17/EP06_07 231, "
        "17/EP13_09 53, 17/EP15_03 329, 18/EP19_01 111, 20/EP16_01 91, 20/EP16_04 103, 25/EP09_02 98, 25/EP12_01 153, "
        "25/EP18_04f 98",
    ),
    Correction("samm", "013", "013_1_9", "offset", 5793, 5739, MEB),
    *_apexes("samm", "028/028_4_1 1105, 032/032_3_1 4945, 032/032_3_2 5130"),
    Correction("casme3", "spNO.149", "d_112", "apex", 83, 123, MEB),
    Correction("casme3", "spNO.216", "e_0", "onset", 0, 1, MEB),
    Correction("casme3", "spNO.216", "e_0", "apex", None, 1, MEB),
    Correction("casme3", "spNO.214", "c_5", "offset", 3460, 34, MEB),
)


def correct(dataset: str, row: Row) -> tuple[Row, tuple[str, ...]]:
    """The corrected row, and what was changed."""
    changes = []
    for entry in CORRECTIONS:
        if (entry.dataset, entry.subject, entry.clip) != (dataset, row.subject, row.name):
            continue
        if getattr(row, entry.field) == entry.bad:
            change: dict[str, Any] = {entry.field: entry.good}
            row = replace(row, **change)
            before = "missing" if entry.bad is None else entry.bad
            changes.append(f"{entry.field} {before} -> {entry.good} ({entry.source})")
    return row, tuple(changes)
