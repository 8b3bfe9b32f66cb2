"""What all readers of licensed datasets share: the annotation joined with the frames, and what is wrong with either.

Facts about the datasets come from public readers and workbooks; the datasets themselves were not seen. So everything is
located by name and content, never by position, and every reader says what it looked for and what it found instead.
"""

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from openmer.clip import Sample
from openmer.datasets.corrections import correct
from openmer.datasets.row import Row
from openmer.datasets.trees import Frames, Tree, find_trees, frame_files, key_of, listing, nested, numbered, tree_of
from openmer.datasets.workbook import DEPTH, DOCS, Converted, find_workbook, parse_int, read_table, text
from openmer.errors import InputError
from openmer.facs import canonical_emotion, read_action_units

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
    "unread action units",
    "unread column",
    "unread number",
    "unread row",
    "unknown type",
    "several folders",
    "person unclear",
    "date read as a number",
    "repeated recording",
    "correction",
]
MAX_UNREADABLE = 0.5  # of the rows; beyond that, the workbook's format must be the problem
# Our names of a workbook's columns -> theirs.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "subject": ("Subject",),
    "name": ("Filename",),
    "onset": ("OnsetFrame", "Onset Frame", "Onset"),
    "apex": ("ApexFrame", "Apex Frame", "Apex"),
    "offset": ("OffsetFrame", "Offset Frame", "Offset"),
    "units": ("Action Units", "AU"),
    "label": ("Estimated Emotion", "Emotion"),
}


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
class Names:
    """Which recording a row of the workbook is about, see `Row`."""

    subject: str
    name: str
    folder: str = ""


class Dataset:
    """A licensed dataset on disk; a subclass's docstring is its data card, and its attributes say how to read it.

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
    layout: ClassVar[str]  # a picture of its tree, for messages
    folders: ClassVar[tuple[str, ...]]  # patterns of the folders' names, level by level, see `trees.nested`
    workbooks: ClassVar[tuple[str, ...]] = ()  # patterns of their names
    workbook_called: ClassVar[str] = ""  # one of those names
    sheets: ClassVar[tuple[str, ...]] = ("Sheet1",)  # preferred names
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = COLUMNS
    optional: ClassVar[tuple[str, ...]] = ("units",)  # columns that a workbook may lack
    recording: ClassVar[str] = ".+"  # pattern of the column `name`; groups `subject` and `folder` take precedence
    missing: ClassVar[Mapping[str, tuple[int, ...]]] = {"apex": (-1, 0)}  # numbers that mean: not annotated

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
        self._findings: list[Finding] = []
        self.rows: tuple[Row, ...] = ()
        self.samples: tuple[Sample, ...] = tuple(self._read())

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """In the order of the annotation."""
        return tuple(self._findings)

    @cached_property
    def tree(self) -> Tree:
        """The tree that is read: of the wanted kind, raw before cropped, the largest if there are several."""
        trees = [t for t in self._trees() if t.folders]
        wanted = [t for t in trees if self._wanted in (None, t.frames)]
        if not wanted:
            instead = "; ".join(f"{t.frames} frames in {t.root}" for t in trees) or listing(self.root)
            kind = f"{self._wanted} " if self._wanted else ""
            raise InputError(
                f"no {kind}frames of {self.title} were found in {self.root} or up to {DEPTH} folders below "
                f"({instead}). Expected a tree such as {self.layout}; {DOCS} has all of them. "
                f"To get the dataset: {self.request}"
            )
        return max(wanted, key=lambda t: (t.frames == "raw", len(t.folders)))

    # What a subclass may replace

    def _trees(self) -> Iterable[Tree]:
        """Trees of frames under the root, by the names of their folders."""
        return [tree_of(root, nested(self.folders)) for root in find_trees(self.root, self.folders[0])]

    def _rows(self) -> Iterable[Row]:
        """The annotation as written: the rows of the workbook that name a recording."""
        needed = [column for column in self.columns if column not in self.optional]
        table = read_table(self._path, sheets=self.sheets, columns=self.columns, needed=needed)
        for column in table.unread:
            self._note("unread column", column, f"in {table.path.name}")
        for cells in table.rows:
            names = self._names(cells)
            if names is None:
                self._unread(cells)
            else:
                row = self._row(names, cells)
                if row is not None:
                    yield row

    def _names(self, cells: Mapping[str, Any]) -> Names | None:
        """Which recording a row is about; None if it names none."""
        match = re.fullmatch(self.recording, text(cells["name"]))
        if match is None:
            return None
        groups = match.groupdict()
        column = text(cells["subject"]) if cells.get("subject") is not None else ""
        subject = groups.get("subject") or column
        numbers = [int(n) for n in (re.sub(r"\D", "", subject), re.sub(r"\D", "", column)) if n]
        if len(set(numbers)) > 1:
            self._note("person unclear", match[0], f"the subject is {column!r}, the name says {subject!r}; using that")
        return Names(subject, match[0], groups.get("folder", "")) if subject else None

    def _row(self, names: Names, cells: Mapping[str, Any]) -> Row | None:
        where = f"{names.subject}/{names.name}"
        onset, apex, offset = (self._number(where, mark, cells[mark]) for mark in ("onset", "apex", "offset"))
        units = cells["units"].typed if isinstance(cells["units"], Converted) else cells["units"]
        kind = text(cells["type"]).lower() if "type" in cells else "micro"
        if not kind.startswith(("micro", "macro")):
            self._note("unknown type", where, f"the type {kind[:40]!r} is neither micro nor macro; left out")
            return None
        return Row(
            subject=names.subject,
            name=names.name,
            folder=names.folder,
            label=text(cells["label"]) or None if "label" in cells else None,
            onset=onset,
            apex=apex,
            offset=offset,
            units=units,
            kind="micro" if kind.startswith("micro") else "macro",
        )

    # The rest is the same for all

    def _note(self, kind: FindingKind, where: str, what: str) -> None:
        self._findings.append(Finding(kind, where, what))

    def _number(self, where: str, mark: str, cell: Any) -> int | None:
        """A frame's number; what stands in the cell instead becomes a finding."""
        number = parse_int(cell)
        if number in self.missing.get(mark, ()):
            return None
        if number is None and any(c.isdigit() for c in str(cell)):
            self._note("unread number", where, f"the {mark} {str(cell)[:40]!r} is not a frame's number; not used")
        if number is not None and isinstance(cell, Converted) and isinstance(cell.typed, datetime.date | datetime.time):
            what = f"the {mark} is stored as the date {cell}, which is day {number} of the calendar; using {number}"
            self._note("date read as a number", where, what)
        return number

    def _read(self) -> Iterator[Sample]:
        tree = self.tree
        self.rows = tuple(self._corrected(row) for row in self._rows())
        self._refuse_unreadable()
        self._note_labels()
        known = set()
        listed = Counter(key_of(r.subject, r.name) for r in self.rows)
        for row in self.rows:
            where = f"{row.subject}/{row.name}"
            if listed[key_of(row.subject, row.name)] > 1:
                self._note("repeated recording", where, "listed more than once; left out")
                continue
            key = key_of(row.subject, row.folder or row.name)
            known.add(key)
            folder = tree.folders.get(key)
            if folder is None:
                self._note("missing folder", where, f"not under {tree.root}; left out")
                continue
            others = [p for p in tree.more.get(key, ()) if frame_files(p).keys() != frame_files(folder).keys()]
            if others:
                what = f"{folder.relative_to(tree.root)} and {others[0].relative_to(tree.root)} differ; left out"
                self._note("several folders", where, what)
                continue
            sample = self._sample(row, folder, tree.frames)
            if sample is not None:
                yield sample
        for subject, name in sorted(set(tree.folders) - known):
            self._note("folder without row", f"{subject}/{name}", "not in the annotation; left out")

    def _corrected(self, row: Row) -> Row:
        if not self._corrections:
            return row
        corrected, changes = correct(self.name, row)
        for change in changes:
            self._note("correction", f"{row.subject}/{row.name}", change)
        return corrected

    def _note_labels(self) -> None:
        """Emotions that the dataset is not known to have, and rows without one."""
        if not self.emotions:
            return
        unknown = {e for e in (canonical_emotion(r.label) for r in self.rows if r.label) if e not in self.emotions}
        for emotion in sorted(unknown):
            self._note("unknown label", emotion, f"not one of {', '.join(self.emotions)}; kept as it is")
        for row in self.rows:
            if row.label is None:
                self._note("unknown label", f"{row.subject}/{row.name}", "the cell is empty; kept without a class")

    def _numbers(self, where: str, folder: Path) -> list[int]:
        """Numbers of the frames, rising; pictures without one, and numbers of several pictures, are noted."""
        pictures, unreadable = numbered(folder)
        others = [path.name for path, number in pictures if number is None]
        if others:
            what = f"{len(others)}, such as {others[0]}: empty, copies, without a number, or named otherwise"
            self._note("pictures left out", where, what)
        if unreadable:
            self._note("pictures left out", where, f"{unreadable}; the recording cannot be read")
        return sorted({number for _, number in pictures if number is not None})

    def _sample(self, row: Row, folder: Path, frames: Frames) -> Sample | None:
        where = f"{row.subject}/{row.name}"
        numbers = self._numbers(where, folder)
        if len(numbers) < 2:
            self._note("too few frames", where, f"{len(numbers)} numbered pictures in {folder}; left out")
            return None
        interval = self._interval(row, numbers)
        if interval is None:
            return None
        onset, offset = interval
        apex, estimated = self._apex(row, onset, offset)
        units, unread = read_action_units(row.units)
        if unread:
            self._note("unread action units", where, unread)
            units = tuple(replace(unit, certain=False) for unit in units)  # what was not read may be any other
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
            action_units=tuple(str(u) for u in units),
            cropped=frames == "cropped",
            kind=row.kind,
        )

    def _interval(self, row: Row, numbers: Sequence[int]) -> tuple[int, int] | None:
        """Onset and offset among the numbers on disk; None, and a finding, if there is no such interval."""
        where = f"{row.subject}/{row.name}"
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
        annotated = f"annotated {onset} to {offset}, on disk {numbers[0]} to {numbers[-1]}"
        if len(inside) < 2:
            common = f"only frame {inside[0]}" if inside else "no frame"
            self._note("frames out of range", where, f"{annotated}: {common} in common; left out")
            return None
        if (onset, offset) != (inside[0], inside[-1]):
            self._note("frames out of range", where, f"{annotated}; using {inside[0]} to {inside[-1]}")
        onset, offset = inside[0], inside[-1]
        gaps = offset - onset + 1 - len(inside)
        if gaps:
            self._note("frames missing", where, f"{gaps} numbers between {onset} and {offset} have no picture")
        return onset, offset

    def _apex(self, row: Row, onset: int, offset: int) -> tuple[int, bool]:
        """The apex, and whether it is our estimate: the middle."""
        if row.apex is not None and onset <= row.apex <= offset:
            return row.apex, False
        middle = (onset + offset) // 2
        if not self.in_folders:
            why = "is not annotated" if row.apex is None else f"{row.apex} lies outside of {onset} to {offset}"
            self._note("apex estimated", f"{row.subject}/{row.name}", f"the apex {why}; using the middle, {middle}")
        return middle, True

    def _refuse_unreadable(self) -> None:
        """If most frame numbers are not numbers, the format is unknown to us rather than the coder lazy."""
        rows = self.rows
        if not rows:
            instead = "; ".join(f"{f.where}: {f.what}" for f in self._findings if f.kind == "unread row")[:300]
            raise InputError(
                f"{self._path} has no row that names a recording of {self.title} "
                f"({instead or 'it ends with its header'}); give the workbook that came with the dataset with "
                f"--workbook. {DOCS} says what it holds"
            )
        blank = [r for r in rows if r.onset is None or r.offset is None]
        if self.in_folders or len(blank) <= MAX_UNREADABLE * len(rows):
            return
        raise InputError(
            f"the onset or the offset of {len(blank)} of {len(rows)} rows of {self._path} is not a number (first: "
            f"{blank[0].subject}/{blank[0].name}); formulas have no values until a spreadsheet program has saved the "
            f"workbook, and words are not numbers. {DOCS} says what the columns hold"
        )

    @property
    def _path(self) -> Path:
        """The workbook's path."""
        return self._workbook or find_workbook(self.root, self.workbooks, title=self.title, called=self.workbook_called)

    def _unread(self, cells: Mapping[str, Any]) -> None:
        """Report a row that names no recording: a note, or a name written in a way we do not know."""
        written = [text(v) for v in cells.values() if v is not None]
        self._note("unread row", ", ".join(written)[:80], "does not name a recording in a known way; left out")
