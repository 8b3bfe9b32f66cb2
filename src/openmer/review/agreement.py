"""Whether two coders agree: which moments are compared, Cohen's kappa, intervals, times, action units, controls.

    two reviews of one analysis --moments_of--> moments --Agreement--> kappa, intervals, differences, disagreements

A moment is a stretch of time with what both coders say of it:

1. Each candidate or control that both were asked about is one moment.
2. What a coder accepted and the other did not at the same question is compared with what is likewise left of the
   other's, one to one, where the intersection over union is at least 0.5: such a pair is one moment, and takes the
   place of the questions that it answers.
3. Whatever a coder accepted and is left then is a moment in which the other, who saw the same video, marked nothing.
   What only one coder was asked about and rejected is not a moment.

A coder's label of a moment is the expression of an accepted entry (`expression` if it has no name), or `none`. A moment
of which a coder is unsure, or which one has not judged, has no label and does not count, but is listed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from openmer.clip import NONE
from openmer.errors import InputError
from openmer.evaluation.settings import MEGC_IOU
from openmer.evaluation.spotting import match_intervals
from openmer.facs import canonical_emotion
from openmer.review.document import UNNAMED, Entry, Origin, Review
from openmer.timeline import Interval

MARKS = ("onset", "apex", "offset")
Kind = Literal["", "expression or none", "label", "interval", "unsure"]


def label_of(entry: Entry) -> str | None:
    """What a coder says of an entry: the expression's name, `expression`, `none`; None if unsure or not judged."""
    if entry.verdict == "accepted":
        return canonical_emotion(entry.expression) or UNNAMED
    return NONE if entry.verdict == "rejected" else None


def asked_about(review: Review) -> dict[str, Interval]:
    """Entry's id -> the stretch that the coder was asked about, before any change; not of what was added."""
    values = {e.id: {f"{m}_s": getattr(e, f"{m}_s") for m in MARKS} for e in review.entries if e.origin != "added"}
    for line in reversed(review.history):
        for name, value in (line.before or {}).items():
            if name in values.get(line.entry, {}):
                values[line.entry][name] = value
    return {name: Interval(label="", **times) for name, times in values.items()}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What two coders say of one stretch of time.

    Attributes:
        video: name of the video.
        origin: of the question; `added` if a coder added it.
        entries: the first and the second coder's entry; None where a coder has none.
        labels: as `label_of`; `none` where a coder has no entry.
        set_by_hand: whether any coder moved the onset, apex or offset.
        slowdown: seconds of the file that show one second of what was recorded.
    """

    video: str
    origin: Origin
    entries: tuple[Entry | None, Entry | None]
    labels: tuple[str | None, str | None]
    set_by_hand: bool = True
    slowdown: float = 1.0

    @property
    def onset_s(self) -> float:
        """Where it belongs in time, seconds of the file."""
        return min(e.onset_s for e in self.entries if e is not None)

    @property
    def counts(self) -> bool:
        """Whether both coders have a label for it."""
        return None not in self.labels

    @property
    def pair(self) -> tuple[Entry, Entry] | None:
        """Both entries, if both coders accepted."""
        first, second = self.entries
        if first is None or second is None or {first.verdict, second.verdict} != {"accepted"}:
            return None
        return first, second

    @property
    def iou(self) -> float | None:
        """Intersection over union of what both accepted; else None."""
        return None if self.pair is None else self.pair[0].interval.iou(self.pair[1].interval)

    def difference_ms(self, mark: str) -> float | None:
        """Second minus first coder's onset, apex or offset, ms of real time; None if a coder has none."""
        times = [getattr(entry, f"{mark}_s") for entry in self.pair or ()]
        return None if len(times) < 2 or None in times else 1000 * (times[1] - times[0]) / self.slowdown

    @property
    def disagreement(self) -> Kind:
        """What the coders have to settle; empty if nothing, or if one of them has not judged yet."""
        if any(e is not None and e.verdict == "unsure" for e in self.entries):
            return "unsure"
        if not self.counts:
            return ""
        if (self.labels[0] == NONE) != (self.labels[1] == NONE):
            return "expression or none"
        if self.labels[0] != self.labels[1]:
            return "label"
        return "interval" if self.iou is not None and self.iou < MEGC_IOU else ""


def moments_of(first: Review, second: Review) -> tuple[Moment, ...]:
    """The moments of one video, by time; the module's docstring says which."""
    asked = asked_about(first), asked_about(second)
    by_id = tuple({e.id: e for e in review.entries} for review in (first, second))
    names = [list(questions) for questions in asked]
    questions = [
        (by_id[0][names[0][a]], by_id[1][names[1][b]])
        for a, b in match_intervals(list(asked[0].values()), list(asked[1].values()))
    ]
    pairs = [(a, b) for a, b in questions if a.verdict == b.verdict == "accepted"]
    taken = [{e.id for e in side} for side in zip(*pairs, strict=True)] or [set(), set()]
    left = [
        [e for e in review.entries if e.verdict == "accepted" and e.id not in used]
        for review, used in zip((first, second), taken, strict=True)
    ]
    meeting = match_intervals([e.interval for e in left[0]], [e.interval for e in left[1]])
    pairs += [(left[0][a], left[1][b]) for a, b in meeting]
    taken = [{e.id for e in side} for side in zip(*pairs, strict=True)] or [set(), set()]
    together: list[tuple[Entry | None, Entry | None]] = [*pairs]
    together += [(a, b) for a, b in questions if a.id not in taken[0] and b.id not in taken[1]]
    for side, review in enumerate((first, second)):
        known = {pair[side].id for pair in together if pair[side] is not None}  # type: ignore[union-attr]
        alone = [e for e in review.entries if e.id not in known and _stands_alone(e)]
        others = (second, first)[side].entries
        together += [(e, _open(e, others)) if side == 0 else (_open(e, others), e) for e in alone]
    moments = (_moment(pair, first, asked) for pair in together)
    return tuple(sorted(moments, key=lambda moment: moment.onset_s))


def _stands_alone(entry: Entry) -> bool:
    """Whether it is a moment although the other coder was not asked about it."""
    return entry.verdict == "accepted" or (entry.origin == "added" and entry.verdict == "unsure")


def _open(entry: Entry, others: Iterable[Entry]) -> Entry | None:
    """The other coder's entry at the same place that is unsure or not judged."""
    near = (o for o in others if label_of(o) is None and o.interval.iou(entry.interval) >= MEGC_IOU)
    return next(near, None)


def _moment(
    pair: tuple[Entry | None, Entry | None], first: Review, asked: tuple[Mapping[str, Interval], Mapping[str, Interval]]
) -> Moment:
    entries = [e for e in pair if e is not None]
    labels = tuple(NONE if e is None else label_of(e) for e in pair)
    moved = [e is not None and _times(asked[k].get(e.id)) != _times(e) for k, e in enumerate(pair)]
    return Moment(
        video=first.source.video,
        origin=next((e.origin for e in entries if e.origin != "added"), "added"),
        entries=pair,
        labels=(labels[0], labels[1]),
        set_by_hand=any(moved),
        slowdown=first.source.slowdown,
    )


def _times(of: Interval | Entry | None) -> tuple[float | None, ...]:
    return () if of is None else (of.onset_s, of.apex_s, of.offset_s)


@dataclass(frozen=True, kw_only=True)
class Kappa:
    """Cohen's kappa (Educational and Psychological Measurement 20, 1960) over moments.

    Attributes:
        label: what is told apart from all else; empty for all labels at once.
        moments: how many count.
        agreed: how many have the same label from both.
        given: how often each coder gave this label; of all labels, any but `none`.
        both: how often both gave it.
        kappa: (agreed share - share expected by chance) / (1 - the latter); NaN if both gave one and the same label
            throughout, since there is then nothing to agree on.
    """

    label: str
    moments: int
    agreed: int
    given: tuple[int, int]
    both: int
    kappa: float


def kappa_of(labels: Sequence[tuple[str, str]], label: str = "") -> Kappa:
    """Kappa of pairs of labels; with a label, of this one against all others."""
    from sklearn.metrics import cohen_kappa_score

    pairs = [(a == label, b == label) for a, b in labels] if label else list(labels)
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    given_labels = pairs if label else [(a != NONE, b != NONE) for a, b in labels]
    return Kappa(
        label=label,
        moments=len(pairs),
        agreed=sum(a == b for a, b in pairs),
        given=(sum(bool(a) for a, _ in given_labels), sum(bool(b) for _, b in given_labels)),
        both=sum(bool(a and b) for a, b in given_labels),
        kappa=float(cohen_kappa_score(first, second)) if len({*first, *second}) > 1 else float("nan"),
    )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far apart two coders' marks are, second minus first, ms of real time.

    Attributes:
        mark: onset, apex or offset.
        pairs: how many moments both accepted and gave this mark.
        median_ms: NaN without pairs, like the others; 0 if neither is systematically earlier.
        median_size_ms: median without the sign.
        range_ms: smallest and largest.
    """

    mark: str
    pairs: int
    median_ms: float
    median_size_ms: float
    range_ms: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What a coder did with control moments, in which the analysis found nothing."""

    accepted: int
    judged: int

    @property
    def rate(self) -> float:
        """False accepts: share accepted of those judged; NaN without any."""
        return self.accepted / self.judged if self.judged else float("nan")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Everything about two coders' reviews of one or more videos; ratios follow from pooled counts.

    Attributes:
        coders: their names.
        moments: by video and time.
        controls: of each coder.
        videos: how many there are.
        open: candidates and controls that each coder has not judged.
        blind: in how many videos each coder saw nothing of the machine's opinion.
        undecided: videos in which a coder has decided nothing, and the other something: nothing seen, or never opened.
    """

    coders: tuple[str, str]
    moments: tuple[Moment, ...]
    controls: tuple[Controls, Controls]
    videos: int
    open: tuple[int, int]
    blind: tuple[int, int] = (0, 0)
    undecided: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @cached_property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Both labels of each moment that counts."""
        return tuple((str(m.labels[0]), str(m.labels[1])) for m in self.moments if m.counts)

    @property
    def presence(self) -> Kappa:
        """Kappa of expression or none."""
        plain = [(UNNAMED if a != NONE else NONE, UNNAMED if b != NONE else NONE) for a, b in self.labels]
        return kappa_of(plain, UNNAMED)

    @property
    def kappas(self) -> tuple[Kappa, ...]:
        """Kappa of all labels at once, then of each, most frequent first."""
        counts: dict[str, int] = {}
        for label in (label for pair in self.labels for label in pair):
            counts[label] = counts.get(label, 0) + 1
        each = sorted(counts, key=lambda name: (-counts[name], name))
        return (kappa_of(self.labels), *(kappa_of(self.labels, name) for name in each))

    @property
    def pairs(self) -> tuple[Moment, ...]:
        """Moments that both accepted."""
        return tuple(m for m in self.moments if m.counts and m.pair is not None)

    @property
    def intervals(self) -> tuple[int, int, int]:
        """Accepted by the first, by the second, and by both with an intersection over union of at least 0.5."""
        first, second = (sum(m.labels[k] != NONE for m in self.moments if m.counts) for k in (0, 1))
        return first, second, sum(float(m.iou or 0) >= MEGC_IOU for m in self.pairs)

    @property
    def interval_f1(self) -> float:
        """2 x both / (first + second): one coder's intervals scored against the other's; NaN without any."""
        first, second, both = self.intervals
        return 2 * both / (first + second) if first + second else float("nan")

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Of onset, apex and offset, over `pairs`."""
        return tuple(_difference(mark, self.pairs) for mark in MARKS)

    @property
    def action_units(self) -> tuple[int, int]:
        """Over `pairs`: twice the units that both gave, sides and intensities aside, and the units given in all.

        Their ratio is the agreement that Wexler (1972) proposed, and that the datasets of micro-expressions report.
        """
        sets = [tuple({u.number for u in entry.action_units} for entry in m.pair or ()) for m in self.pairs]
        return sum(2 * len(a & b) for a, b in sets), sum(len(a) + len(b) for a, b in sets)

    @property
    def disagreements(self) -> tuple[Moment, ...]:
        """What to settle together."""
        return tuple(m for m in self.moments if m.disagreement)


def _difference(mark: str, pairs: Iterable[Moment]) -> Difference:
    differences = [d for d in (m.difference_ms(mark) for m in pairs) if d is not None]
    if not differences:
        return Difference(mark=mark, pairs=0, median_ms=np.nan, median_size_ms=np.nan, range_ms=(np.nan, np.nan))
    return Difference(
        mark=mark,
        pairs=len(differences),
        median_ms=float(np.median(differences)),
        median_size_ms=float(np.median(np.abs(differences))),
        range_ms=(min(differences), max(differences)),
    )


def agreement_of(
    pairs: Sequence[tuple[Review, Review]], coders: tuple[str, str] | None = None, *, same_video: bool = False
) -> Agreement:
    """The agreement of two coders over all videos that both reviewed.

    Args:
        pairs: the first and the second coder's review of each video.
        coders: what they are called; by default by the first pair.
        same_video: whether a pair may be of different analyses of one video; moments are then compared by time alone.

    Raises:
        InputError: there is no pair, or a pair is not of the same analysis.
    """
    if not pairs:
        raise InputError("there are no two reviews to compare")
    for first, second in pairs:
        check_same(first, second, same_video=same_video)
    moments = [moment for first, second in pairs for moment in moments_of(first, second)]

    def count(side: int, fits: Callable[[Entry], bool]) -> int:
        return sum(fits(entry) for pair in pairs for entry in pair[side].entries)

    def controls(side: int) -> Controls:
        judged = count(side, lambda e: e.origin == "control" and label_of(e) is not None)
        return Controls(
            accepted=count(side, lambda e: e.origin == "control" and e.verdict == "accepted"), judged=judged
        )

    return Agreement(
        coders=coders or (pairs[0][0].coder, pairs[0][1].coder),
        moments=tuple(moments),
        controls=(controls(0), controls(1)),
        videos=len(pairs),
        blind=(sum(first.blind for first, _ in pairs), sum(second.blind for _, second in pairs)),
        open=(count(0, lambda e: e.verdict == "none"), count(1, lambda e: e.verdict == "none")),
        undecided=(
            tuple(one.source.video for one, other in pairs if other.history and not one.history),
            tuple(other.source.video for one, other in pairs if one.history and not other.history),
        ),
    )


def check_same(first: Review, second: Review, *, same_video: bool = False) -> None:
    """Hold two reviews to be of the same analysis, which their digest of timeline.json tells.

    Raises:
        InputError: they are not, and `same_video` does not say that they are of one video at least.
    """
    one, other = first.source, second.source
    if one.timeline_sha256 == other.timeline_sha256:
        return
    if None not in (one.source_digest, other.source_digest) and one.source_digest != other.source_digest:
        raise InputError(
            f"one review is of {one.video}, the other of another recording, {other.video}: there is nothing to compare"
        )
    if one.person != other.person:
        raise InputError(
            f"one review is of {one.whom} in {one.video}, the other of {other.whom} in {other.video}: there is "
            "nothing to compare"
        )
    if one.slowdown != other.slowdown:
        raise InputError(
            f"one review takes {one.video} as slowed down {one.slowdown:g} times, the other {other.slowdown:g} times; "
            "analyse it with the same --fps, or durations cannot be compared"
        )
    if same_video:
        return
    if one.video != other.video:
        raise InputError(f"one review is of {one.video}, the other of {other.video}: there is nothing to compare")
    raise InputError(
        f"the reviews are of two analyses of {one.video}, or of two videos of that name; if it is one video, "
        "--same-video compares them by time"
    )
