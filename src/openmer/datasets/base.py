"""What all readers of licensed datasets share: finding trees and workbooks, numbering frames, reporting problems.

Facts about the datasets come from public readers and workbooks; the datasets themselves were not seen. So everything is
found by name and content, never by position, and every reader says what it looked for and what it found instead.
"""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from openmer.clip import Sample
from openmer.datasets.corrections import correct
from openmer.datasets.row import Row
from openmer.datasets.workbook import DEPTH, DOCS, Table, entries, find_workbook, read_table, text
from openmer.errors import InputError
from openmer.labels import canonical_emotion, parse_action_units
from openmer.media.reader import IMAGE_SUFFIXES, frame_number

Frames = Literal["raw", "cropped"]
FindingKind = Literal[
    "missing folder",
    "folder without row",
    "frames out of range",
    "frames missing",
    "pictures left out",
    "too few frames",
    "apex estimated",
    "interval not annotated",
    "impossible annotation",
    "unknown label",
    "unread column",
    "unread row",
    "repeated recording",
    "correction",
]
MAX_UNREADABLE = 0.5  # of the rows; beyond that, the workbook's format must be the problem


@dataclass(frozen=True)
class Finding:
    """Something that a user should know about.

    Attributes:
        kind: what kind of thing.
        where: the recording, folder or column.
        what: what was found, and what was done.
    """

    kind: FindingKind
    where: str
    what: str


@dataclass(frozen=True)
class Tree:
    """A tree of frames: folders by (subject, name), both as `Dataset._key` returns them."""

    root: Path
    frames: Frames
    folders: Mapping[tuple[str, str], Path]


class Dataset(ABC):
    """A licensed dataset on disk; a subclass's docstring is its data card.

    Args:
        root: the folder that was unpacked, or one or two above.
        frames: `raw` pictures or `cropped` faces; by default raw if available.
        workbook: the annotation, if it is not under `root` or there are several.
        corrections: whether known errors of the released annotation are corrected, see `corrections`.

    Attributes:
        samples: recordings that can be used.
        findings: what is missing, out of range, unknown, estimated or corrected.

    Raises:
        InputError: no frames or no workbook were found; the message says where it looked and what to do.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    fps: ClassVar[Fraction]
    request: ClassVar[str]
    emotions: ClassVar[tuple[str, ...]]
    expected: ClassVar[tuple[int, ...]] = ()  # rows of the known workbooks
    in_folders: ClassVar[bool] = False  # whether folders are the annotation, so intervals and apexes are not annotated
    workbooks: ClassVar[tuple[str, ...]] = ()  # patterns of their names
    workbook_called: ClassVar[str] = ""  # one of those names
    layout: ClassVar[str]  # a picture of its tree, for messages

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
            what = f"{self.root} is a file, not a folder" if self.root.exists() else f"there is no folder {self.root}"
            raise InputError(
                f"{what}; give the one into which {self.title} was unpacked, or one of the "
                f"{DEPTH} above. {DOCS} has its tree"
            )
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
        """The annotation after corrections, with or without frames."""
        return self._rows_read

    @abstractmethod
    def _rows(self) -> Iterable[Row]:
        """The annotation as written."""

    @abstractmethod
    def _trees(self) -> Iterable[Tree]:
        """Trees of frames under the root."""

    @cached_property
    def tree(self) -> Tree:
        """The tree that is read: of the wanted kind, raw before cropped, the largest if there are several."""
        found = [t for t in self._trees() if t.folders]
        wanted = [t for t in found if self._wanted in (None, t.frames)]
        if not wanted:
            there = "; ".join(f"{t.frames} frames in {t.root}" for t in found) or _listing(self.root)
            kind = f"{self._wanted} " if self._wanted else ""
            raise InputError(
                f"no {kind}frames of {self.title} were found in {self.root} or up to {DEPTH} folders below "
                f"({there}). Expected a tree such as {self.layout}; {DOCS} has all of them. "
                f"To get the dataset: {self.request}"
            )
        return max(wanted, key=lambda t: (t.frames == "raw", len(t.folders)))

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
        if not rows:
            met = "; ".join(f"{f.where}: {f.what}" for f in self._found if f.kind == "unread row")[:300]
            raise InputError(
                f"{self._path} has no row that names a recording of {self.title} ({met or 'it ends with its header'}); "
                f"give the workbook that came with the dataset with --workbook. {DOCS} says what it holds"
            )
        self._refuse_unreadable(rows)
        known = set()
        unknown = {e for e in (canonical_emotion(r.label) for r in rows if r.label) if e not in self.emotions}
        for emotion in sorted(unknown):
            self._note("unknown label", emotion, f"not one of {', '.join(self.emotions)}; kept as it is")
        if self.emotions:
            for row in rows:
                if row.label is None:
                    self._note("unknown label", f"{row.subject}/{row.name}", "the cell is empty; kept without a class")
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
        """Case does not matter."""
        return subject.lower(), name.lower()

    def _numbers(self, where: str, folder: Path) -> list[int]:
        """Of the frames, rising; noted are pictures that are none, and numbers that several have."""
        numbered = _numbered(folder)
        others = [path.name for path, number in numbered if number is None]
        if others:
            what = f"{len(others)}, such as {others[0]}: empty, copies, or without a number"
            self._note("pictures left out", where, what)
        counts = Counter(number for _, number in numbered if number is not None)
        twice = [number for number, count in counts.items() if count > 1]
        if twice:
            self._note("pictures left out", where, f"several have the number {twice[0]}; the recording cannot be read")
        return sorted(counts)

    def _sample(self, row: Row, folder: Path, frames: Frames) -> Sample | None:
        where = f"{row.subject}/{row.name}"
        numbers = self._numbers(where, folder)
        if len(numbers) < 2:
            self._note("too few frames", where, f"{len(numbers)} numbered pictures in {folder}; left out")
            return None
        absent = [n for n, v in (("onset", row.onset), ("offset", row.offset)) if v is None]
        if absent and row.whole_video:
            # The folder begins and ends with the video, not with the expression.
            self._note("impossible annotation", where, f"the {' and '.join(absent)} is not annotated; left out")
            return None
        onset = numbers[0] if row.onset is None else row.onset
        offset = numbers[-1] if row.offset is None else row.offset
        if absent and not self.in_folders:
            what = f"the {' and '.join(absent)} is not annotated; using {onset} to {offset}, as on disk"
            self._note("interval not annotated", where, what)
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
                f"using {inside[0]} to {inside[-1]}",
            )
        onset, offset = inside[0], inside[-1]
        gaps = offset - onset + 1 - len(inside)
        if gaps:
            self._note("frames missing", where, f"{gaps} numbers between {onset} and {offset} have no picture")
        apex, estimated = row.apex, False
        if apex is None or not onset <= apex <= offset:
            met = "is not annotated" if apex is None else f"{apex} lies outside of {onset} to {offset}"
            apex, estimated = (onset + offset) // 2, True
            if not self.in_folders:
                self._note("apex estimated", where, f"the apex {met}; using the middle, {apex}")
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

    def _refuse_unreadable(self, rows: Sequence[Row]) -> None:
        """If most frame numbers are not numbers, the format is unknown to us rather than the coder lazy."""
        blank = [r for r in rows if r.onset is None or r.offset is None]
        if self.in_folders or len(blank) <= MAX_UNREADABLE * len(rows):
            return
        raise InputError(
            f"the onset or the offset of {len(blank)} of {len(rows)} rows of {self._path} is no number (first: "
            f"{blank[0].subject}/{blank[0].name}); formulas have no values until a spreadsheet program has saved the "
            f"workbook, and cells formatted as dates or text are no numbers. {DOCS} says what the columns hold"
        )

    @property
    def _path(self) -> Path:
        """The workbook's path."""
        return self._workbook or find_workbook(self.root, self.workbooks, title=self.title, called=self.workbook_called)

    def _table(self, *, sheets: Sequence[str], columns: Mapping[str, Sequence[str]], needed: Sequence[str]) -> Table:
        """The workbook's sheet, with columns found by name; of several names, the first one present."""
        table = read_table(self._path, sheets=sheets, columns=columns, needed=needed)
        for column in table.unread:
            self._note("unread column", column, f"in {table.path.name}")
        return table

    def _unread(self, row: Mapping[str, object]) -> None:
        """Report a row that names no recording: a note, or a name written in a way we do not know."""
        cells = [text(v) for v in row.values() if v is not None]
        self._note("unread row", ", ".join(cells)[:80], "names no recording as we know them; left out")


def find_trees(root: Path, child: str, *, depth: int = DEPTH) -> list[Path]:
    """Folders at most `depth` below that have sub-folders whose full names match `child`, ignoring case.

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
    return entries(folder)[1]


def matching(folder: Path, pattern: str) -> list[tuple[re.Match[str], Path]]:
    """Sub-folders whose full names match, with the match."""
    found = ((re.fullmatch(pattern, p.name, re.IGNORECASE), p) for p in _subfolders(folder))
    return [(m, p) for m, p in found if m is not None]


def frame_files(folder: Path) -> dict[int, Path]:
    """Pictures by the last number in their name; files that are not frames, see `frame_number`, are left out."""
    return {number: path for path, number in _numbered(folder) if number is not None}


def _numbered(folder: Path) -> list[tuple[Path, int | None]]:
    """All pictures, in the order of their names, with their number as frames."""
    images = [path for path in entries(folder)[0] if path.suffix.lower() in IMAGE_SUFFIXES]
    return [(path, frame_number(path)) for path in images]


def is_cropped(tree: Path, first: Path | None) -> bool:
    """Judged by the folder's own name or by pictures called `reg_...`; names above it may be the user's."""
    if re.search("crop", tree.resolve().name, re.IGNORECASE):
        return True
    return first is not None and any(p.name.startswith("reg_") for p in first.iterdir())


def _listing(root: Path) -> str:
    names = [p.name for p in _subfolders(root)]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"it holds the folders {shown}" if names else "it holds no folders"


def tree_of(
    root: Path, clips: Callable[[Path], Iterable[tuple[str, str, Path]]], *, called: Path | None = None
) -> Tree:
    """A tree from (subject, name, folder) of all its recordings.

    Args:
        root: of the tree.
        clips: finds the recordings in it.
        called: the folder whose name says whether faces are cropped, if it is not `root`.
    """
    folders = {Dataset._key(subject, name): path for subject, name, path in clips(root)}
    first = next(iter(folders.values()), None)
    return Tree(root, "cropped" if is_cropped(called or root, first) else "raw", folders)


__all__ = [
    "Dataset",
    "Finding",
    "FindingKind",
    "Frames",
    "Row",
    "Tree",
    "find_trees",
    "frame_files",
    "is_cropped",
    "matching",
    "tree_of",
]
