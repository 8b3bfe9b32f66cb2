"""A user's own data: a table with one row per recording, and the recordings beside it.

`samples.csv` needs the columns `subject`, `sample`, `source` and `fps`; `label` (or `emotion`), `onset`, `apex`,
`offset` and `action_units` are read if present. `source` is a video file, or a folder of numbered images, relative to
the table's folder. `onset`, `apex` and `offset` are frame numbers as `openmer analyze` prints them: for images, those
in their names; for videos, counted from 0. Their columns may also be called as in other tables: `onset_frame`,
`OnsetFrame`, `Action Units`.
"""

import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Literal

from openmer.clip import NONE, SIMULATED, Sample, alike
from openmer.datasets.trees import frame_files
from openmer.errors import InputError
from openmer.facs import canonical_emotion, read_action_units
from openmer.files import decimal, table_rows
from openmer.media.reader import IMAGE_SUFFIXES, VideoReader, read_rate

TABLE = "samples.csv"
MARKER = "dataset.json"  # beside it if the simulator wrote both
NEEDED = ("subject", "sample", "source", "fps")
MARKS = ("onset", "apex", "offset")
CALLED = {f"{mark}frame": mark for mark in MARKS} | dict.fromkeys(("actionunits", "au", "aus"), "action_units")
MAX_FRAME_DIGITS = 15  # larger numbers cannot be told apart as floats
MAX_RATE_ERROR = 0.03  # between the declared and the file's frame rate: 24 is not 25


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
        labels: dict[str, str] = {}
        people: dict[str, str] = {}
        shown: dict[Path, str] = {}
        rows = 0
        for number, row in table_rows(path, NEEDED):
            rows += 1
            try:
                if isinstance(row, str):
                    raise InputError(row)
                sample = self._sample(_renamed(row))
                if sample.key in lines:
                    raise InputError(f"the same subject and sample as in line {lines[sample.key]}")
                lines[sample.key] = number
                other = people.setdefault(alike(sample.subject), sample.subject)
                if other != sample.subject:
                    raise InputError(
                        f"the subjects {other!r} and {sample.subject!r} look like one person, who would be on both "
                        "sides of a split; write the name one way"
                    )
                other = shown.setdefault(sample.source, sample.subject)
                if other != sample.subject:
                    raise InputError(f"the recording is listed for {other!r} and {sample.subject!r}; one face is read")
                label = sample.label or ""
                before = labels.setdefault(canonical_emotion(label), label)
                if before != label:
                    raise InputError(f"the labels {before!r} and {label!r} would be two classes; write them one way")
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
        if known and (onset is None or offset is None):
            raise InputError("give onset and offset, or neither, if all of the recording is the expression")
        rate = _rate(row["fps"])
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
            label=_label(row.get(self._label, "")),
            onset=onset,
            apex=apex,
            offset=offset,
            action_units=units,
        )


def _label(written: str) -> str | None:
    return NONE if written.casefold() == NONE else written or None


def _renamed(row: Mapping[str, str]) -> dict[str, str]:
    """The row by our names of its columns.

    Raises:
        InputError: a column is called in two ways, or says by another name what no column of ours does, as in seconds:
            to leave it out would take the whole recording for the expression.
    """
    renamed: dict[str, str] = {}
    for name, cell in row.items():
        ours = CALLED.get(re.sub(r"[\s_-]", "", name), name)
        if ours in renamed:
            raise InputError(f"more than one column says {ours}; remove one")
        renamed[ours] = cell
    for mark in MARKS:
        other = next((name for name in renamed if name.startswith(mark)), mark)
        if mark not in renamed and other != mark:
            raise InputError(f"the column {other!r} is not read; a column {mark} must hold the numbers of frames")
    return renamed


def _rate(written: str) -> Fraction:
    """Frames a second; `1,000` and `1.000` may mean a thousand or one."""
    if re.fullmatch(r"\d[.,]\d{3}", written):
        raise InputError(
            f"fps {written!r} may be {written[0] + written[2:]} or {written[0]} and a part; write it plainly"
        )
    return read_rate(decimal(written))


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
        clock = VideoReader(video).info.clock
    except InputError:
        return  # preparing it says what is wrong with the file
    rates = [rate for rate in (clock.fps, clock.real_fps) if rate]
    if rates and all(abs(declared - rate) > MAX_RATE_ERROR * rate for rate in rates):
        stated = " or ".join(dict.fromkeys(f"{rate:.6g}" for rate in rates))
        raise InputError(f"fps is {float(declared):.6g}, but {video.name} has {stated} frames a second; write that")


def _is_simulated(root: Path) -> bool:
    """Whether the simulator wrote this folder."""
    path = root / MARKER
    try:
        if not path.is_file():
            return False
        content = json.loads(path.read_text(encoding="utf-8"))
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
        raise InputError(f"{column} must be the number of a frame, or empty if it is not known, got {written[:60]!r}")
    return int(match[1])
