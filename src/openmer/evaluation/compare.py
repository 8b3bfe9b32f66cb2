"""One result against one annotation, interval by interval: what `openmer score` shows and writes."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from openmer.errors import InputError
from openmer.evaluation.settings import MEGC_IOU
from openmer.evaluation.spotting import SpottingScore, match_intervals, score_spotting
from openmer.timeline import Interval, Timeline
from openmer.version import __version__

SCHEMA = "openmer.score/1"
PROVENANCE_KEYS = ("source", "engine", "trained_on", "caution")
Kind = Literal["hit", "miss", "false alarm"]


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """A row of the table.

    Attributes:
        kind: a hit, a miss or a false alarm.
        found: what was spotted, or None.
        truth: what was annotated, or None.
        iou: of the two; for a miss or a false alarm, the best with any interval, 0 if nothing overlaps.
    """

    kind: Kind
    found: Interval | None
    truth: Interval | None
    iou: float

    @property
    def onset_s(self) -> float:
        """Where the row belongs in time."""
        return min(i.onset_s for i in (self.truth, self.found) if i is not None)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How well a result agrees with an annotation.

    Attributes:
        score: counts and ratios.
        rows: in order of time.
        outside: annotated intervals outside the analysed time; they count neither way.
        min_iou: what a hit needs.
    """

    score: SpottingScore
    rows: tuple[ComparedRow, ...]
    outside: int
    min_iou: float

    def summary(self) -> str:
        """The ratios in one line, with the counts behind them."""
        s = self.score
        ratios = (
            f"precision {_ratio(s.precision)} ({s.hits} of {s.hits + s.false_alarms}), "
            f"recall {_ratio(s.recall)} ({s.hits} of {s.hits + s.misses}), "
            f"F1 {_ratio(s.f1)} at IoU {self.min_iou:g}; "
            f"{_ratio(s.false_alarms_per_minute)} false alarms a minute in {s.seconds:.1f} s"
        )
        return ratios + (f"; {self.outside} annotated outside of it, not counted" if self.outside else "")

    def table(self) -> Table:
        """Hits, misses and false alarms in order of time, for a terminal."""
        table = Table()
        for heading in ("", "found, s", "annotated, s", "IoU", "regions", "annotation"):
            table.add_column(heading, overflow="fold")
        for row in self.rows:
            spans = ["" if i is None else f"{i.onset_s:.3f} to {i.offset_s:.3f}" for i in (row.found, row.truth)]
            regions = "" if row.found is None else "\n".join(row.found.regions)
            words = "" if row.truth is None else row.truth.label
            table.add_row(row.kind, *spans, f"{row.iou:.2f}", escape(regions), escape(words))
        return table

    def to_json(self, result: Timeline, truth: Timeline) -> dict[str, Any]:
        """Plain values, with what they are based on; null where a ratio is undefined."""
        score = self.score
        ratios = {
            "precision": score.precision,
            "recall": score.recall,
            "f1": score.f1,
            "false_alarms_per_minute": score.false_alarms_per_minute,
        }
        return {
            "schema": SCHEMA,
            "min_iou": self.min_iou,
            **asdict(score),
            **{name: None if math.isnan(value) else value for name, value in ratios.items()},
            "annotated_outside": self.outside,
            "rows": [
                {
                    "kind": row.kind,
                    "iou": row.iou,
                    "found": None if row.found is None else asdict(row.found),
                    "annotated": None if row.truth is None else asdict(row.truth),
                }
                for row in self.rows
            ],
            "result": {key: result.provenance[key] for key in PROVENANCE_KEYS if key in result.provenance},
            "truth": {key: truth.provenance[key] for key in ("source", "tier") if key in truth.provenance},
            "openmer": __version__,
        }


def score_against(
    result: Timeline, truth: Timeline, *, labels: Sequence[str] = ("candidate",), min_iou: float = MEGC_IOU
) -> Comparison:
    """Score the intervals of `result` that carry one of `labels` against all intervals of `truth`.

    Rates are a minute of real time, also in slow motion.

    Raises:
        InputError: the result has no time, or `min_iou` is not above 0 and at most 1.
    """
    seconds = (result.end_s - result.start_s) / result.clock.slowdown  # of what happened, as a rate a minute needs
    if not seconds > 0:
        raise InputError(f"the result lasts from {result.start_s} to {result.end_s} s, so there is nothing to score")
    spotted = [i for i in result if i.label in labels]
    inside = [i for i in truth if i.offset_s > result.start_s and i.onset_s < result.end_s]
    return Comparison(
        score=score_spotting(spotted, inside, seconds, min_iou=min_iou),
        rows=_rows(spotted, inside, min_iou),
        outside=len(truth) - len(inside),
        min_iou=min_iou,
    )


def _rows(spotted: Sequence[Interval], truth: Sequence[Interval], min_iou: float) -> tuple[ComparedRow, ...]:
    pairs = match_intervals(spotted, truth, min_iou=min_iou)
    rows = [ComparedRow(kind="hit", found=spotted[a], truth=truth[b], iou=spotted[a].iou(truth[b])) for a, b in pairs]
    missed = [t for k, t in enumerate(truth) if k not in {b for _, b in pairs}]
    alarms = [f for k, f in enumerate(spotted) if k not in {a for a, _ in pairs}]
    rows += [ComparedRow(kind="miss", found=None, truth=t, iou=_best(t, spotted)) for t in missed]
    rows += [ComparedRow(kind="false alarm", found=f, truth=None, iou=_best(f, truth)) for f in alarms]
    return tuple(sorted(rows, key=lambda row: row.onset_s))


def _ratio(ratio: float) -> str:
    """An undefined ratio is a dash."""
    return "-" if math.isnan(ratio) else f"{ratio:.2f}"


def _best(one: Interval, others: Sequence[Interval]) -> float:
    return max((one.iou(other) for other in others), default=0.0)
