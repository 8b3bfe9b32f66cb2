"""`review.json`: what one coder decided about one result, and how it came to be.

    timeline.json --new_review--> Review --apply_change--> Review --saving.write_review--> review.json

A review never changes the analysis. Each coder has a file: `review.json`, or with a name `review-NAME.json`. It is
replaced whole, so a crash leaves the state before or after a change. Every change adds a line to its history and
one to its revision; who writes says which revision is replaced, so two windows cannot overwrite each other.

Seconds are those of the file, frames the source's own numbers, as in `openmer.timeline`.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from openmer.clip import NONE
from openmer.errors import InputError
from openmer.exchange.export import TIMELINE, read_result
from openmer.facs import ActionUnit, canonical_emotion
from openmer.files import read_bytes, read_json
from openmer.timeline import CANDIDATE, SET_ASIDE, Clock, Interval

SCHEMA = "openmer.review/1"
REVIEWED_LABELS = (CANDIDATE, SET_ASIDE)  # labels of the timeline that a coder is asked about
SIDES = ("", "L", "R", "T", "B", "A", "U")  # as in `facs.ActionUnit`; empty for both sides
INTENSITIES = ("", "A", "B", "C", "D", "E")
MAX_TEXT = 10_000  # characters of a note
UNNAMED = "expression"  # what an accepted entry without an expression's name is called elsewhere
_NAME = re.compile(r"\w[\w-]{0,39}")

Origin = Literal["candidate", "added", "control"]
Verdict = Literal["none", "accepted", "rejected", "unsure"]


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The candidate as the analysis found it.

    Attributes:
        index: its place among the timeline's intervals, from 0.
        label: `candidate` or `set_aside`.
        onset_s: seconds of the file; likewise `apex_s` and `offset_s`.
    """

    index: int
    label: str
    onset_s: float
    offset_s: float
    apex_s: float | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stretch of time that a coder judges.

    Attributes:
        id: such as `e3`; says nothing about the origin, and is never given twice.
        origin: found by the analysis, added by the coder, or a control moment in which nothing was found.
        onset_s: seconds of the file; likewise `apex_s` (None if there is none) and `offset_s`.
        onset_frame: the source's own number, or None if unknown; likewise `apex_frame` and `offset_frame`.
        machine: of a candidate, how the analysis found it; None for others.
        verdict: `accepted`: a facial movement that counts; `rejected`: none; `none`: not judged yet.
        expression: the coder's label, such as `happiness`, as it was written; empty if there is none.
        action_units: the coder's units; sides and intensities as in `facs.ActionUnit`.
        note: anything.
    """

    id: str
    origin: Origin
    onset_s: float
    offset_s: float
    apex_s: float | None = None
    onset_frame: int | None = None
    apex_frame: int | None = None
    offset_frame: int | None = None
    machine: Machine | None = None
    verdict: Verdict = "none"
    expression: str = ""
    action_units: tuple[ActionUnit, ...] = ()
    note: str = ""

    @property
    def interval(self) -> Interval:
        """The stretch with the verdict as its label, for whatever works on intervals."""
        return Interval(
            label=self.verdict,
            onset_s=self.onset_s,
            apex_s=self.apex_s,
            offset_s=self.offset_s,
            onset_frame=self.onset_frame,
            apex_frame=self.apex_frame,
            offset_frame=self.offset_frame,
        )


# What a coder may set of an entry.
SETTABLE = frozenset(Entry.__struct_fields__) - {"id", "origin", "machine"}


class Set(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="set", forbid_unknown_fields=True):
    """Give an entry new values.

    Attributes:
        entry: its id.
        values: names of `SETTABLE` fields -> plain values, as in the file.
        token: any text that names this change; a change whose token is in the history already is not applied again.
    """

    entry: str
    values: dict[str, Any]
    token: str = ""


class Add(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="add", forbid_unknown_fields=True):
    """Add an entry that the analysis missed: accepted, if `values` say nothing else."""

    values: dict[str, Any]
    token: str = ""


class Remove(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="remove", forbid_unknown_fields=True):
    """Take an entry away that a coder added; candidates and controls are rejected instead."""

    entry: str
    token: str = ""


class Undo(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="undo", forbid_unknown_fields=True):
    """Take the newest change back that is not taken back yet."""

    token: str = ""


class Redo(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="redo", forbid_unknown_fields=True):
    """Repeat the change that was taken back last."""

    token: str = ""


Change = Set | Add | Remove | Undo | Redo


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change in the history.

    Attributes:
        at: when, UTC, ISO 8601.
        do: what was done.
        entry: the id of the entry.
        before: the values that were changed, as they were; None if the entry was not there.
        after: the same values afterwards; None if the entry is not there any more.
        token: the change's own.
    """

    at: str
    do: Literal["set", "add", "remove", "undo", "redo"]
    entry: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    token: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is reviewed.

    Attributes:
        video: the video's name, without folders.
        timeline_sha256: digest of the timeline.json; a review of another analysis is refused.
        start_s: first moment that was analysed, seconds of the file; likewise `end_s`.
        slowdown: seconds of the file that show one second of what was recorded; durations are real time.
        source_digest: by which the recording itself is known; None if the analysis does not say it.
        person: number of the person, where everybody in the video was analysed.
    """

    video: str
    timeline_sha256: str
    start_s: float
    end_s: float
    slowdown: float = 1.0
    source_digest: str | None = None
    person: int | None = None

    @property
    def whom(self) -> str:
        """In words, whose face it is."""
        return "the largest face" if self.person is None else f"person {self.person}"


class Review(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one coder decided about one result.

    Attributes:
        schema: `openmer.review/1`.
        source: what is reviewed.
        coder: the coder's name, or empty.
        blind: whether the coder sees nothing of the machine's opinion.
        seed: from which controls and the order were drawn; None if nothing was drawn.
        revision: how many changes were made.
        entries: in the order in which they are shown: by time, or if blind shuffled.
        history: a line for each change, oldest first.
    """

    schema: str
    source: Source
    coder: str = ""
    blind: bool = False
    seed: int | None = None
    revision: int = 0
    entries: tuple[Entry, ...] = ()
    history: tuple[Line, ...] = ()

    def entry(self, name: str) -> Entry:
        """The entry of this id.

        Raises:
            InputError: there is none.
        """
        match = next((e for e in self.entries if e.id == name), None)
        if match is None:
            raise InputError(f"the review has no entry {name!r}; it may have been removed meanwhile")
        return match


def review_path(result: Path, coder: str = "") -> Path:
    """Where a coder's review of a result's folder is.

    Raises:
        InputError: the name cannot be part of a file's name.
    """
    if coder and not _NAME.fullmatch(coder):
        raise InputError(f"a coder's name is of at most 40 letters, digits, - and _, got {coder[:60]!r}")
    return result / (f"review-{coder}.json" if coder else "review.json")


def reviews_of(result: Path) -> tuple[Path, ...]:
    """The reviews that lie in a result's folder, the one without a name first."""
    return (*(p for p in (result / "review.json",) if p.is_file()), *sorted(result.glob("review-*.json")))


def new_review(result: Path, coder: str = "", *, blind: bool = False, controls: Sequence[Interval] = ()) -> Review:
    """A review in which nothing is judged yet; it is not written.

    Args:
        result: the folder that `openmer analyze` wrote.
        coder: the coder's name.
        blind: whether the machine's opinion is hidden; `openmer.review.blind` shuffles.
        controls: moments in which nothing was found, to judge among the candidates.

    Returns:
        An entry for each candidate, also those set aside, and each control, by time.

    Raises:
        InputError: there is no result, it is damaged, or the coder's name cannot be used.
    """
    review_path(result, coder)
    timeline = read_result(result).timeline
    detected = [
        (i, Machine(**_times(i), index=k, label=i.label)) for k, i in enumerate(timeline) if i.label in REVIEWED_LABELS
    ]
    rows: list[tuple[Interval, Machine | None]] = [*detected, *((i, None) for i in controls)]
    rows.sort(key=lambda row: (row[0].onset_s, row[0].offset_s))
    entries = tuple(
        Entry(
            **_times(i),
            id=f"e{k}",
            origin="control" if machine is None else "candidate",
            onset_frame=i.onset_frame,
            apex_frame=i.apex_frame,
            offset_frame=i.offset_frame,
            machine=machine,
        )
        for k, (i, machine) in enumerate(rows, 1)
    )
    source = Source(
        video=str(timeline.provenance.get("source", "")),
        timeline_sha256=timeline_sha256(result),
        start_s=timeline.start_s,
        end_s=timeline.end_s,
        slowdown=timeline.clock.slowdown,
        source_digest=timeline.provenance.get("source_digest"),
        person=timeline.provenance.get("person"),
    )
    return Review(schema=SCHEMA, source=source, coder=coder, blind=blind, entries=entries)


def result_name(folder: Path) -> str:
    """What a result is called: its folder's name; of one person among several, with that of the video's folder."""
    own = folder.resolve()
    return f"{own.parent.name}/{own.name}" if re.fullmatch(r"person-\d+", own.name) else own.name


def _times(interval: Interval) -> dict[str, Any]:
    return {"onset_s": interval.onset_s, "apex_s": interval.apex_s, "offset_s": interval.offset_s}


def timeline_sha256(result: Path) -> str:
    """The digest by which a result is known.

    Raises:
        InputError: the folder has no timeline.json that can be read.
    """
    return hashlib.sha256(read_bytes(result / TIMELINE)).hexdigest()


def read_review(path: Path) -> Review:
    """Read a review, and check that it belongs to the timeline.json beside it, if there is one.

    Raises:
        InputError: the file cannot be read, is damaged, is no review of this version, or is of another analysis. It is
            left as it is.
    """
    if not path.exists():
        raise InputError(f"there is no review at {path}; openmer review writes one beside a result")
    try:
        review = read_json(path, Review)
        if review.schema != SCHEMA:
            raise InputError(f"it is of schema {review.schema!r}, and this version reads {SCHEMA}")
        _check_whole(review)
    except InputError as error:
        reason = str(error).removeprefix(f"cannot read {path}: ")
        raise InputError(
            f"cannot use {path} as a review, and leave it as it is: {reason}; move it away to begin anew"
        ) from error
    if (path.parent / TIMELINE).is_file() and timeline_sha256(path.parent) != review.source.timeline_sha256:
        raise InputError(
            f"{path} is a review of another analysis (of {review.source.video}) than {path.parent / TIMELINE}, and is "
            "left as it is; move it to the result that it belongs to"
        )
    return review


def _check_whole(review: Review) -> None:
    if review.revision != len(review.history):
        raise InputError(f"its revision is {review.revision}, but its history has {len(review.history)} changes")
    if len({e.id for e in review.entries}) < len(review.entries):
        raise InputError("two of its entries have the same id")
    _stacks(review.history)
    _ = Clock(slowdown=review.source.slowdown)  # holds it to be one that durations can be divided by
    for entry in review.entries:
        check_entry(entry)


def check_entry(entry: Entry) -> None:
    """Hold an entry to what its types cannot say.

    Raises:
        InputError: a time or frame is out of order, a unit is none, or a text is too long.
    """
    try:
        _ = entry.interval  # holds onset, apex and offset to their order
    except InputError as error:
        raise InputError(f"{entry.id}: {error}") from error
    frames = [f for f in (entry.onset_frame, entry.apex_frame, entry.offset_frame) if f is not None]
    if frames != sorted(frames) or (frames and frames[0] < 0):
        raise InputError(f"{entry.id}: the frames of onset, apex and offset must rise, got {frames}")
    if entry.apex_s is None and entry.apex_frame is not None:
        raise InputError(f"{entry.id}: the apex has a frame but no time")
    for unit in entry.action_units:
        if not 1 <= unit.number <= 99 or unit.side not in SIDES or unit.intensity not in INTENSITIES:
            raise InputError(f"{entry.id}: {unit} is not an action unit with a side and an intensity A to E")
    if len(entry.note) > MAX_TEXT or len(entry.expression) > 100:
        raise InputError(f"{entry.id}: a note has at most {MAX_TEXT} characters, an expression 100")


def apply_change(review: Review, change: Change) -> Review:
    """The review after a change, with a line more in its history; the same review if it has the change already.

    Raises:
        InputError: the change cannot be made; says why.
    """
    if change.token and any(line.token == change.token for line in review.history):
        return review
    if isinstance(change, Undo | Redo):
        return _turned(review, change)
    if isinstance(change, Add):
        name = _next_id(review)
        added = _entry({"verdict": "accepted", **_settable(change.values), "id": name, "origin": "added"})
        return _with(review, "add", name, None, _plain(added), change.token)
    entry = review.entry(change.entry)
    plain = _plain(entry)
    if isinstance(change, Remove):
        if entry.origin != "added":
            raise InputError(f"{entry.id} was not added by a coder; reject it instead of removing it")
        return _with(review, "remove", entry.id, plain, None, change.token)
    changed = _plain(_entry({**plain, **_settable(change.values)}))
    before = {k: plain[k] for k in plain if plain[k] != changed[k]}
    after = {k: changed[k] for k in before}
    return _with(review, "set", entry.id, before, after, change.token) if before else review


def _plain(entry: Entry) -> dict[str, Any]:
    """As it will be read again: lists instead of tuples."""
    return msgspec.json.decode(msgspec.json.encode(entry), type=dict[str, Any])


def _settable(values: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(values) - SETTABLE)
    if unknown:
        raise InputError(f"{unknown[0]!r} of an entry cannot be set; choose {', '.join(sorted(SETTABLE))}")
    return values


def _entry(plain: dict[str, Any]) -> Entry:
    try:
        entry = msgspec.convert(plain, Entry)
    except msgspec.ValidationError as error:
        raise InputError(f"{plain['id']}: {error}") from error
    check_entry(entry)
    if entry.verdict == "accepted" and canonical_emotion(entry.expression) == NONE:
        raise InputError(f"{entry.id}: no expression is called none; reject the entry instead")
    return entry


def _next_id(review: Review) -> str:
    names = {e.id for e in review.entries} | {line.entry for line in review.history}
    return f"e{max((int(name[1:]) for name in names if name[1:].isdigit()), default=0) + 1}"


def _turned(review: Review, change: Undo | Redo) -> Review:
    """Undo or redo, which are changes themselves: the history only grows."""
    done, undone = _stacks(review.history)
    if isinstance(change, Undo):
        if not done:
            raise InputError("there is nothing to undo")
        line = done[-1]
        return _with(review, "undo", line.entry, line.after, line.before, change.token)
    if not undone:
        raise InputError("there is nothing to redo")
    line = undone[-1]
    return _with(review, "redo", line.entry, line.before, line.after, change.token)


def _stacks(history: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """The changes that stand, and those that were taken back, the latest last."""
    done: list[Line] = []
    undone: list[Line] = []
    for line in history:
        source, target = {"undo": (done, undone), "redo": (undone, done)}.get(line.do, ([line], done))
        if not source:
            raise InputError(f"its history has more of {line.do} than there is to {line.do}")
        target.append(source.pop())
        if line.do not in ("undo", "redo"):
            undone.clear()
    return done, undone


def _with(
    review: Review,
    do: Literal["set", "add", "remove", "undo", "redo"],
    name: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    token: str,
) -> Review:
    entries = list(review.entries)
    if before is None:
        assert after is not None  # noqa: S101  (an entry comes, or there was one)
        entries.append(_entry(after))
        if not review.blind:
            entries.sort(key=lambda e: (e.onset_s, e.offset_s))
    elif after is None:
        entries = [e for e in entries if e.id != name]
    else:
        plain = _plain(review.entry(name))
        entries = [_entry({**plain, **after}) if e.id == name else e for e in entries]
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = Line(at=now, do=do, entry=name, before=before, after=after, token=token)
    return msgspec.structs.replace(
        review, entries=tuple(entries), history=(*review.history, line), revision=review.revision + 1
    )
