"""How intervals are expressed in other programs: in words, in whole milliseconds, and in lanes that never overlap."""

import re
from collections.abc import Iterable

from openmer.timeline import BLINK, LABELS, NONE, Interval, Timeline

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(words: str) -> str:
    """Replace the characters that XML, and so ELAN files and workbooks, cannot hold."""
    return _NOT_XML.sub("?", words)


def milliseconds(interval: Interval) -> tuple[int, int]:
    """Onset and offset, rounded; at least one millisecond apart, and not before the video."""
    onset = max(0, round(1000 * interval.onset_s))
    return onset, max(onset + 1, round(1000 * interval.offset_s))


def described(interval: Interval) -> str:
    """One readable line, such as `candidate: mouth_right, 1.2 px, p(expression)=0.83`."""
    parts = []
    if interval.regions:
        parts.append("+".join(interval.regions))
    if interval.peak_px is not None:
        parts.append(f"{interval.peak_px:.2g} px" if interval.peak_px < 10 else f"{interval.peak_px:.0f} px")
    if interval.probabilities:
        parts.append(_opinion(interval) + (" (unsure)" if interval.unsure else ""))
    if interval.shown_units:
        parts.append("+".join(interval.shown_units))
    return f"{interval.label}: {', '.join(parts)}" if parts else interval.label


def _opinion(interval: Interval) -> str:
    """The probability of all expressions together if the network has `none`, else of its most probable class."""
    probabilities = interval.probabilities or {}
    if NONE in probabilities:
        return f"p(expression)={1 - probabilities[NONE]:.2f}"
    return f"p({interval.expression})={probabilities[str(interval.expression)]:.2f}"


def lanes(timeline: Timeline) -> dict[str, tuple[Interval, ...]]:
    """Intervals and gaps by label, without overlap within a lane; what would overlap goes to `LABEL 2` and so on.

    Annotations of one ELAN tier, or of one BORIS state, cannot overlap. The labels of `openmer analyze` come first, and
    are included even if empty.
    """
    everything = sorted((*timeline.intervals, *timeline.gaps), key=milliseconds)
    labels = dict.fromkeys((*LABELS, *(i.label for i in everything)))
    by_name: dict[str, tuple[Interval, ...]] = {}
    for label in labels:
        for number, lane in enumerate(apart([i for i in everything if i.label == label]) or [[]], start=1):
            by_name[_free(label if number == 1 else f"{label} {number}", by_name)] = tuple(lane)
    return by_name


def apart(intervals: Iterable[Interval]) -> list[list[Interval]]:
    """Split intervals, sorted by onset, into as few lists without overlap as possible."""
    rows: list[list[Interval]] = []
    for interval in intervals:
        onset = milliseconds(interval)[0]
        row = next((r for r in rows if milliseconds(r[-1])[1] <= onset), None)
        if row is None:
            rows.append([interval])
        else:
            row.append(interval)
    return rows


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, with a prime added if it is already taken."""
    while name in taken:
        name += "'"
    return name


def moments(timeline: Timeline) -> tuple[tuple[int, str], ...]:
    """(milliseconds, words) for onset, apex and offset of intervals with an apex, except blinks; no two at once."""
    by_time: dict[int, list[str]] = {}
    numbers: dict[str, int] = {}
    for interval in timeline:
        if interval.apex_s is None or interval.label == BLINK:
            continue
        numbers[interval.label] = number = numbers.get(interval.label, 0) + 1
        onset, offset = milliseconds(interval)
        apex = min(max(onset, round(1000 * interval.apex_s)), offset)
        for at, what in ((onset, "onset"), (apex, "apex"), (offset, "offset")):
            by_time.setdefault(at, []).append(f"{interval.label} {number} {what}")
    return tuple((at, "; ".join(by_time[at])) for at in sorted(by_time))
