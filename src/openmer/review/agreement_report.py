"""Agreement of two coders as text, JSON, a table of moments, and a page."""

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from openmer.errors import InputError
from openmer.evaluation.settings import MEGC_IOU
from openmer.files import without_nan
from openmer.page import render
from openmer.review.agreement import Agreement, Kappa, Moment
from openmer.review.document import Entry
from openmer.version import __version__

SCHEMA = "openmer.agreement/1"
ENDINGS = (".json", ".csv", ".html")
COLUMNS = ("video", "origin", "disagreement", "counts", "iou")
EACH = ("entry", "verdict", "label", "onset_s", "apex_s", "offset_s", "action_units", "note")
DIFFERENCES = ("onset_difference_ms", "apex_difference_ms", "offset_difference_ms")

Rows = list[tuple[str, ...]]


def written(agreement: Agreement, ending: str) -> bytes:
    """The content of a file.

    Raises:
        InputError: its ending is none of `ENDINGS`.
    """
    if ending == ".json":
        return (json.dumps(to_json(agreement), indent=2, allow_nan=False) + "\n").encode()
    if ending == ".csv":
        return to_csv(agreement).encode()
    if ending == ".html":
        return to_html(agreement).encode()
    raise InputError(f"--out must end in {', '.join(ENDINGS)}, got {ending or 'no ending'}")


def number(value: float, digits: int = 2) -> str:
    """A dash for what is undefined."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def sentences(agreement: Agreement) -> list[str]:
    """What stands above the tables."""
    presence, everything = agreement.presence, agreement.kappas[0]
    first, second, both = agreement.intervals
    counted = sum(m.counts for m in agreement.moments)
    lines = [
        f"{agreement.videos} video{'' if agreement.videos == 1 else 's'}, {len(agreement.moments)} moments, "
        f"{counted} of them with a label of both coders",
        f"expression or none: kappa {number(presence.kappa)}, the same in {presence.agreed} of {presence.moments}",
        f"all labels: kappa {number(everything.kappa)}, the same in {everything.agreed} of {everything.moments}",
        f"intervals: {both} of {first} and {second} meet at IoU {MEGC_IOU:g}, F1 {number(agreement.interval_f1)}",
    ]
    if agreement.pairs:
        by_hand = sum(m.set_by_hand for m in agreement.pairs)
        lines.append(
            f"{len(agreement.pairs)} moment{' was' if len(agreement.pairs) == 1 else 's were'} accepted by both; in "
            f"{len(agreement.pairs) - by_hand} of them neither coder "
            "moved the onset, apex or offset of the analysis"
        )
    agreed, given = agreement.action_units
    if given:
        lines.append(f"action units: {agreed / given:.2f} (twice the {agreed // 2} that both gave, of {given})")
    for name, controls in zip(agreement.coders, agreement.controls, strict=True):
        if controls.judged:
            lines.append(f"controls: {name} accepted {controls.accepted} of {controls.judged} ({controls.rate:.0%})")
    if any(agreement.blind):
        blind_coders = ", ".join(
            f"{name} in {count}" for name, count in zip(agreement.coders, agreement.blind, strict=True)
        )
        lines.append(f"blind: {blind_coders} of {agreement.videos}")
    for name, count in zip(agreement.coders, agreement.open, strict=True):
        if count:
            lines.append(f"not judged yet by {name}: {count}")
    for name, videos in zip(agreement.coders, agreement.undecided, strict=True):
        if videos:
            listed = ", ".join(videos[:5]) + (f" and {len(videos) - 5} more" if len(videos) > 5 else "")
            lines.append(
                f"{name} has decided nothing in {listed}: never opened, or nothing seen there, which counts as none"
            )
    if agreement.labels and not any(pair == ("none", "none") for pair in agreement.labels):
        lines.append("no moment is none for both, so kappa says little here; read the intervals")
    return lines


def kappa_rows(agreement: Agreement) -> Rows:
    """Label, how often each coder gave it, how often both, kappa."""

    def row(k: Kappa) -> tuple[str, ...]:
        return (k.label or "all labels", str(k.given[0]), str(k.given[1]), str(k.both), number(k.kappa))

    return [row(k) for k in agreement.kappas]


def difference_rows(agreement: Agreement) -> Rows:
    """Mark, number of pairs, median, median size, range."""
    return [
        (d.mark, str(d.pairs), number(d.median_ms, 0), number(d.median_size_ms, 0), _range(d.range_ms))
        for d in agreement.differences
    ]


def _range(ends: tuple[float, float]) -> str:
    return "-" if math.isnan(ends[0]) else f"{ends[0]:.0f} to {ends[1]:.0f}"


def disagreement_rows(agreement: Agreement) -> Rows:
    """Video, when, what about, each coder's words."""
    return [(m.video, f"{m.onset_s:.3f}", m.disagreement, _words(m, 0), _words(m, 1)) for m in agreement.disagreements]


def _words(moment: Moment, side: int) -> str:
    """A coder's opinion in words."""
    entry = moment.entries[side]
    if entry is None:
        return "nothing marked"
    label = moment.labels[side] or ("unsure" if entry.verdict == "unsure" else "not judged")
    units = " ".join(map(str, entry.action_units))
    marked = f"{label} {entry.onset_s:.3f} to {entry.offset_s:.3f} s ({entry.id})"
    return "; ".join(filter(None, (marked, units, entry.note)))


def tables(agreement: Agreement) -> Iterator[Table]:
    """For a terminal."""
    first, second = map(escape, agreement.coders)
    yield _table("labels", ("", first, second, "both", "kappa"), kappa_rows(agreement))
    if agreement.pairs:
        title = f"{second} minus {first}, ms"
        yield _table(title, ("", "pairs", "median", "median size", "range"), difference_rows(agreement))
    if agreement.disagreements:
        yield _table("to settle together", ("video", "at, s", "about", first, second), disagreement_rows(agreement))


def _table(title: str, headings: tuple[str, ...], rows: Rows) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def to_html(agreement: Agreement) -> str:
    """A page that needs nothing else."""
    return render(
        "agreement.html.j2",
        coders=agreement.coders,
        sentences=sentences(agreement),
        kappas=kappa_rows(agreement),
        differences=difference_rows(agreement) if agreement.pairs else [],
        disagreements=disagreement_rows(agreement),
        min_iou=MEGC_IOU,
        version=__version__,
    )


def to_csv(agreement: Agreement) -> str:
    """One row a moment; columns of the first coder end in `_1`, of the second in `_2`."""
    buffer = io.StringIO()
    names = [*COLUMNS, *DIFFERENCES, *(f"{name}_{side}" for side in (1, 2) for name in EACH)]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_moment(m) for m in agreement.moments)
    return buffer.getvalue()


def _moment(moment: Moment) -> dict[str, Any]:
    row: dict[str, Any] = {
        "video": moment.video,
        "origin": moment.origin,
        "disagreement": moment.disagreement,
        "counts": moment.counts,
        "iou": moment.iou,
    }
    row |= {f"{mark}_difference_ms": moment.difference_ms(mark) for mark in ("onset", "apex", "offset")}
    for side, (entry, label) in enumerate(zip(moment.entries, moment.labels, strict=True), start=1):
        row |= {f"{name}_{side}": value for name, value in _entry(entry, label).items()}
    return row


def _entry(entry: Entry | None, label: str | None) -> dict[str, Any]:
    if entry is None:
        return {"label": label}
    return {
        "entry": entry.id,
        "verdict": entry.verdict,
        "label": label,
        "onset_s": entry.onset_s,
        "apex_s": entry.apex_s,
        "offset_s": entry.offset_s,
        "action_units": "+".join(map(str, entry.action_units)),
        "note": entry.note,
    }


def to_json(agreement: Agreement) -> dict[str, Any]:
    """Plain values; null where a figure is undefined."""
    first, second, both = agreement.intervals
    agreed, given = agreement.action_units
    return {
        **without_nan(
            {
                "schema": SCHEMA,
                "openmer": __version__,
                "coders": agreement.coders,
                "videos": agreement.videos,
                "expression_or_none": _kappa(agreement.presence),
                "all_labels": _kappa(agreement.kappas[0]),
                "labels": [_kappa(k) for k in agreement.kappas[1:]],
                "intervals": {
                    "min_iou": MEGC_IOU,
                    "first": first,
                    "second": second,
                    "both": both,
                    "f1": agreement.interval_f1,
                },
                "differences_ms": {
                    d.mark: {
                        "pairs": d.pairs,
                        "median": d.median_ms,
                        "median_size": d.median_size_ms,
                        "min": d.range_ms[0],
                        "max": d.range_ms[1],
                    }
                    for d in agreement.differences
                },
                "pairs_set_by_hand": sum(m.set_by_hand for m in agreement.pairs),
                "action_units": {"agreed_twice": agreed, "given": given, "ratio": agreed / given if given else None},
                "controls": [{"accepted": c.accepted, "judged": c.judged, "rate": c.rate} for c in agreement.controls],
                "not_judged": agreement.open,
                "blind": agreement.blind,
                "undecided": agreement.undecided,
                "moments": [_moment(m) for m in agreement.moments],
            }
        )
    }


def _kappa(k: Kappa) -> dict[str, Any]:
    return {
        "label": k.label,
        "moments": k.moments,
        "agreed": k.agreed,
        "first": k.given[0],
        "second": k.given[1],
        "both": k.both,
        "kappa": k.kappa,
    }
