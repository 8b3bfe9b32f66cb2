"""What a workbook says of one expression, before it is joined with frames."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Row:
    """One annotated expression as a workbook has it.

    Attributes:
        subject: canonical.
        name: of the recording, unique within the subject.
        folder: what the folder of its frames is called, where that is another name.
        label: emotion, as written, or None.
        onset: number of the frame, or None where it is not annotated.
        apex: likewise.
        offset: likewise.
        units: the cell with the action units.
        kind: `micro` or `macro`.
    """

    subject: str
    name: str
    folder: str = ""
    label: str | None = None
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    units: Any = None
    kind: Literal["micro", "macro"] = "micro"

    @property
    def whole_video(self) -> bool:
        """Whether the folder holds more than this expression."""
        return self.folder not in ("", self.name)
