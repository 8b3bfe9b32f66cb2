"""When something happened: intervals and timelines in seconds of the video.

Times are seconds from the first frame of the video. An interval is the half-open stretch from its onset to its
offset; its apex lies between them. Frames, if given, are indices in decoding order, from 0.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from openmer.clip import NONE as NONE
from openmer.errors import InputError

SCHEMA = "openmer.timeline/1"
# The labels of what an analysis finds.
CANDIDATE = "candidate"
SET_ASIDE = "set_aside"  # a candidate in which the network sees no expression
BLINK = "blink"
LARGE_MOTION = "large_motion"
NO_FACE = "no_face"  # of gaps
LABELS = (CANDIDATE, SET_ASIDE, BLINK, LARGE_MOTION)  # of intervals
MAX_S = 1e9  # some thirty years; anything beyond is damage, and could not be converted to milliseconds

_CSV_COLUMNS = (
    "schema",
    "label",
    "onset_s",
    "apex_s",
    "offset_s",
    "duration_s",
    "onset_frame",
    "apex_frame",
    "offset_frame",
    "score",
    "peak_px",
    "regions",
    "expression",
)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A stretch of time with a label.

    Attributes:
        onset_s: first moment, seconds.
        offset_s: last moment, seconds; later than the onset.
        apex_s: moment of the largest motion, seconds, or None.
        label: what it is, for example `candidate`, `blink`, `no face`.
        score: how certain the method is, in its own unit, or None.
        peak_px: largest motion, pixels of the 128 crop, or None.
        regions: facial regions that moved, strongest first.
        onset_frame: index of the frame at the onset, or None.
        apex_frame: index of the frame at the apex, or None.
        offset_frame: index of the frame at the offset, or None.
        probabilities: a network's opinion: class -> 0 to 1, or None without a network.
        action_units: action unit, such as `AU12` -> 0 to 1, each by itself; None if no network names any.

    Raises:
        InputError: a time is not finite or beyond `MAX_S`, the offset is not after the onset, or the apex is outside.
    """

    onset_s: float
    offset_s: float
    label: str
    apex_s: float | None = None
    score: float | None = None
    peak_px: float | None = None
    regions: tuple[str, ...] = ()
    onset_frame: int | None = None
    apex_frame: int | None = None
    offset_frame: int | None = None
    probabilities: Mapping[str, float] | None = None
    action_units: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not (abs(self.onset_s) <= MAX_S and abs(self.offset_s) <= MAX_S):
            raise InputError(f"an interval needs finite times, got {self.onset_s} to {self.offset_s}")
        if not self.onset_s < self.offset_s:
            raise InputError(f"an interval must end after it begins, got {self.onset_s} to {self.offset_s}")
        if self.apex_s is not None and not self.onset_s <= self.apex_s <= self.offset_s:
            raise InputError(f"apex {self.apex_s} lies outside {self.onset_s} to {self.offset_s}")

    @property
    def shown_units(self) -> tuple[str, ...]:
        """Action units that the network considers more likely shown than not, most probable first."""
        found = [(share, name) for name, share in (self.action_units or {}).items() if share >= 0.5]
        return tuple(name for _, name in sorted(found, key=lambda f: (-f[0], f[1])))

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.offset_s - self.onset_s

    @property
    def expression(self) -> str | None:
        """The most probable class, or None; `none` only if it is likelier than all expressions together."""
        if not self.probabilities:
            return None
        shown = dict(self.probabilities)
        if NONE in shown and len(shown) > 1 and shown[NONE] <= sum(shown.values()) / 2:
            del shown[NONE]
        return max(shown, key=shown.__getitem__)

    def overlap(self, other: "Interval") -> float:
        """Seconds that both intervals share; 0 if they only touch or are apart."""
        return max(0.0, min(self.offset_s, other.offset_s) - max(self.onset_s, other.onset_s))

    def gap(self, other: "Interval") -> float:
        """Seconds between the two; 0 if they touch or overlap."""
        return max(0.0, max(self.onset_s, other.onset_s) - min(self.offset_s, other.offset_s))

    def iou(self, other: "Interval") -> float:
        """Intersection over union, 0 to 1, of the two stretches of time."""
        shared = self.overlap(other)
        return shared / (self.duration_s + other.duration_s - shared)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of frames that a network judged as one clip.

    Attributes:
        start_s: time of its first frame, seconds.
        end_s: time of its last frame, seconds.
        start_frame: index of the first frame.
        end_frame: index of the last frame.
        probabilities: class -> 0 to 1.
        action_units: action unit, such as `AU12` -> 0 to 1, each by itself; None if the network names none.
    """

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    probabilities: Mapping[str, float]
    action_units: Mapping[str, float] | None = None

    @property
    def middle_s(self) -> float:
        """The moment in its middle, seconds."""
        return (self.start_s + self.end_s) / 2


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What was found in one video, and what it rests on.

    Attributes:
        intervals: intervals sorted by onset.
        start_s: first moment that was analysed, seconds.
        end_s: last moment that was analysed, seconds.
        gaps: stretches in which no face was found, so nothing is known.
        windows: a network's output for successive, overlapping stretches. Empty without a network.
        provenance: the method, its settings, versions, the source's name, and what any weights were trained on.
    """

    intervals: tuple[Interval, ...]
    start_s: float
    end_s: float
    gaps: tuple[Interval, ...] = ()
    windows: tuple[Window, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intervals", tuple(sorted(self.intervals, key=lambda i: (i.onset_s, i.offset_s))))

    def __iter__(self) -> Iterator[Interval]:
        return iter(self.intervals)

    def __len__(self) -> int:
        return len(self.intervals)

    def labelled(self, label: str) -> tuple[Interval, ...]:
        """The intervals that carry `label`, in order."""
        return tuple(i for i in self.intervals if i.label == label)

    def window_at(self, moment_s: float) -> Window | None:
        """The window whose middle is nearest to the moment, if it contains the moment."""
        nearest = min(self.windows, key=lambda w: abs(w.middle_s - moment_s), default=None)
        return None if nearest is None or not nearest.start_s <= moment_s <= nearest.end_s else nearest

    def to_json(self) -> str:
        """The timeline as JSON; every key with a unit ends in it."""
        content = {
            "schema": SCHEMA,
            "units": {"_s": "seconds from the first frame", "_px": "pixels of the 128 crop", "_frame": "index"},
            "start_s": self.start_s,
            "end_s": self.end_s,
            "intervals": [asdict(i) for i in self.intervals],
            "gaps": [asdict(i) for i in self.gaps],
            "windows": [asdict(w) for w in self.windows],
            "provenance": dict(self.provenance),
        }
        return json.dumps(content, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InputError: the text is not JSON, has another schema, lacks a value or has one of the wrong type, or an
                interval is impossible.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is not a JSON timeline: {error}") from error
        found = content.get("schema") if isinstance(content, dict) else None
        if found != SCHEMA:
            raise InputError(f"expected a timeline of schema {SCHEMA}, found {found!r}")
        try:
            return cls(
                intervals=tuple(Interval(**_checked(i, _INTERVAL)) for i in content["intervals"]),
                start_s=_seconds(content["start_s"]),
                end_s=_seconds(content["end_s"]),
                gaps=tuple(Interval(**_checked(i, _INTERVAL)) for i in content["gaps"]),
                windows=tuple(Window(**_checked(w, _WINDOW)) for w in content["windows"]),
                provenance=_table(content["provenance"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"this timeline is damaged: {error!r}") from error

    def to_csv(self) -> str:
        """One row per interval, for a spreadsheet; regions joined by `+`, empty cells where a value is unknown.

        With a network, a column `p_CLASS` for each of its classes follows, and `action_units` if it names any.
        """
        buffer = io.StringIO()
        classes = dict.fromkeys(name for i in self.intervals for name in i.probabilities or ())
        units = ["action_units"] if any(i.action_units for i in self.intervals) else []
        columns = (*_CSV_COLUMNS, *(f"p_{name}" for name in classes), *units)
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        for interval in self.intervals:
            row = asdict(interval)
            row |= {"schema": SCHEMA, "duration_s": round(interval.duration_s, 6)}
            row |= {"label": one_line(interval.label), "regions": one_line("+".join(interval.regions))}
            row["expression"] = interval.expression
            row["action_units"] = one_line("+".join(interval.shown_units))
            row |= {f"p_{name}": p for name, p in (interval.probabilities or {}).items()}
            writer.writerow({key: "" if row.get(key) is None else row[key] for key in columns})
        return buffer.getvalue()


def one_line(text: str) -> str:
    """The text without line breaks: a lone carriage return would end a CSV row, since writers do not quote it."""
    return text.replace("\r", " ").replace("\n", " ")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"a finite number is needed, got {value!r:.40}")
    return float(value)


def _seconds(value: Any) -> float:
    if abs(_number(value)) > MAX_S:
        raise ValueError(f"a time in seconds is needed, got {value!r:.40}")
    return float(value)


def _index(value: Any) -> int:
    if type(value) is not int or abs(value) >= 2**63:
        raise TypeError(f"the index of a frame is needed, got {value!r:.40}")
    return value


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text is needed, got {value!r:.40}")
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"a list of names is needed, got {value!r:.40}")
    return tuple(_words(name) for name in value)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"names with values are needed, got {value!r:.40}")
    return value


def _shares(value: Any) -> dict[str, float]:
    return {name: _number(share) for name, share in _table(value).items()}


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


_INTERVAL: dict[str, Callable[[Any], Any]] = {
    "onset_s": _seconds,
    "offset_s": _seconds,
    "label": _words,
    "apex_s": _or_none(_seconds),
    "score": _or_none(_number),
    "peak_px": _or_none(_number),
    "regions": _names,
    "onset_frame": _or_none(_index),
    "apex_frame": _or_none(_index),
    "offset_frame": _or_none(_index),
    "probabilities": _or_none(_shares),
    "action_units": _or_none(_shares),
}
_WINDOW: dict[str, Callable[[Any], Any]] = {
    "start_s": _seconds,
    "end_s": _seconds,
    "start_frame": _index,
    "end_frame": _index,
    "probabilities": _shares,
    "action_units": _or_none(_shares),
}


def _checked(row: Any, kinds: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The values of one interval or window, each checked for its type."""
    unknown = set(_table(row)) - set(kinds)
    if unknown:
        raise TypeError(f"unknown names: {', '.join(sorted(unknown))}")
    checked = {}
    for name, value in row.items():
        try:
            checked[name] = kinds[name](value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"{name}: {error}") from error
    return checked


def read_timeline(path: Path) -> Timeline:
    """Read a `timeline.json`.

    Raises:
        InputError: the file is missing or is not a timeline.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the timeline {path}: {error}") from error
    try:
        return Timeline.from_json(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
