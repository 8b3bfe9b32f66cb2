"""A user's own data: a table with one row per recording, and the recordings beside it.

`samples.csv` needs the columns `subject`, `sample`, `source` and `fps`; `label` (or `emotion`), `onset`, `apex`,
`offset` and `action_units` are read if present. `source` is a video file, or a folder of numbered images, relative to
the table's folder. `onset`, `apex` and `offset` are frame numbers: for images, those in their names; for videos,
counted from 0.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from openmer.clip import SIMULATED, Sample
from openmer.datasets.trees import frame_files
from openmer.errors import InputError
from openmer.media.reader import read_rate

TABLE = "samples.csv"
MARKER = "dataset.json"  # beside it if the simulator wrote both
NEEDED = ("subject", "sample", "source", "fps")
MARKS = ("onset", "apex", "offset")
MAX_FRAMES = 2**53  # larger numbers cannot be told apart as floats


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
        try:
            if not path.is_file():
                raise InputError(f"there is no {TABLE} in {self.root}; it needs the columns {', '.join(NEEDED)}")
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not in UTF-8: save it as CSV UTF-8, with commas") from error
        except (pd.errors.ParserError, pd.errors.EmptyDataError, OSError) as error:
            raise InputError(f"cannot read {path}: {error}") from error
        table.columns = table.columns.str.strip().str.lower()
        missing = [c for c in NEEDED if c not in table.columns]
        if missing:
            commas = "; separate the columns by commas" if any(";" in c or "\t" in c for c in table.columns) else ""
            raise InputError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}{commas}")
        if table.empty:
            raise InputError(f"{path} lists no recordings")
        samples, problems = [], []
        seen: dict[tuple[str, str, str], int] = {}
        for number, row in enumerate(table.to_dict("records"), start=2):  # the header is line 1
            try:
                sample = self._sample({str(k): str(v).strip() for k, v in row.items()})
                if sample.key in seen:
                    raise InputError(f"the same subject and sample as in line {seen[sample.key]}")
                seen[sample.key] = number
                samples.append(sample)
            except InputError as error:
                problems.append(f"line {number}: {error}")
        if problems:
            shown = "\n  ".join(problems[:20]) + (f"\n  and {len(problems) - 20} more" if len(problems) > 20 else "")
            raise InputError(f"{path} has {len(problems)} wrong rows:\n  {shown}")
        yield from samples

    def _sample(self, row: dict[str, str]) -> Sample:
        for column in NEEDED:
            if not row[column]:
                raise InputError(f"{column} is empty")
        try:
            source = (self.root / row["source"]).resolve()
            inside, there = source.is_relative_to(self.root.resolve()), source.exists()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, a loop of links
            said = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"source {row['source'][:80]!r} is no path: {said}") from error
        if not inside:
            named = os.path.normpath(self.root.resolve() / row["source"])
            linked = Path(named).is_relative_to(self.root.resolve())
            link = "; it is reached by a link, so copy it here" if linked else ""
            raise InputError(f"source {row['source']!r} lies outside of the dataset's folder, at {source}{link}")
        if not there:
            raise InputError(f"there is nothing at {source}")
        onset, apex, offset = (_number(row, mark) for mark in MARKS)
        known = [m for m in (onset, apex, offset) if m is not None]
        if known != sorted(known):
            raise InputError(f"onset, apex, offset must rise, got {', '.join(map(str, known))}")
        pictures = frame_files(source) if known and source.is_dir() else {}
        if pictures and known[-1] > max(pictures):
            raise InputError(f"frame {known[-1]} lies beyond the last picture of {row['source']}, {max(pictures)}")
        units = tuple(u.strip() for u in row.get("action_units", "").split("+") if u.strip())
        return Sample(
            dataset=self.name,
            subject=row["subject"],
            name=row["sample"],
            source=source,
            fps=read_rate(row["fps"]),
            label=row.get(self._label) or None,
            onset=onset,
            apex=apex,
            offset=offset,
            action_units=units,
        )


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
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
        if value != int(value) or not 0 <= value < MAX_FRAMES:
            raise ValueError(text)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{column} must be the number of a frame, got {text[:60]!r}") from error
    return int(value)
