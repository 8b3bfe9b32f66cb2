"""One damaged input and what has to be done with it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        name: family, kind and damage.
        command: of the command line, or the name of a function with its arguments, see `damaged.FUNCTIONS`.
        keeps: files and folders that must be as they were if the command fails.
    """

    name: str
    command: tuple[str, ...]
    keeps: tuple[Path, ...] = ()
