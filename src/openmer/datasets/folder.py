"""A user's own data: a table with one row per recording, and the recordings beside it.

`samples.csv` needs the columns `subject`, `sample`, `source` and `fps`; `label` (or `emotion`), `onset`, `apex`,
`offset` and `action_units` are read if present. `source` is a video file, or a folder of numbered images, relative to
the table's folder. `onset`, `apex` and `offset` are frame numbers as `openmer analyze` prints them: for images, those
in their names; for videos, counted from 0.
"""

import csv
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Literal

import av.error

from openmer.clip import SIMULATED, Sample
from openmer.datasets.trees import frame_files
from openmer.errors import InputError
from openmer.facs import read_action_units
from openmer.media.reader import IMAGE_SUFFIXES, open_file, picture_stream, read_rate

TABLE = "samples.csv"
MARKER = "dataset.json"  # beside it if the simulator wrote both
NEEDED = ("subject", "sample", "source", "fps")
MARKS = ("onset", "apex", "offset")
SEPARATORS = (",", ";", "\t")
MAX_FRAME_DIGITS = 15  # larger numbers cannot be told apart as floats
MAX_RATE_ERROR = 0.03  # between the declared and the file's frame rate: 24 is not 25
CAPTURE_RATE = "com.android.capture.fps"  # a file's tag: the rate at which slow motion was filmed


class FolderDataset:
    """Recordings that a `samples.csv` lists.

    Args:
        root: the folder with the table.
        name: of the dataset, by default the folder's; always `simulated` for what `openmer simulate` has written, so
            that its people are recognised wherever the folder is.
        label: which column is the class: `label`, or `emotion`.

    Raises:
        InputError: the table is missing or unreadable, or has wrong rows; every wrong row is listed with the reason.
    """

    def __init__(
        self, root: Path | str, *, name: str | None = None, label: Literal["label", "emotion"] = "label"
    ) -> None:
        self.root = Path(root)
        self.name = name or self.root.resolve().name
        if _is_simulated(self.root):
            self.name = SIMULATED
        elif self.name == SIMULATED:
            raise InputError(
                f"the name simulated is for what openmer simulate has written, with its {MARKER}, which is not in "
                f"{self.root}; rename the folder"
            )
        self._label = label
        self.samples: tuple[Sample, ...] = tuple(self._read())

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def _read(self) -> Iterator[Sample]:
        path = self.root / TABLE
        if not path.is_file():
            raise InputError(f"there is no {TABLE} in {self.root}; it needs the columns {', '.join(NEEDED)}")
        samples: list[Sample] = []
        problems: list[str] = []
        lines: dict[tuple[str, str, str], int] = {}
        people: dict[str, str] = {}
        rows = 0
        for number, row in _table(path):
            rows += 1
            try:
                if isinstance(row, str):
                    raise InputError(row)
                sample = self._sample(row)
                if sample.key in lines:
                    raise InputError(f"the same subject and sample as in line {lines[sample.key]}")
                lines[sample.key] = number
                other = people.setdefault(_alike(sample.subject), sample.subject)
                if other != sample.subject:
                    raise InputError(
                        f"the subjects {other!r} and {sample.subject!r} look like one person, who would be on both "
                        "sides of a split; write the name one way"
                    )
                samples.append(sample)
            except InputError as error:
                problems.append(f"line {number}: {error}")
        if not rows:
            raise InputError(f"{path} lists no recordings")
        if problems:
            listed = "\n  ".join(problems[:20]) + (f"\n  and {len(problems) - 20} more" if len(problems) > 20 else "")
            raise InputError(f"{path} has {len(problems)} wrong rows:\n  {listed}")
        yield from samples

    def _sample(self, row: dict[str, str]) -> Sample:
        for column in NEEDED:
            if not row[column]:
                raise InputError(f"{column} is empty")
        source = _source(self.root, row["source"])
        onset, apex, offset = (_number(row, mark) for mark in MARKS)
        known = [m for m in (onset, apex, offset) if m is not None]
        if known != sorted(known):
            raise InputError(f"onset, apex, offset must rise, got {', '.join(map(str, known))}")
        rate = read_rate(_decimal(row["fps"]))
        if source.is_dir():
            _check_pictures(row["source"], source, known)
        elif source.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(
                f"source {row['source']!r} is one picture; give the folder with all pictures of the recording"
            )
        else:
            _check_rate(source, rate)
        unread = read_action_units(row.get("action_units", ""))[1]
        if unread:
            raise InputError(f"action_units: {unread}")
        units = tuple(u.strip() for u in row.get("action_units", "").split("+") if u.strip())
        return Sample(
            dataset=self.name,
            subject=row["subject"],
            name=row["sample"],
            source=source,
            fps=rate,
            label=row.get(self._label) or None,
            onset=onset,
            apex=apex,
            offset=offset,
            action_units=units,
        )


def _table(path: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Rows that are not empty: the line's number, and the cells by column, or what is wrong with the row.

    Columns are separated by commas, semicolons or tabs, as spreadsheet programs save them in different countries.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    content = _decoded(path)
    first, _, rest = content.partition("\n")
    told = re.fullmatch(r"sep=(.)\s*", first)  # as spreadsheet programs write it above the header
    lines = io.StringIO(rest if told else content, newline="")
    header_line = first if not told else rest.partition("\n")[0]
    separator = told[1] if told else max(SEPARATORS, key=header_line.count)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        header = [" ".join(name.split()).lower() for name in next(reader, [])]
        _check_header(header, path)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            number = reader.line_num + bool(told)
            if any(cells[len(header) :]):
                yield (
                    number,
                    f"it has {len(cells)} cells, the header {len(header)}; put a cell with a {separator!r} in quotes",
                )
            else:
                cells += [""] * (len(header) - len(cells))
                yield number, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise InputError(f"cannot read {path}, line {reader.line_num}: {error}") from error


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
        marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        content = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not in UTF-8: save it as CSV UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if "\0" in content:
        raise InputError(f"{path} is not in UTF-8, or not a text: save it as CSV UTF-8")
    return content


def _check_header(header: list[str], path: Path) -> None:
    missing = [c for c in NEEDED if c not in header]
    if missing:
        instead = ", ".join(name for name in header if name) or "none"
        raise InputError(f"{path} lacks the column {', '.join(missing)}; its columns are: {instead[:300]}")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path} has more than one column {', '.join(twice)}; rename or remove one")


def _source(root: Path, written: str) -> Path:
    """The recording that a cell names, also with a Windows path's signs or another form of its accents.

    Raises:
        InputError: it is not a path, does not exist, or lies outside of the dataset's folder.
    """
    if PureWindowsPath(written).drive:
        raise InputError(f"source {written[:80]!r} is a Windows computer's; write it relative to the folder of {TABLE}")
    forms = [written, unicodedata.normalize("NFC", written), unicodedata.normalize("NFD", written)]
    forms += [form.replace("\\", "/") for form in forms]
    try:
        form = next((form for form in forms if (root / form).exists()), forms[3])
        source = (root / form).resolve()
        inside, exists = source.is_relative_to(root.resolve()), source.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, a loop of links
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"source {written[:80]!r} is not a path: {reason}") from error
    if not inside:
        named = os.path.normpath(root.resolve() / form)
        linked = Path(named).is_relative_to(root.resolve())
        link = "; it is reached by a link, so copy it here" if linked else ""
        raise InputError(f"source {written!r} lies outside of the dataset's folder, at {source}{link}")
    if not exists:
        raise InputError(f"there is nothing at {source}")
    return source


def _alike(subject: str) -> str:
    """The same for names that a spreadsheet program or a typist makes of one: `01`, `1` and `1.0`; `P3` and `p3`."""
    plain = unicodedata.normalize("NFKC", subject).casefold()
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"^(\d+)\.0$", r"\1", plain))


def _check_pictures(written: str, folder: Path, marks: list[int]) -> None:
    """Marks are the pictures' own numbers, so they lie among them."""
    pictures = frame_files(folder) if marks else {}
    if not pictures:
        return
    if marks[-1] > max(pictures):
        raise InputError(f"frame {marks[-1]} lies beyond the last picture of {written}, {max(pictures)}")
    if marks[0] < min(pictures):
        raise InputError(
            f"frame {marks[0]} lies before the first picture of {written}, {min(pictures)}; frames are counted by the "
            "numbers in the pictures' names"
        )


def _check_rate(video: Path, declared: Fraction) -> None:
    """The declared rate is the file's own, or that of filming if the file says that it is slow motion."""
    try:
        with open_file(video) as container:
            stream = picture_stream(container, video)
            own = stream.average_rate or stream.guessed_rate
            filmed = container.metadata.get(CAPTURE_RATE) or stream.metadata.get(CAPTURE_RATE)
    except (av.error.FFmpegError, OSError, InputError):
        return  # preparing it says what is wrong with the file
    rates = [Fraction(own)] if own else []
    with suppress(InputError):
        rates += [read_rate(str(filmed))] if filmed else []
    if rates and all(abs(declared - rate) > MAX_RATE_ERROR * rate for rate in rates):
        stated = " or ".join(f"{float(rate):.6g}" for rate in rates)
        raise InputError(f"fps is {float(declared):.6g}, but {video.name} has {stated} frames a second; write that")


def _decimal(written: str) -> str:
    """A number with a decimal point, also if it was written with a comma or full-width digits."""
    plain = unicodedata.normalize("NFKC", written)
    return re.sub(r"^(\d+),(\d+)$", r"\1.\2", plain)


def _is_simulated(root: Path) -> bool:
    """Whether the simulator wrote this folder."""
    path = root / MARKER
    try:
        if not path.is_file():
            return False
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}, by which simulated faces are known: {error}") from error
    return isinstance(content, dict) and bool(content.get("simulated"))


def _number(row: dict[str, str], column: str) -> int | None:
    """A frame's number; `46.0` and `46,0` are one, `1.046` may be another country's 1046 and is not."""
    written = unicodedata.normalize("NFKC", row.get(column, ""))
    if not written:
        return None
    match = re.fullmatch(r"(\d+)(?:[.,]0?)?", written)
    if match is None or len(match[1]) > MAX_FRAME_DIGITS:
        raise InputError(f"{column} must be the number of a frame, got {written[:60]!r}")
    return int(match[1])
