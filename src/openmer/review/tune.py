"""The spotter's thresholds for one's own recordings, from what coders accepted, rejected and added.

    review, frames.csv, windows --read_recording--> Recording --tune--> Tuning: thresholds, scores on those left out

A recording is spotted again, from its frames.csv, with each pair of thresholds of a grid, and with a network its
candidates are judged again at each `expression_threshold`. What is found is scored against what the coder accepted or
added, by MEGC's rule (`openmer.evaluation.spotting`): anything else that is found is a false alarm, for the coder has
seen the video. What a coder is unsure of counts neither way. The thresholds with the largest F1 are taken; of equals,
those nearest to the ones in use.

The scores that are reported are of people who had no part in choosing the thresholds that their recordings are spotted
with: each person is left out once, with all recordings. Where nobody is named, each recording counts as a person. A
gain counts if chance would hardly make one as large: if the two sets of thresholds were worth the same, it would be as
likely in each person that the scores were exchanged, so F1's gain is compared with those of all such exchanges (a
permutation test of pairs, one-sided).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from rich.markup import escape
from rich.table import Table
from scipy.stats import permutation_test

from openmer.clip import NONE
from openmer.errors import InputError
from openmer.evaluation.spotting import SpottingScore, match_intervals, score_spotting, total_score
from openmer.exchange.export import FRAMES, TIMELINE
from openmer.files import without_nan
from openmer.review.document import Review, result_name
from openmer.review.gather import ReviewFile
from openmer.review.samples import subject_of
from openmer.timeline import CANDIDATE, Interval, Timeline, read_timeline
from openmer.version import __version__
from openmer.video.measurements import read_signals
from openmer.video.recognition import mean_probabilities, windows_of
from openmer.video.settings import SpottingSettings
from openmer.video.spotting import Signals, spot_with
from openmer.video.tuned import MEASURED_WITH, SCHEMA, Tuned

CONTRASTS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 11.0, 16.0)
MIN_PX = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
EXPRESSION = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MIN_RECORDINGS = 3  # with something accepted; likewise people
MAX_CHANCE = 0.05  # of a gain as large, where there is none
RESAMPLES = 10_000  # all exchanges, up to 13 people
MIN_ACCEPTED = 20  # in all: the F1 of fewer moves by .03 or more with a single one


@dataclass(frozen=True, order=True)
class Thresholds:
    """What is tuned.

    Attributes:
        contrast: as in `SpottingSettings`; likewise `min_px`.
        expression: the `expression_threshold`; None without a network.
    """

    contrast: float
    min_px: float
    expression: float | None = None

    def distance(self, other: "Thresholds") -> float:
        """How far apart two are; in ratios, but for the last."""
        apart = abs(math.log(self.contrast / other.contrast)) + abs(math.log(self.min_px / other.min_px))
        return apart + abs((self.expression or 0.0) - (other.expression or 0.0))


@dataclass(frozen=True)
class Recording:
    """One reviewed recording.

    Attributes:
        name: of the result's folder.
        signals: the spotter's input.
        timeline: the analysis, whose windows hold the network's opinion.
        truth: what the coder accepted or added.
        unsure: what counts neither way.
        rejected: how many entries the coder rejected.
        coder: the coder's name.
        subject: the person in it; empty if nobody is named.
    """

    name: str
    signals: Signals
    timeline: Timeline
    truth: tuple[Interval, ...]
    unsure: tuple[Interval, ...] = ()
    rejected: int = 0
    coder: str = ""
    subject: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the analysis."""
        settings = self.timeline.provenance.get("settings")
        return settings if isinstance(settings, dict) else {}

    @property
    def has_network(self) -> bool:
        """Whether a network that knows `none` gave an opinion."""
        return any(NONE in window.probabilities for window in self.timeline.windows)


@dataclass(frozen=True)
class Row:
    """What a person's recordings are worth when left out: with the thresholds in use, and with those of the others."""

    name: str
    before: SpottingScore
    after: SpottingScore
    chosen: Thresholds


@dataclass(frozen=True)
class Tuning:
    """Thresholds for all recordings, and how such a choice does on people who were left out.

    Attributes:
        in_use: the thresholds of the analyses.
        chosen: the best on all recordings.
        rows: a person each, or a recording if nobody is named.
    """

    in_use: Thresholds
    chosen: Thresholds
    rows: tuple[Row, ...]
    recordings: tuple[Recording, ...] = field(repr=False, default=())

    @property
    def before(self) -> SpottingScore:
        """All recordings with the thresholds in use; counts are added before a ratio is taken."""
        return total_score(row.before for row in self.rows)

    @property
    def after(self) -> SpottingScore:
        """Each with the thresholds that the others chose."""
        return total_score(row.after for row in self.rows)

    @property
    def helps(self) -> bool:
        """Whether F1 on those left out is larger than before, and not by chance."""
        return self.after.f1 > self.before.f1 and self.chance <= MAX_CHANCE

    @cached_property
    def chance(self) -> float:
        """The probability of such a gain or a larger one if before and after were exchanged at random in each row."""
        pairs = [
            [_counts(score) for score in scores]
            for scores in ((r.after for r in self.rows), (r.before for r in self.rows))
        ]
        if len(self.rows) < 2 or pairs[0] == pairs[1]:
            return 1.0
        after, before = np.array(pairs)
        numbers = np.arange(len(self.rows)), np.arange(len(self.rows)) + len(self.rows)
        both = np.concatenate([after, before])

        def gain(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], axis: int) -> npt.NDArray[np.float64]:
            return _f1(both[first].sum(axis=axis - 1)) - _f1(both[second].sum(axis=axis - 1))

        test = permutation_test(
            numbers,
            gain,
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            alternative="greater",
            random_state=0,
        )
        return float(test.pvalue)

    def to_tuned(self) -> Tuned:
        """The content of the file."""
        first = self.recordings[0]
        return Tuned(
            schema=SCHEMA,
            openmer=__version__,
            contrast=self.chosen.contrast,
            min_px=self.chosen.min_px,
            expression_threshold=self.chosen.expression,
            measured_with={name: str(first.settings[name]) for name in MEASURED_WITH},
            tuned_on={
                "recordings": len(self.recordings),
                "accepted": sum(len(r.truth) for r in self.recordings),
                "rejected": sum(r.rejected for r in self.recordings),
                "coders": sorted({r.coder for r in self.recordings}),
            },
            left_out={
                name: asdict(score) | {"f1": score.f1}
                for name, score in (("before", self.before), ("after", self.after))
            }
            | {"people": len(self.rows), "chance": self.chance},
        )


def _counts(score: SpottingScore) -> list[int]:
    return [score.hits, score.misses, score.false_alarms]


def _f1(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """As `SpottingScore.f1`, along the last axis; 0 where there is nothing."""
    hits, misses, alarms = np.moveaxis(counts, -1, 0)
    return np.asarray(2 * hits / np.maximum(1, 2 * hits + misses + alarms))


def read_recording(reviewed: ReviewFile, subjects: Mapping[str, str] | None = None) -> Recording:
    """A reviewed recording, from the review and the result beside it.

    Args:
        reviewed: the review.
        subjects: who is in the videos, if that is known.

    Raises:
        InputError: there is no result beside it, it cannot be read, candidates are not judged yet, or who
            is in it is not known.
    """
    folder, review = reviewed.path.parent, reviewed.review
    if not (folder / TIMELINE).is_file():
        raise InputError(f"there is no {TIMELINE} beside {reviewed.path}; give reviews where openmer review wrote them")
    open_ = sum(e.verdict == "none" for e in review.entries)
    if open_:
        raise InputError(
            f"{open_} of {len(review.entries)} entries of {reviewed.path} have no verdict yet, so nothing found there "
            "can count as right or wrong; judge them first"
        )
    return Recording(
        name=result_name(folder),
        signals=read_signals(folder / FRAMES),
        timeline=read_timeline(folder / TIMELINE),
        truth=_with(review, "accepted"),
        unsure=_with(review, "unsure"),
        rejected=len(_with(review, "rejected")),
        coder=review.coder,
        subject="" if subjects is None else subject_of(subjects, folder, review),
    )


def _with(review: Review, verdict: str) -> tuple[Interval, ...]:
    return tuple(e.interval for e in review.entries if e.verdict == verdict)


def check_enough(reviews: Sequence[ReviewFile]) -> None:
    """Hold reviews to be enough to tune on, before anything is measured.

    Raises:
        InputError: two are of one analysis, or there are too few; says how many are needed.
    """
    by_analysis: dict[str, ReviewFile] = {}
    for one in reviews:
        other = by_analysis.setdefault(one.review.source.timeline_sha256, one)
        if other is not one:
            raise InputError(
                f"{other.path} and {one.path} are of one recording, which would count twice; settle them (openmer "
                "agree) and give one"
            )
    accepted = [len(_with(one.review, "accepted")) for one in reviews]
    filled = sum(count > 0 for count in accepted)
    if filled < MIN_RECORDINGS or sum(accepted) < MIN_ACCEPTED:
        raise InputError(
            f"too little to tune on: {sum(accepted)} accepted in {filled} recordings; at least {MIN_ACCEPTED} in "
            f"{MIN_RECORDINGS} are needed, or chance decides"
        )


def tune(recordings: Sequence[Recording], step: Callable[[], None] = lambda: None) -> Tuning:
    """Choose thresholds.

    Args:
        recordings: all analysed with the same settings.
        step: is called after each recording.

    Raises:
        InputError: the analyses have different settings, or they are of too few people.
    """
    in_use = _in_use(recordings)
    groups: dict[str, list[int]] = defaultdict(list)
    for k, recording in enumerate(recordings):
        groups[recording.subject or f"{k}"].append(k)
    if len(groups) < MIN_RECORDINGS:
        raise InputError(f"the recordings are of {len(groups)} people; at least {MIN_RECORDINGS} are needed")
    scores = []
    for recording in recordings:
        scores.append(scored(recording, in_use))
        step()
    rows = []
    for members in groups.values():
        chosen = _best([score for k, score in enumerate(scores) if k not in members], in_use)
        before, after = (total_score(scores[k][key] for k in members) for key in (in_use, chosen))
        rows.append(Row(recordings[members[0]].subject or recordings[members[0]].name, before, after, chosen))
    return Tuning(in_use, _best(scores, in_use), tuple(rows), tuple(recordings))


def _in_use(recordings: Sequence[Recording]) -> Thresholds:
    """The thresholds of the analyses.

    Raises:
        InputError: they differ, or how was measured does.
    """
    first = recordings[0]
    names = (*MEASURED_WITH, "spotting", "expression_threshold")
    for recording in recordings:
        lacking = [name for name in names if name not in recording.settings]
        if lacking:
            raise InputError(f"the analysis of {recording.name} does not say its {lacking[0]}; analyse the video again")
        other = [name for name in names if recording.settings[name] != first.settings[name]]
        if other or recording.has_network != first.has_network:
            setting = other[0] if other else "network's opinion"
            raise InputError(
                f"{first.name} and {recording.name} were analysed with different settings ({setting}); analyse all "
                "with the same settings, review them, then tune"
            )
    spotting, threshold = first.settings["spotting"], first.settings["expression_threshold"]
    return Thresholds(spotting["contrast"], spotting["min_px"], threshold if first.has_network else None)


def scored(recording: Recording, in_use: Thresholds) -> dict[Thresholds, SpottingScore]:
    """The score of a recording with each of the grid's thresholds, and with those in use."""
    spotting = SpottingSettings(**recording.settings["spotting"])
    scores: dict[Thresholds, SpottingScore] = {}
    pairs = dict.fromkeys([*product(CONTRASTS, MIN_PX), (in_use.contrast, in_use.min_px)])
    levels = dict.fromkeys([*EXPRESSION, in_use.expression]) if in_use.expression is not None else {None: None}
    for (contrast, min_px), spotted in zip(pairs, spot_with(recording.signals, spotting, pairs), strict=True):
        candidates = [(i, _expression(i, recording.timeline)) for i in spotted if i.label == CANDIDATE]
        known: dict[int, SpottingScore] = {}  # by how many are kept: each level keeps a part of the one below
        for level in levels:
            kept = [i for i, share in candidates if level is None or share is None or share >= level]
            if len(kept) not in known:
                known[len(kept)] = score_of(kept, recording)
            scores[Thresholds(contrast, min_px, level)] = known[len(kept)]
    return scores


def _expression(interval: Interval, timeline: Timeline) -> float | None:
    """The network's probability of all expressions together, as `apply_network` takes it; None without an opinion."""
    shares = mean_probabilities(w.probabilities for w in windows_of(interval, timeline.windows))
    return None if shares is None or NONE not in shares else 1 - shares[NONE]


def score_of(spotted: Sequence[Interval], recording: Recording) -> SpottingScore:
    """What was found in a recording against the coder's opinion."""
    timeline = recording.timeline
    hits = {a for a, _ in match_intervals(spotted, recording.truth)}
    rest = [i for k, i in enumerate(spotted) if k not in hits]
    unsure = {a for a, _ in match_intervals(rest, recording.unsure)}
    counted = [i for k, i in enumerate(spotted) if k in hits] + [i for k, i in enumerate(rest) if k not in unsure]
    return score_spotting(counted, recording.truth, timeline.end_s - timeline.start_s)


def _best(scores: Sequence[Mapping[Thresholds, SpottingScore]], in_use: Thresholds) -> Thresholds:
    """The largest F1 of all counts together; of equals, the nearest to those in use."""
    totals = {key: total_score(score[key] for score in scores) for key in scores[0]}

    def worth(key: Thresholds) -> tuple[float, float]:
        f1 = totals[key].f1
        return (round(f1, 9) if math.isfinite(f1) else -1.0, -key.distance(in_use))

    return max(totals, key=worth)


def written(tuning: Tuning) -> bytes:
    """The file that `openmer analyze --tuned` takes."""
    return (
        msgspec.json.format(msgspec.json.encode(without_nan(msgspec.to_builtins(tuning.to_tuned()))), indent=2) + b"\n"
    )


def tune_report(tuning: Tuning) -> Iterator[str | Table]:
    """A row a recording, then the sums and the thresholds, for a terminal."""
    named = any(recording.subject for recording in tuning.recordings)
    table = Table(title=f"each {'person' if named else 'recording'}, left out", title_justify="left")
    for heading in ("", "F1 before", "F1 after", "hits", "misses", "false alarms", "thresholds of the others"):
        table.add_column(heading, overflow="fold")
    for row in (*tuning.rows, Row("all", tuning.before, tuning.after, tuning.chosen)):
        counts = [f"{getattr(row.before, n)} -> {getattr(row.after, n)}" for n in ("hits", "misses", "false_alarms")]
        thresholds = "" if row.name == "all" else _in_words(row.chosen)
        table.add_row(escape(row.name), _ratio(row.before.f1), _ratio(row.after.f1), *counts, thresholds)
    yield table
    yield f"in use: {_in_words(tuning.in_use)}"
    yield f"chosen on all: {_in_words(tuning.chosen)}"
    yield (
        f"F1 of those left out: {_ratio(tuning.before.f1)} before, {_ratio(tuning.after.f1)} after; if the thresholds "
        f"made no difference, a gain as large would come by chance with probability {tuning.chance:.2g}"
    )
    if not named:
        yield "each recording was taken to be of another person; if it is not so, name them with --subjects"


def _in_words(thresholds: Thresholds) -> str:
    words = f"contrast {thresholds.contrast:g}, min_px {thresholds.min_px:g}"
    return words if thresholds.expression is None else f"{words}, expression_threshold {thresholds.expression:g}"


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
