"""What a workbook says about one expression, before it is joined with frames."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Row:
    """One annotated expression as the workbook has it.

    Attributes:
        subject: canonical.
        name: of the recording, unique within the subject.
        folder: name of the folder with its frames, if different.
        label: emotion, as written, or None.
        onset: frame number, or None if not annotated.
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
