"""Annotations in words, and from other programs into a review: ELAN, BORIS, tables.

In ELAN an annotation says `happiness: L12C+6B; a note`: the expression, then units and a note, each if there is any.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import msgspec

from openmer.clip import NONE
from openmer.errors import InputError
from openmer.evaluation.spotting import match_intervals
from openmer.exchange.elan import read_tier
from openmer.exchange.export import read_result
from openmer.exchange.table import BORIS_NEEDED, NEEDED, plain_interval, read_table
from openmer.exchange.truth import TABLES
from openmer.facs import ActionUnit, canonical_emotion, read_action_units
from openmer.files import table_rows
from openmer.review.document import Add, Entry, Review, Set, Verdict, apply_change, new_review
from openmer.review.frames import FrameTimes, read_frame_times
from openmer.timeline import Interval

ADDED = "+"  # between action units
_MARK = re.compile(r"(?P<whose>.* \d+) (?P<what>onset|apex|offset)")  # as `exchange.events.moments` writes it


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotation of a person.

    Attributes:
        interval: when; its label means nothing.
        expression: the expression's name as it was written, or empty.
        action_units: as it was written.
        note: anything.
        verdict: `accepted`, unless a table says otherwise.
    """

    interval: Interval
    expression: str = ""
    action_units: tuple[ActionUnit, ...] = ()
    note: str = ""
    verdict: Verdict = "accepted"


@dataclass(frozen=True)
class Annotations:
    """Those of one file, and what to warn of."""

    rows: tuple[Annotation, ...]
    warnings: tuple[str, ...] = ()


def worded(entry: Entry | Annotation) -> str:
    """An annotation's words, such as `happiness: L12C+6B; a note`; `none` if it was rejected without a name."""
    units = ADDED.join(map(str, entry.action_units))
    details = "; ".join(filter(None, (units, entry.note)))
    name = entry.expression or (NONE if entry.verdict == "rejected" else "")
    name = name.replace(":", ",")  # a colon ends it
    if not units and (_units_first(entry.note)[0] or entry.note.startswith(";")):
        details = f"; {entry.note}"  # a note, though it can be read as units
    return f"{name}: {details}" if details else name


def understood(words: str, interval: Interval) -> Annotation:
    """An annotation from the words that `worded` gives; other words are the expression up to a colon, then a note."""
    name, _, details = (part.strip() for part in words.partition(":"))
    units, note = _units_first(details)
    return Annotation(interval=interval, expression=name, action_units=units, note=note)


def _units_first(details: str) -> tuple[tuple[ActionUnit, ...], str]:
    """Units up to a semicolon, if that is what stands there, and the rest."""
    if details.startswith(";"):
        return (), details[1:].strip()
    listed, _, rest = (part.strip() for part in details.partition(";"))
    units, unread = read_action_units(listed)
    if not units or unread or ADDED.join(map(str, units)) != listed:
        return (), details
    return units, rest


def read_annotations(path: Path, tier: str | None = None, video: str | None = None) -> Annotations:
    """Read annotations of a video.

    Args:
        path: an .eaf file; events that BORIS exported, or another table with onset_s and offset_s (apex_s, label,
            expression, action_units, note and verdict are read if there), as .csv, .tsv or .xlsx.
        tier: the tier of the .eaf file, which may be omitted if there is only one; of a table, the label that counts.
        video: name of the file that was analysed, to which the times refer.

    Raises:
        InputError: it cannot be read, or a row is wrong.
    """
    ending = path.suffix.lower()
    if ending == ".eaf":
        read = read_tier(path, tier, video)
        marked = zip(_with_apexes(read.intervals, read.moments), read.words, strict=True)
        rows = tuple(_judged(understood(words, interval)) for interval, words in marked)
        return Annotations(rows, read.warnings)
    if ending not in TABLES:
        raise InputError(f"annotations are an ELAN .eaf or a table ({', '.join(TABLES)}), got {path}")
    timeline = read_table(path, video)  # holds every row to its form
    found = tuple(_table_rows(path)) or tuple(Annotation(interval=i, expression=i.label) for i in timeline)
    rows = tuple(map(_judged, found))
    kept = tuple(row for row in rows if tier is None or row.interval.label == tier)
    if not kept:
        labels = ", ".join(dict.fromkeys(row.interval.label for row in rows)) or "none at all"
        raise InputError(f"{path} has no annotation{f' labelled {tier!r}' if tier else ''}; labels: {labels}")
    return Annotations(kept, tuple(timeline.provenance.get("warnings", ())))


def _judged(row: Annotation) -> Annotation:
    """What is accepted as `none` was rejected: there is no expression of that name."""
    if canonical_emotion(row.expression) != NONE:
        return row
    return replace(row, expression="", verdict="rejected" if row.verdict == "accepted" else row.verdict)


def _with_apexes(intervals: Sequence[Interval], marks: Sequence[tuple[float, str]]) -> list[Interval]:
    """The intervals with the apexes that are marked, (seconds, words) each; an apex belongs to one of them.

    In our own files `joy 2 onset`, `joy 2 apex` and `joy 2 offset` are of one interval, which tells whose each is. Of
    what was moved since then, and in other files, an apex is that of an interval around it, of its label if it names
    one.
    """
    ours: dict[str, dict[str, float]] = {}
    others: list[tuple[float, str]] = []
    for at, words in marks:
        for part in words.split("; "):
            mark = _MARK.fullmatch(part.strip())
            if mark:
                ours.setdefault(mark["whose"], {})[mark["what"]] = at
            elif "apex" in part:
                others.append((at, part))
    given = list(intervals)
    open_: list[int] = []
    for k, interval in enumerate(intervals):
        ends = [name for name, of in ours.items() if _ends_as(of, interval)]
        whose = next((name for name in ends if _label(name) == interval.label), next(iter(ends), None))
        if whose is None:
            open_.append(k)
        else:
            given[k] = replace(interval, apex_s=ours.pop(whose).get("apex"))
    left = [(of["apex"], _label(name)) for name, of in ours.items() if "apex" in of]
    for k in open_:
        interval = given[k]
        inside = [(at, label) for at, label in left if label == interval.label and _holds(interval, at)]
        inside += [(at, words) for at, words in others if interval.label in words and _holds(interval, at)]
        inside += [(at, words) for at, words in others if _holds(interval, at)]
        if inside:
            given[k] = replace(interval, apex_s=inside[0][0])
            left = [mark for mark in left if mark != inside[0]]
            others = [mark for mark in others if mark != inside[0]]
    return given


def _ends_as(of: Mapping[str, float], interval: Interval) -> bool:
    """Whether a mark's onset and offset are the interval's, to the millisecond."""
    ends = ((of.get("onset"), interval.onset_s), (of.get("offset"), interval.offset_s))
    return all(mark is not None and abs(mark - at) < 0.0015 for mark, at in ends)


def _holds(interval: Interval, at: float) -> bool:
    return interval.onset_s <= at <= interval.offset_s


def _label(whose: str) -> str:
    """`joy` of `joy 2`."""
    return whose.rpartition(" ")[0]


def _table_rows(path: Path) -> Iterator[Annotation]:
    """Of a plain table; nothing of one that BORIS exported."""
    for number, row in table_rows(path, NEEDED, BORIS_NEEDED):
        if isinstance(row, str) or NEEDED[0] not in row:
            return
        units, unread = read_action_units(row.get("action_units", ""))
        verdict = row.get("verdict", "") or "accepted"
        if unread or verdict not in get_args(Verdict):
            raise InputError(f"{path}, line {number}: {unread or f'{verdict!r} is not a verdict'}")
        yield Annotation(
            interval=plain_interval(row),
            expression=row.get("expression", row.get("label", "")),
            action_units=units,
            note=row.get("note", ""),
            verdict=msgspec.convert(verdict, Verdict),
        )


def review_from(result: Path, annotations: Sequence[Annotation], coder: str = "", *, complete: bool = False) -> Review:
    """A review that begins with a person's annotations; it is not written.

    What meets a candidate at an intersection over union of at least 0.5 is what the coder made of that candidate; the
    rest was added. Times stay as they were annotated; frames are those nearest to them.

    Args:
        result: the folder that `openmer analyze` wrote.
        annotations: within the analysed stretch of the video.
        coder: the coder's name.
        complete: whether everything in the video is annotated, so that other candidates are rejected.

    Raises:
        InputError: the result cannot be read, or an annotation lies outside of what was analysed.
    """
    folder = read_result(result).folder
    review, times = new_review(folder, coder), read_frame_times(folder)
    for annotation in annotations:
        i, source = annotation.interval, review.source
        if i.offset_s <= source.start_s or i.onset_s >= source.end_s:
            raise InputError(
                f"the annotation from {i.onset_s:g} to {i.offset_s:g} s lies outside of what was analysed of "
                f"{source.video}, {source.start_s:g} to {source.end_s:g} s; is it of another video?"
            )
    questions = review.entries
    matched = dict(match_intervals([a.interval for a in annotations], [e.interval for e in questions]))
    for k, annotation in enumerate(annotations):
        values = _values(annotation, times)
        change = Set(entry=questions[matched[k]].id, values=values) if k in matched else Add(values=values)
        review = apply_change(review, change)
    if complete:
        for entry in (e for k, e in enumerate(questions) if k not in matched.values()):
            review = apply_change(review, Set(entry=entry.id, values={"verdict": "rejected"}))
    return review


def _values(annotation: Annotation, times: FrameTimes) -> dict[str, Any]:
    i = annotation.interval
    return {
        "onset_s": i.onset_s,
        "apex_s": i.apex_s,
        "offset_s": i.offset_s,
        "onset_frame": times.frame(i.onset_s),
        "apex_frame": times.frame(i.apex_s),
        "offset_frame": times.frame(i.offset_s),
        "verdict": annotation.verdict,
        "expression": annotation.expression,
        "action_units": msgspec.to_builtins(annotation.action_units),
        "note": annotation.note,
    }
