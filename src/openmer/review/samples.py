"""`samples.csv` from reviews: what coders accepted becomes recordings that `prepare`, `train` and `loso` learn from.

Onset, apex and offset are the numbers of frames as the analysis counted them, which is how `samples.csv` counts.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmer.clip import NONE, alike
from openmer.errors import InputError
from openmer.exchange.export import read_result
from openmer.facs import canonical_emotion
from openmer.files import table_rows, table_text, write_new_file
from openmer.media.identity import source_digest
from openmer.review.annotations import ADDED
from openmer.review.document import UNNAMED, Entry, Review, result_name
from openmer.review.export import chosen
from openmer.review.frames import read_frame_times
from openmer.review.material import find_video
from openmer.timeline import Timeline

TABLE = "samples.csv"
COLUMNS = ("subject", "sample", "source", "fps", "label", "onset", "apex", "offset", "action_units", "coder")


@dataclass(frozen=True)
class Samples:
    """What was written: how many recordings of each label, and how many were left out for want of a name."""

    labels: Mapping[str, int]
    unnamed: int


def read_subjects(path: Path) -> dict[str, str]:
    """Video or result -> person, from a table with the columns `video` and `subject`.

    Raises:
        InputError: it cannot be read, or a row is wrong.
    """
    people: dict[str, str] = {}
    spellings: dict[str, str] = {}
    for number, row in table_rows(path, ("video", "subject")):
        if isinstance(row, str) or not (row["video"] and row["subject"]):
            raise InputError(f"{path}, line {number}: {row if isinstance(row, str) else 'video or subject is empty'}")
        if people.setdefault(row["video"], row["subject"]) != row["subject"]:
            raise InputError(f"{path}, line {number}: {row['video']} has two subjects")
        other = spellings.setdefault(alike(row["subject"]), row["subject"])
        if other != row["subject"]:
            raise InputError(
                f"{path}, line {number}: {other!r} and {row['subject']!r} look like one person; write the name one way"
            )
    return people


def write_samples(
    reviewed: Sequence[tuple[Path, Review]],
    out: Path,
    subjects: Mapping[str, str] | str,
    *,
    video: Path | None = None,
    rejected: bool = False,
    overwrite: bool = False,
) -> Samples:
    """Write a `samples.csv` of everything accepted.

    If nothing has a name, all is labelled `expression`; otherwise what has none is left out and counted.

    Args:
        reviewed: folders of results, each with its review.
        out: the table, in a folder in which the videos lie, at any depth.
        subjects: the person in each video, by the video's name or that of the result; or one person in all.
        video: the folder in which the videos are; by default they are looked for in the table's folder and below.
        rejected: whether what was rejected becomes recordings with the label `none`.
        overwrite: whether a file at `out` may be replaced.

    Raises:
        InputError: nothing was accepted, a video is missing or lies elsewhere, or a person is not known.
        OutputError: `out` exists or cannot be written.
    """
    if out.name != TABLE:
        raise InputError(f"the table is called {TABLE}, or openmer prepare does not find it; got {out.name}")
    each = [(folder, review, _chosen(review, rejected=rejected)) for folder, review in reviewed]
    accepted = [e for *_, entries in each for e in entries if e.verdict == "accepted"]
    if not accepted:
        raise InputError(
            f"nothing is accepted in {len(each)} review{'' if len(each) == 1 else 's'}; see openmer review"
        )
    check_one_video_a_name(subjects, reviewed)
    named = any(e.expression for e in accepted)
    rows: list[dict[str, Any]] = []
    for folder, review, entries in each:
        kept = [e for e in entries if e.verdict == "rejected" or e.expression or not named]
        rows += _rows(folder, review, kept, out, subject_of(subjects, folder, review), video)
    names = [(row["subject"], row["sample"]) for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice[0]} would have two recordings {twice[1]}; give the results' folders different names")
    write_new_file(out, table_text(rows, COLUMNS).encode(), overwrite=overwrite)
    labels = sorted({str(row["label"]) for row in rows})
    counts = {label: sum(row["label"] == label for row in rows) for label in labels}
    return Samples(counts, sum(not e.expression for e in accepted) if named else 0)


def _chosen(review: Review, *, rejected: bool) -> tuple[Entry, ...]:
    """As `chosen`, but a review may be empty."""
    if not any(e.verdict in ("accepted", "rejected") for e in review.entries):
        return ()
    return chosen(review, rejected=True) if rejected else tuple(e for e in review.entries if e.verdict == "accepted")


def _names(folder: Path, review: Review) -> tuple[str, ...]:
    """By which a table may name a result, the most particular first."""
    return result_name(folder), folder.resolve().name, review.source.video


def _whose(review: Review) -> tuple[str | None, int | None]:
    return review.source.source_digest, review.source.person


def check_one_video_a_name(subjects: Mapping[str, str] | str, reviewed: Sequence[tuple[Path, Review]]) -> None:
    """Hold no name in a table of people to mean two recordings, or two people in one.

    Raises:
        InputError: one does.
    """
    if isinstance(subjects, str):
        return
    first: dict[str, tuple[Path, Review]] = {}
    for folder, review in reviewed:
        name = next((name for name in _names(folder, review) if name in subjects), review.source.video)
        other, other_review = first.setdefault(name, (folder, review))
        if _whose(other_review) != _whose(review):
            raise InputError(
                f"the table cannot mean both {other} and {folder}, of two recordings, by the name {name}; give names "
                f"that differ there: {result_name(other)} and {result_name(folder)}, or rename a folder"
            )


def subject_of(subjects: Mapping[str, str] | str, folder: Path, review: Review) -> str:
    """The person in a result: by its own name, or by that of its video.

    Raises:
        InputError: the table has neither.
    """
    if isinstance(subjects, str):
        return subjects
    names = _names(folder, review)
    known = next((name for name in names if name in subjects), None)
    if known is None:
        raise InputError(f"the table of subjects has neither {review.source.video} nor {names[1]}")
    return subjects[known]


def _rows(
    folder: Path, review: Review, entries: Sequence[Entry], out: Path, subject: str, video: Path | None
) -> list[dict[str, Any]]:
    if not entries:
        return []
    timeline, times = read_result(folder).timeline, read_frame_times(folder)
    if "person" in timeline.provenance:
        raise InputError(f"{folder} is one of several people in a video; {TABLE} cannot say which face is meant")
    stream = (timeline.provenance.get("settings") or {}).get("stream")
    if stream is not None:
        raise InputError(
            f"{folder} is an analysis of stream {stream} of its file, and {TABLE} means the default one; copy that "
            "stream to a file of its own and analyse that"
        )
    place = find_video(folder, timeline, out.parent if video is None else video)
    source, fps = _source(place, timeline, out), _fps(timeline, folder)

    def mark(entry: Entry, name: str) -> int | None:
        known: int | None = getattr(entry, f"{name}_frame")
        return times.frame(getattr(entry, f"{name}_s")) if known is None else known

    return [
        {
            "subject": subject,
            "sample": f"{folder.resolve().name}-{entry.id}",
            "source": source,
            "fps": fps,
            "label": NONE if entry.verdict == "rejected" else canonical_emotion(entry.expression) or UNNAMED,
            **{name: mark(entry, name) for name in ("onset", "apex", "offset")},
            "action_units": "" if entry.verdict == "rejected" else ADDED.join(map(str, entry.action_units)),
            "coder": review.coder,
        }
        for entry in entries
    ]


def _source(video: Path, timeline: Timeline, out: Path) -> str:
    """The video's path as the table states it: relative to its folder."""
    root, place, known = out.parent.resolve(), video.resolve(), timeline.provenance.get("source_digest")
    if known is not None and source_digest(video) != known:
        raise InputError(f"{video} has the name of the recording that was analysed but is another one; see --video")
    if not place.is_relative_to(root):
        raise InputError(
            f"{TABLE} lists recordings below its own folder, and {place} is not below {root}; put {TABLE} into a "
            "folder in which the videos lie, or copy them there"
        )
    return Path(os.path.relpath(place, root)).as_posix()


def _fps(timeline: Timeline, folder: Path) -> str:
    """The rate of filming: as it was given to the analysis, or else as it was measured."""
    given = (timeline.provenance.get("settings") or {}).get("fps")
    rate = timeline.clock.real_fps
    if given is None and rate is None:
        raise InputError(f"{folder} does not say how many frames a second were filmed; analyse the video again")
    return str(given) if given is not None else f"{rate:.6g}"
