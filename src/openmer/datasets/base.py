"""What all readers of licensed datasets share: finding trees and workbooks, numbers of frames, what was found amiss.

Facts about the datasets come from public readers and workbooks; the datasets themselves were not seen. So everything is
found by names and content, never by position, and every reader says what it looked for and what it met instead.
"""

import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from openmer.clip import Sample
from openmer.datasets.corrections import correct
from openmer.datasets.row import Row
from openmer.errors import InputError
from openmer.labels import canonical_emotion, parse_action_units
from openmer.video.reader import IMAGE_SUFFIXES

Frames = Literal["raw", "cropped"]
FindingKind = Literal[
    "missing folder",
    "folder without row",
    "frames out of range",
    "too few frames",
    "apex estimated",
    "impossible annotation",
    "unknown label",
    "unread column",
    "repeated recording",
    "correction",
]
DOCS = "docs/data.md"
DEPTH = 4  # how many folders below the given one trees are looked for
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class Finding:
    """Something that a user should know of.

    Attributes:
        kind: what sort of thing.
        where: the recording, folder or column.
        what: what was met, and what was done.
    """

    kind: FindingKind
    where: str
    what: str


@dataclass(frozen=True)
class Tree:
    """A tree of frames: folders by (subject, name), both in the form that `Dataset._key` gives."""

    root: Path
    frames: Frames
    folders: Mapping[tuple[str, str], Path]


class Dataset(ABC):
    """A licensed dataset on disk; a subclass's docstring is its data card.

    Args:
        root: the folder that was unpacked, or one or two above.
        frames: `raw` pictures or `cropped` faces; by default raw where they are there.
        workbook: the annotation, where it does not lie under `root` or there are several.
        corrections: whether known errors of the released annotation are mended, see `corrections`.

    Attributes:
        samples: recordings that can be used.
        findings: what is missing, out of range, unknown, estimated or corrected.

    Raises:
        InputError: no frames or no workbook are found; the message says where it looked and what to do.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    fps: ClassVar[Fraction]
    request: ClassVar[str]
    emotions: ClassVar[tuple[str, ...]]
    expected: ClassVar[tuple[int, ...]] = ()  # rows of the workbooks that are known
    has_apex: ClassVar[bool] = True  # whether anybody annotated it
    workbooks: ClassVar[tuple[str, ...]] = ()  # patterns of their names

    def __init__(
        self,
        root: Path | str,
        *,
        frames: Frames | None = None,
        workbook: Path | None = None,
        corrections: bool = True,
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"there is no folder {self.root}; give the one into which {self.title} was unpacked")
        self._wanted = frames
        self._workbook = workbook
        self._corrections = corrections
        self._found: list[Finding] = []
        self.samples: tuple[Sample, ...] = tuple(self._read())

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """In the order of the annotation."""
        return tuple(self._found)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The annotation after corrections, whether or not there are frames for it."""
        return self._rows_read

    @abstractmethod
    def _rows(self) -> Iterable[Row]:
        """The annotation as written."""

    @abstractmethod
    def _trees(self) -> Iterable[Tree]:
        """Trees of frames under the root."""

    @cached_property
    def tree(self) -> Tree:
        """The tree that is read: the wanted kind, raw before cropped, the largest of several."""
        found = [t for t in self._trees() if t.folders]
        wanted = [t for t in found if self._wanted in (None, t.frames)]
        if not wanted:
            there = "; ".join(f"{t.frames} frames in {t.root}" for t in found) or _listing(self.root)
            kind = f"{self._wanted} " if self._wanted else ""
            raise InputError(
                f"no {kind}frames of {self.title} were found in {self.root} or up to {DEPTH} folders below "
                f"({there}). Expected is a tree such as {self.layout}; {DOCS} has all of them. "
                f"To get the dataset: {self.request}"
            )
        return max(wanted, key=lambda t: (t.frames == "raw", len(t.folders)))

    layout: ClassVar[str] = ""

    def _note(self, kind: FindingKind, where: str, what: str) -> None:
        self._found.append(Finding(kind, where, what))

    def _read(self) -> Iterator[Sample]:
        tree = self.tree
        rows = []
        for row in self._rows():
            mended, changes = correct(self.name, row) if self._corrections else (row, ())
            rows += [mended]
            for change in changes:
                self._note("correction", f"{row.subject}/{row.name}", change)
        self._rows_read = tuple(rows)
        known = set()
        unknown = {e for e in (canonical_emotion(r.label) for r in rows if r.label) if e not in self.emotions}
        for emotion in sorted(unknown):
            self._note("unknown label", emotion, f"not one of {', '.join(self.emotions)}; kept as it is")
        twice = Counter((r.subject, r.name) for r in rows)
        for row in rows:
            if twice[row.subject, row.name] > 1:
                self._note("repeated recording", f"{row.subject}/{row.name}", "listed more than once; left out")
                continue
            key = self._key(row.subject, row.folder or row.name)
            known.add(key)
            folder = tree.folders.get(key)
            if folder is None:
                self._note("missing folder", f"{row.subject}/{row.name}", f"not under {tree.root}; left out")
                continue
            sample = self._sample(row, folder, tree.frames)
            if sample is not None:
                yield sample
        for subject, name in sorted(set(tree.folders) - known):
            self._note("folder without row", f"{subject}/{name}", "not in the annotation; left out")

    @staticmethod
    def _key(subject: str, name: str) -> tuple[str, str]:
        """Upper and lower case do not matter."""
        return subject.lower(), name.lower()

    def _sample(self, row: Row, folder: Path, frames: Frames) -> Sample | None:
        where = f"{row.subject}/{row.name}"
        numbers = frame_numbers(folder)
        if len(numbers) < 2:
            self._note("too few frames", where, f"{len(numbers)} numbered pictures in {folder}; left out")
            return None
        onset = numbers[0] if row.onset is None else row.onset
        offset = numbers[-1] if row.offset is None else row.offset
        if onset > offset:
            self._note("impossible annotation", where, f"onset {onset} after offset {offset}; left out")
            return None
        inside = [n for n in numbers if onset <= n <= offset]
        if not inside:
            self._note(
                "frames out of range",
                where,
                f"annotated {onset} to {offset}, on disk {numbers[0]} to {numbers[-1]}: no frame in common; left out",
            )
            return None
        if (onset, offset) != (inside[0], inside[-1]):
            self._note(
                "frames out of range",
                where,
                f"annotated {onset} to {offset}, on disk {numbers[0]} to {numbers[-1]}; "
                f"taken {inside[0]} to {inside[-1]}",
            )
        onset, offset = inside[0], inside[-1]
        apex, estimated = row.apex, False
        if apex is None or not onset <= apex <= offset:
            met = "is not annotated" if apex is None else f"{apex} lies outside of {onset} to {offset}"
            apex, estimated = (onset + offset) // 2, True
            if self.has_apex:
                self._note("apex estimated", where, f"the apex {met}; taken is the middle, {apex}")
        return Sample(
            dataset=self.name,
            subject=row.subject,
            name=row.name,
            source=folder,
            fps=self.fps,
            label=None if row.label is None else canonical_emotion(row.label),
            onset=onset,
            apex=apex,
            offset=offset,
            apex_estimated=estimated,
            action_units=tuple(str(u) for u in parse_action_units(row.units)),
            cropped=frames == "cropped",
            kind=row.kind,
        )

    def _table(self, *, sheets: Sequence[str], columns: Mapping[str, Sequence[str]], needed: Sequence[str]) -> "Table":
        """The workbook's sheet, with columns by their names; the first that is found of several names."""
        path = self._workbook or find_workbook(self.root, self.workbooks, self.title)
        table = read_table(path, sheets=sheets, columns=columns, needed=needed)
        for column in table.unread:
            self._note("unread column", column, f"in {path.name}")
        return table


@dataclass(frozen=True)
class Table:
    """A sheet's rows by our names of its columns.

    Attributes:
        path: of the workbook.
        rows: cells as they are.
        unread: headers of columns that nothing was taken from.
    """

    path: Path
    rows: tuple[Mapping[str, Any], ...]
    unread: tuple[str, ...] = field(default=())


def find_trees(root: Path, child: str, *, depth: int = DEPTH) -> list[Path]:
    """Folders at most `depth` below that have sub-folders whose names match `child` wholly, upper and lower case alike.

    A match is not searched further.
    """
    pattern = re.compile(child, re.IGNORECASE)
    found, level = [], [root]
    for _ in range(depth + 1):
        following: list[Path] = []
        for folder in level:
            children = _subfolders(folder)
            if any(pattern.fullmatch(c.name) for c in children):
                found.append(folder)
            else:
                following += children
        level = following
    return found


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return []


def matching(folder: Path, pattern: str) -> list[tuple[re.Match[str], Path]]:
    """Sub-folders whose names match wholly, with the match."""
    found = ((re.fullmatch(pattern, p.name, re.IGNORECASE), p) for p in _subfolders(folder))
    return [(m, p) for m, p in found if m is not None]


def frame_numbers(folder: Path) -> list[int]:
    """The last number in the name of each picture, rising: 9 before 10."""
    found = set()
    for path in folder.iterdir():
        match = _LAST_NUMBER.search(path.stem)
        if match and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            found.add(int(match[1]))
    return sorted(found)


def is_cropped(tree: Path, first: Path | None) -> bool:
    """By the folder's name, or because its pictures are called `reg_...`."""
    if re.search("crop", tree.name, re.IGNORECASE) or re.search("crop", tree.parent.name, re.IGNORECASE):
        return True
    return first is not None and any(p.name.startswith("reg_") for p in first.iterdir())


def find_workbook(root: Path, patterns: Sequence[str], title: str) -> Path:
    """The annotation under `root`, by the names that are known.

    Raises:
        InputError: there is none, or several of the same standing.
    """
    books = [p for p in _files(root, DEPTH) if p.suffix.lower() in (".xlsx", ".xls") and not p.name.startswith("~$")]
    for pattern in patterns:
        found = [p for p in books if re.fullmatch(pattern, p.name, re.IGNORECASE)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"several workbooks of {title}: {', '.join(str(p) for p in found)}; choose one with --workbook"
            )
    there = ", ".join(str(p.relative_to(root)) for p in books[:10]) or "no workbook at all"
    raise InputError(
        f"the annotation of {title} was not found in {root} ({there}); it comes with the dataset and is called, for "
        f"example, {example(patterns[0])}. Put it there or give it with --workbook. {DOCS} has the names that are known"
    )


def example(pattern: str) -> str:
    """A readable name for a pattern."""
    return re.sub(r"\.\*", "...", pattern).replace("\\", "").replace("?", "")


def _files(root: Path, depth: int) -> Iterator[Path]:
    """Files, those nearest to the root first; frames are not gone through."""
    level = [root]
    for _ in range(depth):
        following: list[Path] = []
        for folder in level:
            try:
                entries = sorted(folder.iterdir())
            except OSError:
                continue
            yield from (p for p in entries if p.is_file())
            following += [p for p in entries if p.is_dir() and not p.name.startswith(".")]
        level = following[:2000]


def read_table(
    path: Path, *, sheets: Sequence[str], columns: Mapping[str, Sequence[str]], needed: Sequence[str]
) -> Table:
    """A sheet of a workbook, its header found by content among the first 40 rows.

    Args:
        path: .xlsx or .xls.
        sheets: names to prefer; else the first sheet that has the columns.
        columns: our name -> names in the workbook, spaces and case aside; of several the first that is there.
        needed: our names without which nothing can be read.

    Raises:
        InputError: it cannot be opened, or no sheet has the columns.
    """
    if not path.is_file():
        raise InputError(f"there is no workbook {path}")
    try:
        book: dict[str, pd.DataFrame] = pd.read_excel(path, sheet_name=None, header=None, dtype=object)
    except ImportError as error:
        raise InputError(f"{path.name} is an old Excel file; open it and save it as .xlsx ({error})") from error
    except Exception as error:  # pandas and openpyxl raise many kinds
        raise InputError(f"cannot read the workbook {path}: {error}") from error
    preferred = sorted(book, key=lambda s: s.strip().lower() not in {n.lower() for n in sheets})
    headers = []
    for sheet in preferred:
        cells = book[sheet]
        for number in range(min(40, len(cells))):
            header = [_plain(v) for v in cells.iloc[number]]
            places = {
                ours: next((header.index(_plain(name)) for name in names if _plain(name) in header), None)
                for ours, names in columns.items()
            }
            if all(places[name] is not None for name in needed):
                return _table(path, cells, number, header, places)
        if len(cells):
            headers.append(f"{sheet}: {', '.join(str(v) for v in cells.iloc[0].dropna())[:200]}")
    wanted = ", ".join(columns[name][0] for name in needed)
    raise InputError(
        f"{path} has no sheet with the columns {wanted}; found were {'; '.join(headers) or 'empty sheets'}"
    )


def _table(path: Path, cells: pd.DataFrame, number: int, header: list[str], places: Mapping[str, int | None]) -> Table:
    used = {place for place in places.values() if place is not None}
    body = cells.iloc[number + 1 :]
    rows = [
        {ours: None if place is None else _cell(values[place]) for ours, place in places.items()}
        for values in body.itertuples(index=False, name=None)
    ]
    unread = [name for k, name in enumerate(header) if name and k not in used]
    return Table(path, tuple(r for r in rows if any(v is not None for v in r.values())), tuple(unread))


def _plain(value: Any) -> str:
    """A header without case, spaces at its ends, doubled ones, and quotes."""
    return "" if _cell(value) is None else " ".join(str(value).replace("'", " ").split()).lower()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT:
        return None
    return None if isinstance(value, str) and not value.strip() else value


def whole(value: Any, *, missing: Iterable[int] = ()) -> int | None:
    """The number of a frame in a cell: int, float or text; None for `/`, blanks, words, and what `missing` names."""
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    rounded = round(number)
    return None if rounded in tuple(missing) else rounded


def text(value: Any) -> str:
    """A cell as text; a number without a fraction as a whole one."""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _listing(root: Path) -> str:
    names = [p.name for p in _subfolders(root)]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"it holds the folders {shown}" if names else "it holds no folders"


def tree_of(root: Path, clips: Callable[[Path], Iterable[tuple[str, str, Path]]]) -> Tree:
    """A tree from (subject, name, folder) of all its recordings."""
    folders = {Dataset._key(subject, name): path for subject, name, path in clips(root)}
    first = next(iter(folders.values()), None)
    return Tree(root, "cropped" if is_cropped(root, first) else "raw", folders)


__all__ = [
    "Dataset",
    "Finding",
    "Frames",
    "Row",
    "Table",
    "Tree",
    "find_trees",
    "find_workbook",
    "frame_numbers",
    "matching",
    "read_table",
    "text",
    "tree_of",
    "whole",
]
