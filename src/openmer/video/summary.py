"""Many results in one table: `summary.csv`, the same as Parquet, and `index.html`, from which each opens."""

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from openmer.errors import OutputError
from openmer.files import read_json, table_text, write_atomic
from openmer.page import render
from openmer.timeline import BLINK, CANDIDATE, LARGE_MOTION, SET_ASIDE, Timeline, read_timeline
from openmer.version import __version__
from openmer.video.files import CAUTION, FOLDER, MARKER, PEOPLE, REPORT, SUMMARY_FILES

SCHEMA = "openmer.summary/1"
TABLE, PARQUET, PAGE = SUMMARY_FILES
WHOLE = ("person", "candidates", "set_aside", "blinks", "large_motions", "warnings")

Status = Literal["done", "failed", "waiting"]


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """What was found in one video; with `--faces all`, of one person in it. None: nothing is known.

    Attributes:
        name: of the video, and of the folder with its result.
        person: number of the person, where everybody is analysed.
        status: `done`, `failed` (left out, see `reason`) or `waiting` (not done yet).
        minutes: length of what was analysed, in real time.
        minutes_with_face: of these, with a face; of one person, with theirs.
        candidates: number of them.
        candidates_per_minute: per minute with a face.
        set_aside: candidates in which the network sees no expression; None without a network.
        blinks: number of them.
        large_motions: number of them.
        warnings: number of warnings.
        reason: why the video was left out, or the warnings.
        report: the report, as seen from the summary.
    """

    name: str
    person: int | None = None
    status: Status = "waiting"
    minutes: float | None = None
    minutes_with_face: float | None = None
    candidates: int | None = None
    candidates_per_minute: float | None = None
    set_aside: int | None = None
    blinks: int | None = None
    large_motions: int | None = None
    warnings: int | None = None
    reason: str = ""
    report: str | None = None


COLUMNS = ("schema", *(field.name for field in fields(SummaryRow)))


@dataclass(frozen=True)
class _People:
    """The part of `people.json` that is needed here."""

    people: tuple["_Someone", ...]


@dataclass(frozen=True)
class _Someone:
    person: int


def timelines_of(folder: Path) -> tuple[Timeline, ...]:
    """The timelines of a result: one, or one for each person.

    Raises:
        InputError: there is no result, or it is damaged.
    """
    if not (folder / PEOPLE).exists():
        return (read_timeline(folder / MARKER),)
    numbers = [someone.person for someone in read_json(folder / PEOPLE, _People).people]
    return tuple(read_timeline(folder / FOLDER.format(number) / MARKER) for number in numbers)


def rows_of(folder: Path, name: str) -> tuple[SummaryRow, ...]:
    """What a result says in the summary: a row, or one for each person.

    Raises:
        InputError: there is no result, or it is damaged.
    """
    report = f"{name}/{REPORT}" if (folder / REPORT).exists() else None
    return tuple(replace(row_of(timeline, name), report=report) for timeline in timelines_of(folder))


def row_of(timeline: Timeline, name: str) -> SummaryRow:
    """The row of one timeline, without the link to its report."""
    slowdown, about = timeline.clock.slowdown, timeline.provenance
    minutes = (timeline.end_s - timeline.start_s) / slowdown / 60
    with_face = max(0.0, minutes - sum(gap.duration_s for gap in timeline.gaps) / slowdown / 60)
    counts = {label: len(timeline.labelled(label)) for label in (CANDIDATE, SET_ASIDE, BLINK, LARGE_MOTION)}
    warnings = [str(warning) for warning in about.get("warnings", ())]
    return SummaryRow(
        name=name,
        person=about.get("person"),
        status="done",
        minutes=round(minutes, 4),
        minutes_with_face=round(with_face, 4),
        candidates=counts[CANDIDATE],
        candidates_per_minute=round(counts[CANDIDATE] / with_face, 4) if with_face > 0 else None,
        set_aside=counts[SET_ASIDE] if "classes" in about else None,
        blinks=counts[BLINK],
        large_motions=counts[LARGE_MOTION],
        warnings=len(warnings),
        reason=" ".join(warnings),
    )


def holds_many(out: Path) -> bool:
    """Whether the results of many videos are here: a summary over them, which begins with their first one."""
    try:
        return SCHEMA in (out / TABLE).read_bytes()[:100_000].decode(errors="replace")
    except OSError:
        return False


def check_place(out: Path) -> None:
    """See that a summary can be written here without replacing somebody else's files.

    Raises:
        OutputError: the folder holds the result of one video, or an index.html or summary.csv of another origin.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} exists and is not a folder; choose another --out")
    if any((out / marker).exists() for marker in (MARKER, PEOPLE)):
        raise OutputError(f"{out} is the result of one video; many go into a folder of their own: choose another --out")
    for name in (TABLE, PAGE):
        path = out / name
        if path.exists() and SCHEMA not in path.read_bytes()[:100_000].decode(errors="replace"):
            raise OutputError(f"{path} was not written by this command and is left alone; choose another --out")


def write_summary(out: Path, rows: Sequence[SummaryRow]) -> None:
    """Write `summary.csv`, `index.html`, and `summary.parquet` if pyarrow is installed; each whole or not at all.

    Raises:
        OutputError: they cannot be written.
    """
    content = [{"schema": SCHEMA, **asdict(row)} for row in rows]
    try:
        write_atomic(out / TABLE, table_text(content, COLUMNS))
        if importlib.util.find_spec("pyarrow") is not None:
            write_atomic(out / PARQUET, _parquet(rows))
        write_atomic(out / PAGE, index_page(rows))
    except OSError as error:
        raise OutputError(f"cannot write the summary in {out}: {error.strerror or error}") from error


def index_page(rows: Sequence[SummaryRow]) -> str:
    """The page: every video a line that leads to its report; it contains everything that it shows."""
    done = [row for row in rows if row.status == "done"]
    videos = {status: len({r.name for r in rows if r.status == status}) for status in ("done", "failed", "waiting")}
    minutes = {row.name: row.minutes or 0.0 for row in done}
    return render(
        "summary.html.j2",
        schema=SCHEMA,
        version=__version__,
        caution=CAUTION,
        rows=[asdict(row) for row in rows],
        links={row.report: quote(row.report) for row in rows if row.report},
        videos=videos,
        minutes=sum(minutes.values()),
        minutes_with_face=sum(row.minutes_with_face or 0.0 for row in done),
        candidates=sum(row.candidates or 0 for row in done),
        people=any(row.person is not None for row in rows),
        network=any(row.set_aside is not None for row in rows),
    )


def _parquet(rows: Sequence[SummaryRow]) -> bytes:
    import pandas as pd

    table = pd.DataFrame([asdict(row) for row in rows], columns=COLUMNS[1:])
    table = table.astype(
        dict.fromkeys(WHOLE, "Int64")
        | dict.fromkeys(("minutes", "minutes_with_face", "candidates_per_minute"), "float64")
        | dict.fromkeys(("name", "status", "reason", "report"), "string")
    )
    table.attrs = {"schema": SCHEMA}
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, engine="pyarrow")
    return buffer.getvalue()
